"""Every operation of single channels in a recurrence's step: what it means, value and gradient, in Python and
in C."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specc.driver import load_source
from specc.interpret.compare import Expected, unexpected
from specc.ir.graph import walk
from specc.lower import choices
from specc.ops import OPS, op
from specc.ops.definition import REQUIRED, Pointwise
from specc.passes import optimise
from specc.report import Report
from specc.source import Source
from specc.testing import random_batch
from tests.lower.test_program import WALK
from tests.oracle.subjects import compiled

FUNCTIONS = sorted(
    name
    for name, found in OPS.items()
    if isinstance(found.lowering, Pointwise) and found.call is not None and len(found.inputs) == 1
    and all(option.default is not REQUIRED for option in found.call.options)
    and found.derivative is not None and found.derivative.python
)  # fmt: skip
# What a function may be given without leaving where it is smooth.
INSIDE = {op.LOG: "2 + tanh({x})", op.SQRT: "2 + tanh({x})", op.ABS: "2 + tanh({x})", op.EXP: "tanh({x})"}


@pytest.mark.parametrize("in_c", [False, True], ids=["python", "c"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_step_of_it_is_what_it_means(name: str, in_c: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = INSIDE.get(name, "{x}").format(x="(x |> linear(n)) + (h |> linear(n))")
    text = WALK.format(step=f"0.5 * h + {name}({x}) * sigmoid(x |> linear(n))")
    graph = load_source(Source("walk.arec", text), None, {}, Report())
    assert graph is not None
    assert any(n.op == op.RECURRENCE for n in walk(optimise(graph).nodes))
    monkeypatch.setattr(choices, "STEPS_IN_C", replace(choices.STEPS_IN_C, least=0))
    monkeypatch.setenv("AREC_NATIVE", "1" if in_c else "0")
    model = compiled(graph, "default")
    batch = random_batch(model.manifest, 4, seed=len(name), empty=0.3)
    assert not unexpected(model, batch, Expected.of(graph, model, batch))
