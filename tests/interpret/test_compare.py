"""The comparison notices what differs, and says what it is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from specc.interpret.compare import Expected, differences, unexpected
from specc.testing import random_batch
from specc_runtime import Batch, Model
from tests.oracle.subjects import compiled, construct


def held(name: str) -> tuple[Model, Batch, Expected]:
    graph = construct(name)
    model = compiled(graph, "default")
    batch = random_batch(model.manifest, 4, seed=2, empty=0.0)
    assert not differences(graph, model, batch)
    return model, batch, Expected.of(graph, model, batch)


def whats(model: Model, batch: Batch, expected: Expected) -> set[str]:
    return {difference.what.split(" ")[0] for difference in unexpected(model, batch, expected)}


def test_another_weight_is_noticed_in_everything_it_touches() -> None:
    model, batch, expected = held("attention")
    with torch.no_grad():
        model.get_parameter("items.weight").add_(1e-3 * torch.arange(7.0).unsqueeze(1))
    assert whats(model, batch, expected) == {"prediction", "loss", "attention", "gradient"}


def test_another_gradient_alone_is_noticed() -> None:
    model, batch, expected = held("attention")
    path, gradient = next(iter(expected.gradients.items()))
    wrong = replace(expected, gradients={**expected.gradients, path: gradient + 1e-6})
    (found,) = unexpected(model, batch, wrong)
    assert found.what == f"gradient of {path}"
    assert abs(found.expected - found.found) == pytest.approx(1e-6, rel=1e-3)
    assert str(found).startswith(f"gradient of {path} should be ")
    assert not unexpected(model, batch, wrong, tolerance=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_noticed(bad: float) -> None:
    model, batch, expected = held("losses")
    wrong = replace(expected, losses={**expected.losses, "near": torch.tensor(bad)})
    assert [d.what for d in unexpected(model, batch, wrong)] == ["loss near"]


def test_what_is_missing_is_noticed() -> None:
    model, batch, expected = held("losses")
    losses = {name: loss for name, loss in expected.losses.items() if name != "apart"}
    (found,) = unexpected(model, batch, replace(expected, losses=losses))
    assert found.what == "loss apart, which only one of them has"
