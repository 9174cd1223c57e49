"""`place items on sharded`: tables whose rows are divided between the processes that train.

Promises: what is sharded is a table with rows that are learned, of which a batch names those that it reads.
What `lookup` holds beside a table, as many rows for the same ids, goes with it.
Leaves to others: how rows are divided (specc_runtime.train), and where one process has the whole table, which
is with the rest (passes/placement.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from specc.ir.graph import Graph, read_as_a_whole, readings, walk
from specc.report import Label, Report
from specc.source import Source, Span

SHARDED = "sharded"  # stands where a device's name does


def shard(graph: Graph, names: Mapping[str, Span], report: Report) -> Graph:
    """Return a graph in which the tables of some names, and no others, are sharded. names: with where each is
    said. Reports tables that cannot be (E0606), and those that no value reads (W0709)."""
    paths = {w.owner: p for p, w in graph.weights.items() if w.kind == "table"}
    whole = read_as_a_whole(graph)
    for name, span in names.items():
        path = paths.get(name)
        if path is None:
            report.warning(
                "W0709",
                f"`{name}` is placed on {SHARDED}, but no value of the model is there",
                span,
                help=f"use `{name}`, or remove it from `place`",
            )
        elif graph.weights[path].frozen:
            report.error(
                "E0606",
                f"`{name}` is frozen, so it cannot be sharded",
                span,
                why="rows that training changes are sharded; of others each process has all",
                help=f"write `{name}` without `frozen`, or leave it out of `place`",
            )
        elif path in whole:
            report.error(
                "E0606",
                f"`{name}` is read as a whole, so it cannot be sharded",
                span,
                why="of a sharded table a process has the rows that its batch names, and no others",
                help=f"leave `{name}` out of `place`: each process then has it whole",
                secondary=(Label(whole[path], "all of its rows are read here"),),
            )
    return _marked(graph, {paths[name] for name in names if name in paths})


def shard_all(graph: Graph) -> Graph:
    """Return a graph in which all tables are sharded that can be."""
    whole = read_as_a_whole(graph)
    can_be = {p for p, w in graph.weights.items() if w.kind == "table" and not w.frozen and p not in whole}
    return _marked(graph, can_be)


def sharded(graph: Graph) -> list[str]:
    """Return the names of the tables that are sharded."""
    read = {f.table for s in graph.spaces for f in s.fields}
    return [w.owner for p, w in graph.weights.items() if w.sharded and p in read]


def nowhere(graph: Graph) -> Span:
    """Return a range for what is said outside of a spec."""
    return Span(Source(graph.source, ""), 0, 0)


def _marked(graph: Graph, paths: Iterable[str]) -> Graph:
    found = set(paths)
    fields = {f.path for s in graph.spaces for f in s.fields if f.table in found}
    found |= {r.table for n in walk(graph.nodes) for r in readings(n) if r.field in fields}
    weights = {path: replace(w, sharded=path in found) for path, w in graph.weights.items()}
    return replace(graph, weights=weights)
