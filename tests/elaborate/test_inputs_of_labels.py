"""A label's column may be read by what only weighs in losses, and by nothing that predicts."""

from __future__ import annotations

import pytest

from specc.driver import load_source
from specc.report import Report
from specc.source import Source

SPEC = """model m
space s from request {{ x: number, watched: number(log1p), kind: vocab(10, 2) }}
predict watched: real(weight = {weight}) = {inputs} |> linear(1)
"""


@pytest.mark.parametrize(
    ("weight", "inputs", "codes"),
    [
        ("1 + s.watched", "s.x", set()),
        ("1", "s", {"W0706"}),
        ("1 + s.watched", "concat(s.x, s.watched)", {"W0706"}),
    ],
)
def test_a_label_may_weigh(weight: str, inputs: str, codes: set[str], tmp_path: object) -> None:
    report = Report()
    text = SPEC.format(weight=weight, inputs=inputs)
    graph = load_source(Source("m.arec", text), tmp_path, None, report)  # type: ignore[arg-type]
    assert graph is not None
    assert {d.code for d in report} == codes
