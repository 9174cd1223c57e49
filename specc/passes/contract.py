"""Matrix products moved across dot products and weighted sums, to where there are fewer vectors.

    dot(q, W k)             = dot(Wᵀ q, k)
    sum(w * (W v + b), t)   = W sum(w * v, t) + b sum(w, t)

With one query for a sequence no position's key or value is projected: W moves to the query, and to the
result. Between two sequences it moves to the side on which the dot product is narrower.

Assumes: heads are batched (fans). Promises: the same values up to rounding. A product moves only if that
saves multiplications, counted with every axis at its bound, and never from a value computed once a request
to one computed once a candidate. A key's bias is dropped where it adds the same to all scores of a softmax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import prod

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node
from specc.ops import op
from specc.ops.products import Columns, Product, Slab, project_attrs
from specc.passes.rewrite import CANDIDATE, Builder, needed_by_outputs, rewrite
from specc.passes.roles import REQUEST, axis_role
from specc.types.axis import Axis, Type, union
from specc.types.kinds import never_empty


@dataclass(frozen=True)
class Linear:
    """A value as products: M x + b for each position of `axis` (None for one product).

    x: the id of what is multiplied. slabs: the matrix of each. bias: the path of all biases, or None.
    renames: what happens to the axes between x and the value, the first first.
    """

    x: int
    slabs: tuple[Slab, ...]
    axis: Axis | None
    bias: str | None
    renames: tuple[tuple[Axis, Axis], ...] = ()

    @property
    def rows(self) -> int:
        return self.slabs[0].stop - self.slabs[0].start


def contract(graph: Graph) -> Graph:
    needed = needed_by_outputs(graph)
    uses = Counter(i for node in graph.nodes if node.id in needed for i in node.inputs)
    heights = {path: w.shape[0] for path, w in graph.weights.items()}
    mover = _Mover(uses, heights, {space.name: space.role for space in graph.spaces})
    return rewrite(graph, lambda node, builder: mover.rule(node, builder) if node.id in needed else None)


class _Mover:
    def __init__(self, uses: Counter[int], heights: dict[str, int], spaces: dict[str, str]) -> None:
        self._uses = uses
        self._heights = heights
        self._spaces = spaces

    def rule(self, node: Node, builder: Builder) -> int | None:
        match node.op:
            case op.DOT:
                return self._dot(node, builder, None)
            case op.SOFTMAX:
                return self._softmax(node, builder)
            case op.SUM:
                return self._sum(node, builder)
        return None

    # ------------------------------------------------------------------ scores

    def _softmax(self, node: Node, builder: Builder) -> int | None:
        """Scores of which a key's bias is dropped."""
        axis = node.attrs["axis"]
        if not isinstance(axis, Axis):
            return None
        chain: list[Node] = []
        score = builder.node(node.inputs[0])
        while score.op in (op.MUL, op.DIV) and builder.node(score.inputs[1]).op == op.CONSTANT:
            chain.append(score)
            score = builder.node(score.inputs[0])
        if score.op != op.DOT:
            return None
        new = self._dot(score, builder, axis)
        if new is None:
            return None
        for link in reversed(chain):
            new = builder.append(
                replace(link, id=next(builder.ids), inputs=(new, link.inputs[1]), name=link.name)
            )
        return builder.append(replace(node, id=next(builder.ids), inputs=(new, *node.inputs[1:])))

    def _dot(self, dot: Node, builder: Builder, along: Axis | None) -> int | None:
        """A dot of which one side's product goes to the other. `along`: the axis of a softmax of it."""
        for side in (1, 0):
            found = self._linear(builder, dot.inputs[side])
            if found is None:
                continue
            multiplied, other = builder.node(dot.inputs[side]), builder.node(dot.inputs[1 - side])
            dropped = along is not None and multiplied.type.has(along) and not other.type.has(along)
            if found.bias is not None and not dropped:
                continue
            if found.axis is not None and not dot.type.has(found.axis):
                continue
            if other.role == CANDIDATE and multiplied.role != CANDIDATE:
                continue
            x = builder.node(found.x)
            pairs = _count(dot.type.axes)
            axes = _with(other.type, found.axis)
            before = _count(multiplied.type.axes) * found.rows * x.type.width + pairs * found.rows
            after = _count(axes) * found.rows * x.type.width + pairs * x.type.width
            if after >= before:
                continue
            turned = self._multiplied(builder, other, found, dot, Type(axes, x.type.width), transposed=True)
            return builder.add(
                op.DOT, (turned, self._renamed(builder, found, dot)), dot.type, dot, name=dot.name
            )
        return None

    # -------------------------------------------------------------------- sums

    def _sum(self, node: Node, builder: Builder) -> int | None:
        axis = node.attrs["axis"]
        if not isinstance(axis, Axis) or len(node.inputs) > 1:
            return None
        product = builder.node(node.inputs[0])
        if product.op != op.MUL or self._uses[product.id] > 1:
            return None
        for side in (1, 0):
            weight, value = builder.node(product.inputs[1 - side]), builder.node(product.inputs[side])
            found = self._linear(builder, value.id)
            if found is None or weight.type.width != 1 or not weight.type.has(axis):
                continue
            if found.axis is not None and not node.type.has(found.axis):
                continue
            if weight.role == CANDIDATE and value.role != CANDIDATE:
                continue
            x = self._renamed_type(builder, found)
            if not x.has(axis):
                continue
            pooled = Type(union(weight.type, x), x.width)
            axes = tuple(a for a in _with(pooled, found.axis) if a != axis)
            before = _count(value.type.axes) * found.rows * x.width + _count(product.type.axes) * found.rows
            after = _count(axes) * found.rows * x.width + _count(pooled.axes) * x.width
            share = self._total(builder, weight, axis) if found.bias is not None else None
            if after >= before or (found.bias is not None and share is None):
                continue
            scaled = builder.add(op.MUL, (weight.id, self._renamed(builder, found, node)), pooled, product)
            total = builder.add(op.SUM, (scaled,), pooled.without(axis), node, {"axis": axis})
            type_ = Type(axes, found.rows)
            result = self._multiplied(builder, builder.node(total), found, node, type_, transposed=False)
            if found.bias is not None and share is not None:
                result = self._biased(builder, result, found, share(), node)
            return result
        return None

    def _total(self, builder: Builder, weight: Node, axis: Axis) -> Callable[[], int | None] | None:
        """How much all of an attention's weights come to, as a node to be made: nothing over nothing,
        else 1. None if that is not known."""
        if weight.op != op.SOFTMAX or weight.attrs["axis"] != axis or len(weight.inputs) > 1:
            return None

        def made() -> int | None:
            if never_empty(axis):
                return None
            own: tuple[Axis, ...] = ()
            step = axis.parent
            while step is not None:
                own, step = (step, *own), step.parent
            like = replace(weight, role=axis_role(axis, self._spaces))
            length = builder.add(op.LENGTH, (), Type(own, 1), like, {"axis": axis})
            zero = builder.add(op.CONSTANT, (), Type((), 1), replace(like, role=REQUEST), {"value": 0.0})
            return builder.add(op.GT, (length, zero), Type(own, 1), weight)

        return made

    def _biased(self, builder: Builder, result: int, found: Linear, share: int | None, like: Node) -> int:
        assert found.bias is not None
        type_ = Type((), found.rows * len(found.slabs))
        of_request = replace(like, role=REQUEST)
        whole = builder.add(op.LEARNED, (), type_, of_request, {"axes": ()}, (found.bias,))
        if found.axis is not None:
            whole = builder.add(
                op.SPLIT, (whole,), Type((found.axis,), found.rows), like, {"axis": found.axis}
            )
        if share is not None:
            both = Type(union(builder.node(whole).type, builder.node(share).type), found.rows)
            whole = builder.add(op.MUL, (whole, share), both, like)
        type_ = Type(union(builder.node(result).type, builder.node(whole).type), found.rows)
        return builder.add(op.ADD, (result, whole), type_, like, name=like.name)

    # ---------------------------------------------------------------- products

    def _linear(self, builder: Builder, id: int) -> Linear | None:
        """A value as products of another, if nothing else needs the products."""
        node = builder.node(id)
        if self._uses[id] > 1:
            return None
        match node.op:
            case op.LINEAR:
                matrix, *bias = node.weights
                slab = Slab(matrix, 0, self._heights[matrix])
                return Linear(node.inputs[0], (slab,), None, bias[0] if bias else None)
            case op.HEADS if not node.attrs["transposed"]:
                return Linear(node.inputs[0], node.attrs["slabs"], node.attrs["axis"], None)
            case op.SPLIT:
                found = self._linear(builder, node.inputs[0])
                if found is None or found.axis is not None or found.renames:
                    return None
                axis, step = node.attrs["axis"], node.type.width
                matrix = found.slabs[0].matrix
                slabs = tuple(Slab(matrix, i * step, (i + 1) * step) for i in range(axis.size))
                return replace(found, slabs=slabs, axis=axis)
            case op.RENAME:
                found = self._linear(builder, node.inputs[0])
                old, new = node.attrs["old"], node.attrs["axis"]
                if found is None or found.axis in (old, new):
                    return None
                return replace(found, renames=(*found.renames, (old, new)))
        return None

    def _renamed_type(self, builder: Builder, found: Linear) -> Type:
        type_ = builder.node(found.x).type
        for old, new in found.renames:
            if type_.has(old):
                type_ = Type(union(type_.without(old), Type((new,), 1)), type_.width)
        return type_

    def _renamed(self, builder: Builder, found: Linear, like: Node) -> int:
        """What is multiplied, with its axes as the value has them."""
        id = found.x
        for old, new in found.renames:
            type_ = builder.node(id).type
            if type_.has(old):
                other = Type(union(type_.without(old), Type((new,), 1)), type_.width)
                id = builder.add(op.RENAME, (id,), other, like, {"old": old, "axis": new})
        return id

    def _multiplied(
        self, builder: Builder, x: Node, found: Linear, like: Node, type_: Type, transposed: bool
    ) -> int:
        weights = tuple(dict.fromkeys(slab.matrix for slab in found.slabs))
        if found.axis is None and not transposed:
            # Of a layer with a bias this is the product alone.
            whole = ((Columns(1.0, 0, x.type.width),),)
            product = Product(found.slabs[0].matrix, None, found.rows, whole, whole=True)
            return builder.add(op.PROJECT, (x.id,), type_, like, *project_attrs((product,)))
        attrs = {"axis": found.axis, "slabs": found.slabs, "transposed": transposed}
        return builder.add(op.HEADS, (x.id,), type_, like, attrs, weights)


def _with(type_: Type, axis: Axis | None) -> tuple[Axis, ...]:
    return type_.axes if axis is None else union(type_, Type((axis,), 1))


def _count(axes: tuple[Axis, ...]) -> int:
    return prod(max(a.bound, 1) for a in axes)
