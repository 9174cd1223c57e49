"""What of a model is exported: the graph of some of its results, in portable operations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePath

from specc.export import ExportError
from specc.ir.graph import Graph, Node, walk
from specc.ir.inputs import fields_for
from specc.ir.prune import prune
from specc.ops import definition
from specc.passes import DEFAULT, optimise
from specc.report.suggest import nearest

PASSES = tuple(name for name in DEFAULT if name not in ("recurrence", "tiles"))
"""Without those that make loops of the runtime's own."""


def exported(graph: Graph, only: Iterable[str] = ()) -> tuple[Graph, str | None]:
    """The graph of some results, all without names, after passes; and, of one that is of the request alone or
    of the candidate alone, its name.

    graph: as it was written. Raises ExportError where there is no such result, or an operation that is not
    portable.
    """
    names = list(dict.fromkeys(only))
    for name in names:
        if name not in graph.named:
            close = nearest(name, graph.named)
            advice = f"did you mean {close}?" if close else f"it has {', '.join(graph.named)}"
            raise ExportError(f"the model has no result {name}; {advice}")
    wanted = names or list(graph.named)
    part = replace(
        graph,
        predictions=tuple(p for p in graph.predictions if p.name in wanted),
        results=tuple(r for r in graph.results if r.name in wanted),
        losses=(), attentions=(), devices={}, places={}, place_spans={},
    )  # fmt: skip
    found = prune(optimise(prune(part), PASSES))
    faults = [_fault(node) for node in walk(found.nodes) if not definition(node).traits.portable]
    if faults:
        raise ExportError("\n".join(dict.fromkeys(faults)))
    alone = names[0] if len(names) == 1 and _is_partial(found, names[0]) else None
    return found, alone


def _fault(node: Node) -> str:
    span = node.span
    place = f"{PurePath(span.source.name).name}:{span.line}:{span.column}"
    return f"{place}: `{node.op}` cannot be exported: {definition(node).unportable}"


def _is_partial(graph: Graph, name: str) -> bool:
    """Whether a result other than a prediction is of the request alone, or of the candidate alone."""
    if name in {p.name for p in graph.predictions}:
        return False
    return len(roles_of(graph, name)) == 1


def roles_of(graph: Graph, name: str) -> set[str]:
    """The roles of the fields that a result is computed from."""
    paths = set(fields_for(graph, graph.named[name]))
    return {f.role for s in graph.spaces for f in s.fields if f.path in paths}
