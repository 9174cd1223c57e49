"""What sees the whole batch: a score of every request with every candidate, and the losses made of it.

Promises: what is of the request alone is computed once a request, what is of the candidate alone once a
candidate; only what is of both is computed for each pair. Leaves losses' means to whoever counts examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from specc.elaborate.world import Frame, World
from specc.ir.graph import Node, Region, Weight, fields_of, rankings, reads_of
from specc.ir.inputs import axis_role
from specc.ops import op
from specc.ops.batches import across_axis, batch_axis, batch_rows
from specc.report import Label
from specc.source import Span
from specc.types.axis import Axis, Type, union
from specc.types.kinds import derived

_REQUEST, _CANDIDATE = "request", "candidate"
_BY_ONE = (op.TOP, op.BATCH_NORM_BY)  # their second input is a number for each vector of the first


def across(world: World, node: Node, span: Span) -> Node:
    """Return a value of all examples of the batch. It is made outside of all scans, of a value without axes
    that are ragged. Raises Fault."""
    ragged = [a for a in node.type.axes if a.ragged]
    if ragged:
        raise world.fault(
            "E0517",
            f"what is compared across the batch has the axis `{ragged[0].name}`, whose length differs",
            span,
            found=str(node.type),
            secondary=() if node.span == span else (Label(node.span, "this value"),),
            help=f"reduce it first, such as `mean(…, over {ragged[0].name})`",
        )
    axis = batch_axis(world.batch)
    type_ = Type(union(node.type, Type((axis,), 1)), node.type.width)
    return world.put(world.root, op.ACROSS, [node.id], type_, span, {"axis": axis})


def among(world: World, score: Node, all_scores: Node, span: Span, alike: str | None = None) -> Node:
    """Return -log softmax of a score among those of the batch: of `all_scores`, which has the batch's axis.

    alike: the path of a field of keys; other examples with the example's own key are left out.
    """
    axis = batch_axis(world.batch)
    own = world.put(world.root, op.OWN, [], Type((axis,), 1), span, {"axis": axis})
    inputs = [all_scores.id]
    if alike is not None:
        key = world.put(world.root, op.KEY, [], Type((), 1), span, {"field": alike})
        all_keys = across(world, key, span)
        same = world.put(world.root, op.SAME_KEY, [key.id, all_keys.id], all_keys.type, span)
        other = world.put(world.root, op.NOT, [same.id], same.type, span)
        kept = world.put(world.root, op.OR, [own.id, other.id], same.type, span)
        inputs.append(kept.id)
    flat = Type((), 1)
    total = world.put(world.root, op.LOGSUMEXP, inputs, flat, span, {"axis": axis})
    if score is all_scores:
        score = world.put(world.root, op.SUM, [all_scores.id, own.id], flat, span, {"axis": axis})
    return world.put(world.root, op.SUB, [total.id, score.id], flat, span)


def log_frequency(world: World, path: str, owner: str, span: Span) -> Node:
    """Return the logarithm of the share of the training data that has a field's key. Raises Fault."""
    spec = next(f for space in world.spaces.values() for f in space.fields if f.path == path)
    assert spec.table is not None
    rows = world.weights[spec.table].shape[0]
    counts = Weight(f"{owner}.choice.counts", (rows,), "buffer", ("ones",), span, owner, counts=path)
    return world.put(
        world.root, op.LOG_FREQUENCY, [], Type((), 1), span, {"field": path}, (world.weight(counts),)
    )


def every_pair(world: World, score: Node, span: Span) -> Node:
    """Return a score of each request with every candidate of the batch: along the batch's axis. Raises
    Fault."""
    return _Pairs(world, span).all_of(score)


def differs(world: World, score: Node, span: Span) -> None:
    """Check that a score depends on the candidate. Raises Fault."""
    _Pairs(world, span).check(score)


class _Pairs:
    def __init__(self, world: World, span: Span) -> None:
        self.world = world
        self.span = span
        self.axis = batch_axis(world.batch)
        self.rows = batch_rows(world.batch)  # the same, where what is inside of it is ragged
        self.index = {n.id: n for n in world.root.nodes}
        self.ranked = rankings(tuple(world.root.nodes))
        self.spaces = {name: spec.role for name, spec in world.spaces.items()}
        self.fields = {f.path: f.role for spec in world.spaces.values() for f in spec.fields}
        self.fields |= {f.path: f.role for f in world.keys.values()}
        self.roles: dict[int, frozenset[str]] = {}
        self.made: dict[int, Node] = {}
        self.scans: dict[int, Node] = {}  # by scan, that with rows of the batch
        self.with_batch: dict[int, frozenset[int]] = {}  # by scan that was made: its states with the axis

    def all_of(self, score: Node) -> Node:
        self.check(score)
        for node in self._order(score):
            if self.roles[node.id] == {_REQUEST, _CANDIDATE}:
                self.made[node.id] = self._pair(node)
        return self._seen(score.id)

    def check(self, score: Node) -> None:
        """Find the roles of a score and of what it is computed from. Raises Fault."""
        for node in self._order(score):
            self.roles[node.id] = self._roles(node)
        for node in self._order(score):
            if node.op == op.RANKED and _CANDIDATE in self.roles[node.id]:
                raise self.world.fault(
                    "E0517",
                    "what is chosen here by the candidate has other lengths for every pair of a request and a"
                    " candidate",
                    node.span,
                    why="this score is computed for all pairs of the batch",
                    help="reduce over the inner axis before the choice, or choose by what is of the request",
                )
        if _CANDIDATE not in self.roles[score.id]:
            raise self.world.fault(
                "E0517",
                "this score is the same for every candidate, so that there is nothing to choose",
                self.span,
                why="no field of a space `from candidate` reaches it",
            )

    def _order(self, root: Node) -> list[Node]:
        """Return the nodes that a node is computed from, and itself, inputs first."""
        found: set[int] = set()
        stack = [root.id]
        while stack:
            id = stack.pop()
            if id not in found:
                found.add(id)
                stack.extend(reads_of(self.index[id], self.ranked))
        return [n for n in self.world.root.nodes if n.id in found]

    def _roles(self, node: Node) -> frozenset[str]:
        """Return whether a value depends on the request, the candidate, both or none."""
        own = {role for i in reads_of(node, self.ranked) for role in self.roles[i]}
        own |= {self.fields[path] for path in fields_of(node)}
        axes = (*node.type.axes, *(a for a in node.attrs.values() if isinstance(a, Axis)))
        own |= {axis_role(a, self.spaces) for axis in axes if axis.ragged for a in axis.chain}
        return frozenset(own)

    def _seen(self, id: int) -> Node:
        """Return an input of a pair: a value that depends on the candidate is replaced by that of every
        candidate."""
        if id not in self.made and self.roles[id] == {_CANDIDATE}:
            node = self.index[id]
            ragged = any(a.ragged for a in node.type.axes)
            self.made[id] = self._across_each(node) if ragged else across(self.world, node, self.span)
        return self.made.get(id, self.index[id])

    def _across_each(self, node: Node) -> Node:
        """Return a value along axes of the candidate's own, of all examples of the batch."""
        old = tuple(a for a in node.type.axes if a.ragged)
        attrs = {"axis": self.rows, "old": old, "new": tuple(map(self._there, old))}
        return self.world.put(
            self.world.root, op.ACROSS_EACH, [node.id], self._in_rows(node.type), self.span, attrs
        )

    def _there(self, axis: Axis) -> Axis:
        """Return what an axis of the candidate is in each example of the batch; any other is itself."""
        if not axis.ragged or axis_role(axis, self.spaces) != _CANDIDATE:
            return axis
        parent = self.rows if axis.parent is None else self._there(axis.parent)
        if axis.kind == "space":
            return across_axis(axis, parent)
        sources = [self._there(source) for source in axis.source]
        more = axis.key[1 + len(sources) :]
        if axis.kind == "inside":
            more = (more[0], parent.key)
        return derived(axis.kind, axis.name, *sources, more=more, parent=parent)

    def _in_rows(self, type_: Type) -> Type:
        there = Type(tuple(map(self._there, type_.axes)), type_.width)
        return Type(union(Type((self.rows,), 1), there), type_.width)

    def _pair(self, node: Node) -> Node:
        inputs = [self._seen(i) for i in node.inputs]
        own = (*node.type.axes, *(a for a in node.attrs.values() if isinstance(a, Axis)))
        of_rows = any(x.type.has(self.rows) for x in inputs) or any(self._there(a) is not a for a in own)
        if of_rows or (node.op == op.SCAN_OUT and node.inputs[0] in self.scans):
            return self._pair_in_rows(node, inputs)
        if node.op in _BY_ONE and inputs[1].type.has(self.axis) and not inputs[0].type.has(self.axis):
            inputs[0] = self._spread(inputs[0], inputs[1], self.axis)
        if node.region is not None:
            return self._scan(node, inputs)
        has = any(n.type.has(self.axis) for n in inputs)
        if node.op == op.SCAN_OUT:
            has = node.attrs["index"] in self.with_batch.get(inputs[0].id, frozenset())
        type_ = self._wide(node.type) if has else node.type
        ids = [n.id for n in inputs]
        return self.world.put(
            self.world.root, node.op, ids, type_, node.span, node.attrs, node.weights, node.scope
        )

    def _pair_in_rows(self, node: Node, inputs: list[Node]) -> Node:
        """Return a value that has, or is made of what has, axes of the candidate's own: with a row for each
        example of the batch; along the batch's axis as soon as these axes are gone."""
        world = self.world
        rows = [self._moved(x, self.axis, self.rows) if x.type.has(self.axis) else x for x in inputs]
        if node.op in _BY_ONE and rows[1].type.has(self.rows) and not rows[0].type.has(self.rows):
            rows[0] = self._spread(rows[0], rows[1], self.rows)
        ids, type_ = [x.id for x in rows], self._in_rows(node.type)
        if node.region is not None:
            made = self._scan_in_rows(node, node.region, rows)
            self.scans[node.id] = made
        elif node.op == op.SCAN_OUT:
            made = self.scans[node.inputs[0]]
            type_ = type_ if node.attrs["index"] in self.with_batch[made.id] else node.type
            made = world.put(world.root, node.op, [made.id], type_, node.span, self._renamed(node.attrs))
        else:
            made = world.put(
                world.root, node.op, ids, type_, node.span, self._renamed(node.attrs), node.weights,
                node.scope,
            )  # fmt: skip
        if not made.type.has(self.rows) or any(self.rows in a.chain[:-1] for a in made.type.axes):
            return made
        return self._moved(made, self.rows, self.axis)

    def _scan_in_rows(self, node: Node, region: Region, inputs: list[Node]) -> Node:
        """Return a scan along what is a candidate's own, or in which something is."""
        axis = self._there(node.attrs["axis"])
        own = {n.id for n in region.nodes if any(self._there(a) is not a for a in n.type.axes)}
        own |= set(region.states) if self.rows in axis.chain else set()
        wide = self._wide_in(region, {n for n, x in enumerate(inputs) if x.type.has(self.rows)}, own)

        def there(inner: Node) -> Type:
            return self._in_rows(inner.type) if inner.id in wide else inner.type

        moved = self._region(region, Frame(self.world.root, axis), there)
        type_ = self._in_rows(node.type) if region.states[0] in wide else node.type
        ids = [x.id for x in inputs]
        attrs = self._renamed(node.attrs)
        made = self.world.put(
            self.world.root, node.op, ids, type_, node.span, attrs, node.weights, node.scope, moved
        )
        self.with_batch[made.id] = frozenset(n for n, state in enumerate(region.states) if state in wide)
        return made

    def _region(self, region: Region, frame: Frame, type_of: Callable[[Node], Type]) -> Region:
        """Return a region whose nodes have other types."""
        now: dict[int, int] = {}
        for inner in region.nodes:
            assert inner.region is None, "scans do not nest"
            ids = [now[i] for i in inner.inputs]
            attrs = self._renamed(inner.attrs)
            made = self.world.put(
                frame, inner.op, ids, type_of(inner), inner.span, attrs, inner.weights, inner.scope
            )
            now[inner.id] = made.id
        return Region(
            tuple(frame.nodes),
            tuple(now[i] for i in region.captures),
            tuple(now[i] for i in region.states),
            region.inits,
            tuple(now[i] for i in region.nexts),
        )

    def _renamed(self, value: Any) -> Any:
        """Return attributes with the axes that they are of each example."""
        if isinstance(value, Axis):
            return self._there(value)
        if isinstance(value, Mapping):
            return {name: self._renamed(inner) for name, inner in value.items()}
        return tuple(map(self._renamed, value)) if isinstance(value, tuple) else value

    def _moved(self, x: Node, old: Axis, axis: Axis) -> Node:
        """Return a value with the batch's axis as rows, or these as the batch's axis."""
        type_ = Type(union(Type((axis,), 1), x.type.without(old)), x.type.width)
        name = op.TO_ROWS if axis.ragged else op.FROM_ROWS
        return self.world.put(self.world.root, name, [x.id], type_, self.span, {"axis": axis, "old": old})

    def _wide(self, type_: Type) -> Type:
        return Type((*type_.axes, self.axis), type_.width)

    def _spread(self, x: Node, score: Node, axis: Axis) -> Node:
        """Return a value repeated along the batch's axis."""
        world, type_ = self.world, Type((*score.type.axes,), 1)
        nothing = world.put(world.root, op.LT, [score.id, score.id], type_, x.span)
        both = Type(union(x.type, type_), x.type.width)
        return world.put(world.root, op.ADD, [x.id, nothing.id], both, x.span)

    def _scan(self, node: Node, inputs: list[Node]) -> Node:
        """Return a scan in which some captures or starts have the batch's axis."""
        region = node.region
        assert region is not None
        wide = self._wide_in(region, {n for n, x in enumerate(inputs) if x.type.has(self.axis)})
        frame = Frame(self.world.root, node.attrs["axis"])
        moved = self._region(region, frame, lambda x: self._wide(x.type) if x.id in wide else x.type)
        type_ = self._wide(node.type) if region.states[0] in wide else node.type
        ids = [n.id for n in inputs]
        made = self.world.put(
            self.world.root, node.op, ids, type_, node.span, node.attrs, node.weights, node.scope, moved
        )
        self.with_batch[made.id] = frozenset(n for n, state in enumerate(region.states) if state in wide)
        return made

    def _wide_in(self, region: Region, inputs: Iterable[int], own: Iterable[int] = ()) -> set[int]:
        """Return the nodes of a region that get the batch's axis, given the scan's inputs that have it, and
        nodes that have it in any case."""
        having = set(inputs)
        wide = set(own) | {capture for n, capture in enumerate(region.captures) if n in having}
        starts = zip(region.states, region.inits, strict=True)
        wide |= {state for state, start in starts if start is not None and start in having}
        while True:
            before = len(wide)
            wide |= {n.id for n in region.nodes if wide.intersection(n.inputs)}
            wide |= {s for s, following in zip(region.states, region.nexts, strict=True) if following in wide}
            if len(wide) == before:
                return wide
