"""Manifests of small specs, for tests of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specc.driver import load_source
from specc.emit.manifest import manifest_of
from specc.report import Report
from specc.source import Source

SEQUENCES = """model m
table items = vocab(100, 4)
table kinds = vocab(100, 4)
space user from request { id: hash(50, 4), age: bucket([18, 30], 4) }
space ad from candidate { item: items, price: number(standard) }
space past[t <= 3] from request { item: items, gap: bucket(log2, 8, 4) }
space noise[like t] from request { item: items }
space visits[session <= 2, step <= 2] from request { kind: kinds }
predict click: binary = concat(
  user, ad, sum(past, over t), sum(noise, over t), sum(mean(visits, over step), over session)
) |> linear(1)
"""


def manifest(text: str) -> dict[str, Any]:
    report = Report()
    graph = load_source(Source("m.arec", text), Path(__file__).parent, None, report)
    assert graph is not None, [d.message for d in report]
    return manifest_of(graph)


def one_field(encoding: str, axes: str = "", role: str = "request") -> dict[str, Any]:
    """A model with one field `x` of space `s`, whose column is `x`, and labels in `y`."""
    value = "sum(s, over t)" if axes else "s"
    return manifest(
        f"model m\nspace s{axes} from {role} {{ x: {encoding} }}\npredict y: binary = {value} |> linear(1)\n"
    )
