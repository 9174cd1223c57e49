"""What has kernels in C, of every construct and every shipped spec, is what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from specc.interpret.compare import Expected, unexpected
from specc.ir.graph import Graph, walk
from specc.lower import choices
from specc.passes import optimise
from specc.testing import random_batch
from specc_runtime import native
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import compiled, construct, draws, looks_across
from tests.specs.small import CASES, label, small

SUBJECTS: dict[str, Callable[[], Graph]] = {
    **{name: partial(construct, name) for name in CONSTRUCTS},
    **{label(*case): partial(small, *case) for case in CASES},
}


def kernels(graph: Graph) -> set[str]:
    """What in a graph has kernels: recurrences and attention."""
    return {n.op for n in walk(optimise(graph).nodes) if n.op in ("recurrence", "attention")}


NATIVE = {name: found for name, graph in SUBJECTS.items() if (found := kernels(graph()))}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Kernels for however few rows; what was done with some."""
    found = set()

    def functions(key: str, dtype: torch.dtype) -> native.sources.Functions | None:
        made = native.sources.functions(key, dtype)
        assert made is not None, "a recurrence has no kernels"
        found.add("recurrence")
        return made

    def attend(*given: Any) -> Any:
        made = native.attention.attend(*given)
        assert made is not None
        found.add("attention")
        return made

    def attend_all(*given: Any) -> Any:
        made = native.self_attention.attend_all(*given)
        assert made is not None
        found.add("attention")
        return made

    def attend_ended(*given: Any) -> Any:
        made = native.ended_attention.attend_ended(*given)
        assert made is not None
        found.add("attention")
        return made

    for name in ("STEPS_IN_C", "ATTENTION_IN_C", "SELF_ATTENTION_IN_C"):
        monkeypatch.setattr(choices, name, replace(getattr(choices, name), least=0))
    for function in (functions, attend, attend_all, attend_ended):
        monkeypatch.setattr(native, function.__name__, function)
    return found


@pytest.mark.parametrize("name", NATIVE)
def test_in_c_it_is_what_it_means(name: str, seen: set[str]) -> None:
    graph = SUBJECTS[name]()
    model = compiled(graph, "default").train(not draws(graph))
    batch = random_batch(model.manifest, 4, seed=len(name), empty=0.3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model, batch, expected)
    assert seen == NATIVE[name]


@pytest.mark.parametrize("name", NATIVE)
def test_in_single_precision_too(name: str, seen: set[str]) -> None:
    graph = SUBJECTS[name]()
    model = compiled(graph, "default")
    # The statistics of a few examples magnify every rounding.
    size, tolerance = (6, 1e-4) if looks_across(graph) else (2, 1e-5)
    batch = random_batch(model.manifest, size, seed=len(name), empty=0.0, longest=3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model.to(torch.float32), batch, expected, tolerance)
    assert seen == NATIVE[name]
