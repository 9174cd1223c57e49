"""Dead node elimination: remove what no output and no attention depends on.

Promises: the same outputs; an attention whose result is alive keeps its weight and score; a region keeps
only what its next states depend on. Weights that no node of the elaborated graph reads are removed; those
that only a pass made unused stay, so that a checkpoint fits the model whatever passes made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from specc.ir.graph import Graph, Node, Region, rankings, reads_of, walk


def prune(graph: Graph, attention_results: Mapping[str, int] | None = None) -> Graph:
    """Return the graph without its dead nodes.

    attention_results: for each attention, by path, the node of its result; an attention whose result is dead
    is removed. Without it, as after a pass, all attentions and weights stay.
    """
    nodes = tuple(_prune_region(n) if n.region else n for n in graph.nodes)
    index = {n.id: n for n in nodes}
    alive = _closure(graph.outputs, index)
    attentions = tuple(
        a for a in graph.attentions
        if attention_results is None or attention_results.get(a.path, a.weight) in alive
    )  # fmt: skip
    wanted = [n for a in attentions for n in (a.weight, a.score) if n is not None]
    alive |= _closure(wanted, index)
    kept = tuple(n for n in nodes if n.id in alive)
    weights = graph.weights
    if attention_results is not None:
        used = {path for n in walk(kept) for path in n.weights}
        weights = {path: w for path, w in weights.items() if path in used}
    return replace(
        graph,
        nodes=kept,
        weights=weights,
        attentions=attentions,
        bindings={name: id for name, id in graph.bindings.items() if id in alive},
    )


def _closure(roots: Iterable[int], index: Mapping[int, Node]) -> set[int]:
    alive: set[int] = set()
    ranked = rankings(tuple(index.values()))
    stack = [r for r in roots if r in index]
    while stack:
        id = stack.pop()
        if id not in alive:
            alive.add(id)
            stack.extend(reads_of(index[id], ranked))
    return alive


def _prune_region(node: Node) -> Node:
    """Return a scan that captures only what its body reads."""
    assert node.region is not None
    region, kept = pruned_region(node.region)
    return replace(node, inputs=tuple(node.inputs[i] for i in kept), region=region)


def pruned_region(region: Region) -> tuple[Region, list[int]]:
    """Return a region without what its next states do not depend on, and the numbers of the inputs that its
    scan keeps."""
    inner = tuple(_prune_region(n) if n.region else n for n in region.nodes)
    alive = _closure(region.nexts, {n.id: n for n in inner})
    alive.update(region.states)
    kept = [i for i, capture in enumerate(region.captures) if capture in alive]
    old_inits = [i for i in region.inits if i is not None]
    place = {old: new for new, old in enumerate([*kept, *old_inits])}
    numbers = {region.captures[i]: place[i] for i in kept}
    nodes = tuple(
        replace(n, attrs={**n.attrs, "index": numbers[n.id]}) if n.id in numbers else n
        for n in inner
        if n.id in alive
    )
    pruned = Region(
        nodes,
        tuple(region.captures[i] for i in kept),
        region.states,
        tuple(None if i is None else place[i] for i in region.inits),
        region.nexts,
    )
    return pruned, [*place]
