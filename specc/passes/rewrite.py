"""Graphs rebuilt node by node: what the passes have in common.

Promises: nodes come out in an order in which inputs come first; an id that stood for a replaced node
stands for its replacement in every later input, region, prediction, loss, attention and binding.
`rewrite` drops what nothing needs any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from itertools import count
from typing import Any

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node, walk
from specc.ir.prune import prune
from specc.ops import op
from specc.types.axis import Type, union

CANDIDATE = "candidate"


@dataclass(eq=False)
class Builder:
    """The nodes of a graph, or of one region, that are done. Equal to itself alone."""

    ids: count[int]
    nodes: list[Node] = field(default_factory=list)
    renamed: dict[int, int] = field(default_factory=dict)
    _index: dict[int, Node] = field(default_factory=dict)
    _sources: dict[Any, int] = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph) -> Builder:
        return Builder(count(max((n.id for n in walk(graph.nodes)), default=-1) + 1))

    def inside(self) -> Builder:
        """For the region of a scan; ids go on."""
        return Builder(self.ids)

    def node(self, id: int) -> Node:
        return self._index[id]

    def has(self, id: int) -> bool:
        return id in self._index

    def now(self, id: int) -> int:
        """What an id of the old graph is in the new one."""
        return self.renamed.get(id, id)

    def append(self, node: Node) -> int:
        """A node that is done, its inputs ids of the new graph."""
        self.nodes.append(node)
        self._index[node.id] = node
        return node.id

    def add(
        self,
        op: str,
        inputs: tuple[int, ...],
        type_: Type,
        like: Node,
        attrs: Mapping[str, Any] | None = None,
        weights: tuple[str, ...] = (),
        name: str | None = None,
    ) -> int:
        """A new node where `like` is written. Its role follows from its inputs."""
        roles = {self.node(i).role for i in inputs} or {like.role}
        return self.append(
            Node(
                next(self.ids), op, inputs, type_, like.span, dict(attrs or {}), weights, like.scope, name,
                role=CANDIDATE if CANDIDATE in roles else "request", device=like.device,
            )
        )  # fmt: skip

    def pointwise(self, op: str, like: Node, *inputs: int) -> int:
        """A new node, without attributes, whose inputs broadcast."""
        types = [self.node(i).type for i in inputs]
        return self.add(op, inputs, Type(union(*types), max(t.width for t in types)), like)

    def source(
        self, op: str, type_: Type, like: Node, attrs: Mapping[str, Any], weights: tuple[str, ...] = ()
    ) -> int:
        """A value of the request without inputs: one node for all that ask for the same."""
        key = (op, weights, *attrs.values())
        if key not in self._sources:
            made = Node(
                next(self.ids), op, (), type_, like.span, attrs, weights, like.scope, device=like.device
            )
            self._sources[key] = self.append(made)
        return self._sources[key]

    def stand_for(self, old: Node, new: int) -> None:
        """From now on `new` stands for an old node, under its name."""
        self.renamed[old.id] = new
        if old.name is not None:
            self.call(new, old.name, old.scope)

    def call(self, id: int, name: str, scope: str) -> None:
        """Give a node a name, if it has none."""
        found = self._index[id]
        if found.name is None and found.op != op.CONSTANT:
            named = replace(found, name=name, scope=scope)
            self.nodes[next(i for i in range(len(self.nodes) - 1, -1, -1) if self.nodes[i].id == id)] = named
            self._index[id] = named

    def updated(self, node: Node) -> Node:
        """A node of the old graph with inputs of the new one."""
        inputs = tuple(self.now(i) for i in node.inputs)
        return node if inputs == node.inputs else replace(node, inputs=inputs)


Rule = Callable[[Node, Builder], int | None]
"""What a node (its inputs ids of the new graph) is to become; None to keep it."""


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """Apply a rule to every node, those of regions first, and prune what it changed: a graph in which it
    changes nothing is returned as it is."""
    builder = Builder.of(graph)
    _rewrite(graph.nodes, rule, builder)
    return graph if _same(graph.nodes, builder.nodes) else prune(rebuilt(graph, builder))


def _same(nodes: Sequence[Node], others: Sequence[Node]) -> bool:
    return len(nodes) == len(others) and all(a is b for a, b in zip(nodes, others, strict=True))


def _rewrite(nodes: tuple[Node, ...], rule: Rule, builder: Builder) -> None:
    for old in nodes:
        node = builder.updated(old)
        if node.region is not None:
            inside = builder.inside()
            _rewrite(node.region.nodes, rule, inside)
            if not _same(node.region.nodes, inside.nodes):
                node = replace(node, region=within(node, inside))
        new = rule(node, builder)
        if new is None:
            builder.append(node)
        else:
            builder.stand_for(old, new)


def within(scan: Node, inside: Builder) -> Any:
    """The region of a scan with rebuilt nodes."""
    region = scan.region
    assert region is not None
    return replace(region, nodes=tuple(inside.nodes), nexts=tuple(inside.now(n) for n in region.nexts))


def rebuilt(graph: Graph, builder: Builder) -> Graph:
    """The graph with the builder's nodes, and all that pointed at replaced ones pointing at theirs."""
    now = builder.now
    return replace(
        graph,
        nodes=tuple(builder.nodes),
        predictions=tuple(replace(p, node=now(p.node)) for p in graph.predictions),
        results=tuple(replace(r, node=now(r.node)) for r in graph.results),
        losses=tuple(replace(x, node=now(x.node)) for x in graph.losses),
        attentions=tuple(
            replace(a, weight=now(a.weight), score=None if a.score is None else now(a.score))
            for a in graph.attentions
        ),
        bindings={name: now(id) for name, id in graph.bindings.items()},
    )


def recaptured(scan: Node, captures: Sequence[int], inputs: Sequence[int], nodes: Sequence[Node]) -> Node:
    """A scan whose region captures other values: captures, the region's nodes that stand for `inputs`. The
    states' starts come after them as before."""
    region = scan.region
    assert region is not None
    starts = [i for i in region.inits if i is not None]
    place = {old: len(inputs) + number for number, old in enumerate(starts)}
    inits = tuple(None if i is None else place[i] for i in region.inits)
    new = replace(region, nodes=tuple(nodes), captures=tuple(captures), inits=inits)
    return replace(scan, inputs=(*inputs, *(scan.inputs[i] for i in starts)), region=new)


def uses_of(graph: Graph) -> Counter[int]:
    """How often each value is read: by nodes, in regions too, by outputs, and by attentions' records."""
    uses = Counter(i for node in walk(graph.nodes) for i in node.inputs)
    uses.update(graph.outputs)
    uses.update(i for a in graph.attentions for i in (a.weight, a.score) if i is not None)
    return uses


def needed_by_outputs(graph: Graph) -> set[int]:
    """The nodes that predictions and losses need; attentions' records may read others."""
    needed: set[int] = set()
    stack = list(graph.outputs)
    while stack:
        id = stack.pop()
        if id not in needed:
            needed.add(id)
            stack.extend(graph.node(id).inputs)
    return needed
