"""Recurrences with kernels in C, of every construct and every shipped spec, are what they mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from specc.graph.ir import Graph, walk
from specc.interpret.compare import Expected, unexpected
from specc.passes import optimise
from specc.testing import random_batch
from specc_runtime import native
from specc_runtime.ops import cell
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import compiled, construct, draws, looks_across
from tests.specs.small import CASES, label, small

SUBJECTS: dict[str, Callable[[], Graph]] = {
    **{name: partial(construct, name) for name in CONSTRUCTS},
    **{label(*case): partial(small, *case) for case in CASES},
}
RECURRENT = [
    name
    for name, graph in SUBJECTS.items()
    if any(n.op == "recurrence" for n in walk(optimise(graph()).nodes))
]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Kernels for however few rows; for each walk whether it had some."""
    found = []

    def told(plain: cell.Cell, *widths: object) -> cell.Cell:
        made = native.cells.compiled(plain, *widths)  # type: ignore[arg-type]
        found.append(made is not plain)
        return made

    monkeypatch.setattr(cell, "_WORTH", 0)
    monkeypatch.setattr(native, "compiled", told)
    return found


@pytest.mark.parametrize("name", RECURRENT)
def test_in_c_it_is_what_it_means(name: str, seen: list[bool]) -> None:
    graph = SUBJECTS[name]()
    model = compiled(graph, "default").train(not draws(graph))
    batch = random_batch(model.manifest, 4, seed=len(name), empty=0.3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model, batch, expected)
    assert seen, "nothing was walked"
    assert all(seen), "a recurrence has no kernels"


@pytest.mark.parametrize("name", RECURRENT)
def test_in_single_precision_too(name: str, seen: list[bool]) -> None:
    graph = SUBJECTS[name]()
    model = compiled(graph, "default")
    # The statistics of a few examples magnify every rounding.
    size, tolerance = (6, 1e-4) if looks_across(graph) else (2, 1e-5)
    batch = random_batch(model.manifest, size, seed=len(name), longest=3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model.to(torch.float32), batch, expected, tolerance)
    assert all(seen)
