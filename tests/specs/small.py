"""The shipped specs at a size that tests can afford: few rows, narrow layers, short sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from specc.driver import load, load_source
from specc.emit import emit
from specc.ir.graph import FieldSpec, Graph
from specc.passes import optimise
from specc.report import Report
from specc.source import Source
from specc_runtime import Model, from_texts

REPO = Path(__file__).parents[2]
SPECS = REPO / "specs"
ROWS = 23

# Params of each spec that keep it small. An official variant has those of its base, and its own.
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "afm": {"k": 4, "t": 8},
    "afm_official": {"k": 4, "t": 8},
    "fm": {"k": 4},
    "atrank": {"dim": 4, "common": 16, "spaces": 2},
    "atrank_multi": {"dim": 4, "common": 16, "spaces": 2},
    "atrank_official": {"dim": 16, "common": 32, "spaces": 2},
    "bst": {"dim": 4, "heads": 2, "longest": 10, "sizes": [8, 6]},
    "dien": {"dim": 4, "longest": 20, "sizes": [8, 6]},
    "dien_official": {"dim": 4, "longest": 20, "sizes": [8, 6]},
    "din": {"dim": 4, "sizes": [8, 6], "hidden": 16},
    "din_official": {"dim": 16, "sizes": [8, 6]},
    "dsin": {"dim": 4, "heads": 2, "sizes": [8, 6]},
    "dsin_official": {"dim": 4, "heads": 2, "sizes": [8, 6]},
    "dsin_official_padded": {"dim": 4, "heads": 2, "sizes": [8, 6]},
    "dstn": {"dim": 4, "hidden": 16, "sizes": [8, 6]},
    "dstn_official": {"dim": 4, "hidden": 16, "sizes": [8, 6]},
}
# What else a spec can be: every choice that its paper compares.
VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "bst": ({"pooling": "all"}, {"blocks": 2}),
    "dien": ({"evolution": "agru"}, {"evolution": "aigru"}),
    "dien_official": ({"padded": True},),
    "din": ({"activation": "prelu"},),
    "din_official": ({"activation": "dice"},),
    "dsin": ({"bias": False},),
    "dstn": ({"fusion": "pooling"}, {"fusion": "self_attention"}),
    "dstn_official": ({"fusion": "self_attention"},),
}
CASES = [(name, variant) for name in PARAMS for variant in ({}, *VARIANTS.get(name, ()))]


def label(name: str, variant: Mapping[str, Any]) -> str:
    return name + "".join(f"-{k}-{v}" for k, v in variant.items())


def few_rows(graph: Graph, rows: int = ROWS) -> Graph:
    """The same graph with small tables, and what else has a number for each of their rows."""
    many = {w.shape[0] for w in graph.weights.values() if w.kind == "table"}
    weights = {
        path: replace(w, shape=(min(w.shape[0], rows), *w.shape[1:])) if w.shape[0] in many else w
        for path, w in graph.weights.items()
    }
    spaces = tuple(
        replace(space, fields=tuple(_few(field, rows) for field in space.fields)) for space in graph.spaces
    )
    predictions = tuple(
        p if p.rows is None else replace(p, classes=min(p.classes, rows)) for p in graph.predictions
    )
    return replace(graph, weights=weights, spaces=spaces, predictions=predictions)


def _few(field: FieldSpec, rows: int) -> FieldSpec:
    def cut(options: Mapping[str, Any]) -> dict[str, Any]:
        return {
            k: cut(v) if isinstance(v, Mapping) else min(v, rows) if k in ("max", "n") else v
            for k, v in options.items()
        }

    return replace(field, options=cut(field.options))


def small(name: str, variant: Mapping[str, Any] | None = None) -> Graph:
    """The typed graph of a shipped spec, small."""
    graph, report = load(SPECS / f"{name}.arec", {**PARAMS[name], **(variant or {})})
    assert graph is not None, [str(d) for d in report]
    return few_rows(graph)


def graph_of(text: str, **params: Any) -> Graph:
    """The typed graph of a text that may extend shipped specs."""
    report = Report()
    graph = load_source(Source("test.arec", text), None, params, report)
    assert graph is not None, [str(d) for d in report]
    return graph


def model_of(graph: Graph, passes: Any = "default") -> Model:
    return from_texts(emit(optimise(graph, passes)), graph.name)
