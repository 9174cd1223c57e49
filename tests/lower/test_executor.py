"""Lowered programs executed without any text, against what their graphs mean and against what is emitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from specc.driver import load_source
from specc.emit.module import printed
from specc.interpret.compare import Expected, gradients_of, unexpected
from specc.ir.graph import Graph, walk
from specc.lower import lower
from specc.lower.program import Kernel, Program, Value
from specc.ops import op
from specc.passes import optimise
from specc.report import Report
from specc.source import Source
from specc.testing import random_batch
from specc.testing.programs import programs
from specc.testing.subject import small as few
from specc_runtime import Batch, Model, from_texts
from tests.executor.program import Executed
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import compiled, construct, draws, looks_across
from tests.specs.small import CASES, label, small

EACH = ("none", "default")
CONSTRUCT = pytest.mark.parametrize("name", CONSTRUCTS)
SHIPPED = pytest.mark.parametrize(("name", "variant"), CASES, ids=[label(*case) for case in CASES])
WALKED = [n for n in CONSTRUCTS if any(x.op == op.RECURRENCE for x in walk(optimise(construct(n)).nodes))]


def held(
    graph: Graph,
    batch: Batch | None = None,
    seed: int = 0,
    native: bool = False,
    each: tuple[str, ...] = EACH,
) -> list[str]:
    """Where lowered programs are something else than their graph means: without passes, and with all."""
    model = compiled(graph, "none", seed).train(not draws(graph) and batch is None)
    if batch is None:
        batch = random_batch(model.manifest, 3, seed=seed, empty=0.3, unlabelled=0.3, longest=3)
    expected = Expected.of(graph, model, batch)
    found = []
    for passes in each:
        program = lower(optimise(graph, passes))
        executed: Any = Executed(program, model.state_dict(), model.training, native)
        found += [f"{passes}: {d}" for d in unexpected(executed, batch, expected)]
    return found


@CONSTRUCT
def test_a_lowered_construct_is_what_it_means(name: str) -> None:
    assert not held(construct(name), seed=len(name))


@pytest.mark.parametrize("name", [n for n in CONSTRUCTS if not looks_across(construct(n))])
def test_with_candidates(name: str) -> None:
    graph = construct(name)
    manifest = compiled(graph, "none").manifest
    assert not held(
        graph, random_batch(manifest, 2, seed=7, empty=0.3, candidates=True, longest=3), each=EACH[1:]
    )


@pytest.mark.parametrize("name", WALKED)
def test_recurrences_with_runs_in_c(name: str) -> None:
    assert not held(construct(name), seed=len(name), native=True, each=EACH[1:])


@SHIPPED
def test_a_lowered_spec_is_what_it_means(name: str, variant: Mapping[str, Any]) -> None:
    assert not held(small(name, variant), seed=len(name))


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_a_random_program_is_what_it_means(text: str) -> None:
    graph = load_source(Source("random.arec", text), None, {}, Report())
    assert graph is not None
    assert not held(few(graph), seed=len(text))


# ------------------------------------------------------- which side a fault is on


def _shared(program: Program) -> list[Kernel]:
    assert program.shared is not None
    return program.shared.kernels


def other_rows(program: Program) -> None:
    """A sum over the wrong positions."""
    (softmax,) = (k for k in _shared(program) if k.name == "segment.softmax")
    (paired,) = (k for k in _shared(program) if k.name == "paired")
    softmax.name, softmax.args = "same", (paired.result,)


def too_early(program: Program) -> None:
    """A value written over that another kernel reads later."""
    linear = next(k for k in _shared(program) if k.name == "linear")
    written = Value(10**6, linear.result.shape, linear.result.width, linear.result.device, base=linear.result)
    written.written = written.held = linear.result.held = True
    number = _shared(program).index(linear)
    made = Kernel(op.TANH, (linear.result,), (written,), over=linear.result)
    _shared(program).insert(number + 1, made)


def wrong_slope(program: Program) -> None:
    """A derivative that adds what it should take away."""
    cell = next(k.args[0] for k in _shared(program) if k.name == "recur")
    kernel = next(k for k in cell.back.kernels if k.name == op.SUB and k.over is not None)
    kernel.name = op.ADD
    assert cell.native.back is not cell.back
    cell.native = "it is spoilt"


@pytest.mark.parametrize("spoil", [other_rows, too_early, wrong_slope])
def test_a_fault_in_lowering_is_found_there(spoil: Callable[[Program], None]) -> None:
    """What is executed is not what is meant, and is what is printed."""
    graph = replace(small("dien"), attentions=())
    program = lower(optimise(graph))
    spoil(program)
    text, kernels, _ = printed(program)
    texts = {**compiled(graph, "default").files, "model.py": text, "kernels.c": kernels}
    model, batch, expected = _asked(graph, from_texts(texts))
    executed: Any = Executed(program, model.state_dict())
    assert unexpected(executed, batch, expected)
    assert not unexpected(model, batch, _by(executed, model, batch))


def test_a_fault_in_printing_is_not_found_in_lowering() -> None:
    """What is executed is what is meant, and is not what is printed."""
    graph = replace(small("dien"), attentions=())
    texts = compiled(graph, "default").files
    spoilt = {
        **texts,
        "model.py": texts["model.py"].replace("ops.segment.softmax(", "ops.segment.log_softmax("),
    }
    model, batch, expected = _asked(graph, from_texts(spoilt))
    executed: Any = Executed(lower(optimise(graph)), model.state_dict())
    assert unexpected(model, batch, expected)
    assert not unexpected(executed, batch, expected)


def _asked(graph: Graph, model: Model) -> tuple[Model, Batch, Expected]:
    """A model with weights that hide nothing, a batch, and what is meant."""
    model.double().eval().load_state_dict(compiled(graph, "none").state_dict())
    batch = random_batch(model.manifest, 3, seed=5, longest=3, full=True)
    return model, batch, Expected.of(graph, model, batch)


def _by(executed: Any, model: Model, batch: Batch) -> Expected:
    """What an executed program gives, as what is expected of another."""
    predictions, losses = executed(batch), executed.losses(batch)
    weights = {path: w for path, w in executed.state_dict().items() if w.requires_grad}
    return Expected(
        {name: x.detach() for name, x in predictions.items()},
        {name: x.detach() for name, x in losses.items()},
        {},
        gradients_of(predictions, losses, weights),
    )
