"""Where two models compute a value of one name otherwise.

Promises: a value is followed to its inputs, through blocks and regions, up to values that both models have
under one name, which are compared by themselves. What weights are called does not count.
"""

from __future__ import annotations

from pathlib import PurePath

from specc.ir.graph import Graph, Node
from specc.ir.print import text_of


def computed_otherwise(before: Graph, after: Graph) -> dict[str, tuple[str, str]]:
    """Return by name the first operation that differs, as each model has it, with its place in the spec. One
    that several values share is told of the first of them."""
    then, now = _named(before), _named(after)
    both = [name for name in then if name in now]
    comparison = _Comparison(before, after, {(then[name], now[name]) for name in both})
    found = {name: comparison.first(then[name], now[name]) for name in both}
    return {name: (_said(*pair), _said(*pair[::-1])) for name, pair in found.items() if pair is not None}


def _named(graph: Graph) -> dict[str, int]:
    return {**graph.bindings, **graph.named, **{x.name: x.node for x in graph.losses}}


class _Comparison:
    """named: the nodes of each value that has a name in both."""

    def __init__(self, before: Graph, after: Graph, named: set[tuple[int, int]]) -> None:
        self.before, self.after, self.named = before, after, named
        self._seen: set[tuple[int, int]] = set()

    def first(self, then: int, now: int) -> tuple[Node, Node] | None:
        """Return the nodes at which two values begin to differ; None if they do not, or where it was said."""
        root, waiting = (then, now), [(then, now)]
        while waiting:
            pair = waiting.pop()
            if pair in self._seen or (pair in self.named and pair != root):
                continue
            self._seen.add(pair)
            old, new = self.before.node(pair[0]), self.after.node(pair[1])
            if _own(old) != _own(new):
                return old, new
            waiting += reversed([*zip(old.inputs, new.inputs, strict=True)])
            if old.region is not None and new.region is not None:
                waiting += zip(old.region.nexts, new.region.nexts, strict=True)
        return None


def _own(node: Node) -> tuple[object, ...]:
    """What a node does with what it reads."""
    region = node.region
    inside = region and (region.inits, len(region.captures), len(region.nexts))
    return node.op, _settings(node), len(node.inputs), len(node.weights), inside


def _settings(node: Node) -> dict[str, str]:
    return {name: text_of(value) for name, value in node.attrs.items() if value is not None}


def _said(node: Node, other: Node) -> str:
    """A node in a few words: its operation, and of its settings those that the other one has otherwise."""
    own, others = _settings(node), _settings(other)
    differing = [f"{name} = {value}" for name, value in own.items() if others.get(name) != value]
    if node.op != other.op:
        differing = []
    elif not differing and len(node.inputs) != len(other.inputs):
        differing = [f"{len(node.inputs)} values"]
    settings = f"({', '.join(differing)})" if differing else ""
    return f"{node.op}{settings} {PurePath(node.span.source.name).name}:{node.span.line}"
