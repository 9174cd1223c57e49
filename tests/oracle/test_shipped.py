"""Every shipped spec, however it is compiled, is what it means: each pass by itself, and in single precision.

tests/specs asks it of the default selection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from specc.interpret.compare import Expected, unexpected
from specc.ir.verify import verify
from specc.passes import stages
from specc.testing import random_batch
from tests.oracle.subjects import compiled, draws, every_way, looks_across
from tests.specs.small import CASES, label, small

EACH = pytest.mark.parametrize(("name", "variant"), CASES, ids=[label(*case) for case in CASES])


@EACH
def test_every_stage_is_sound(name: str, variant: Mapping[str, Any]) -> None:
    for _, graph in stages(small(name, variant)):
        verify(graph)


@EACH
def test_compiled_in_every_way_is_what_it_means(name: str, variant: Mapping[str, Any]) -> None:
    graph = small(name, variant)
    model = compiled(graph, "none").train(not draws(graph))
    batch = random_batch(model.manifest, 3, seed=5, longest=3, empty=0.3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model, batch, expected)
    for passes in every_way(graph):
        model = compiled(graph, passes).train(not draws(graph))
        assert not unexpected(model, batch, expected), passes


@EACH
def test_single_precision(name: str, variant: Mapping[str, Any]) -> None:
    graph = small(name, variant)
    model = compiled(graph, "default")
    # The statistics of a few examples magnify every rounding.
    size, tolerance = (6, 1e-4) if looks_across(graph) else (2, 1e-5)
    batch = random_batch(model.manifest, size, seed=6, longest=3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model.to(torch.float32), batch, expected, tolerance)
