"""The products of recurrences in training by C's panels: those of BLAS, up to rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import specc
from specc.lower import choices
from specc.testing import random_batch
from specc_runtime import Batch, Model
from specc_runtime.native import products
from specc_runtime.ops import fields
from specc_runtime.ops import products as ops

# Widths that fill no panel, and one that fills two; what is looked up repeats in `kinds`.
SPEC = """model walks
table items = vocab(30, 9)
table kinds = vocab(3, 12)
space ad from candidate { item: items }
space history[t <= 12] from request { item: items, kind: kinds, gap: number(none) }
rows = concat(history.item, history.kind)
first = rows |> gru(19, over t)
again = concat(first, history.gap) |> lstm(32, over t)
predict click: binary = concat(last(again, over t), mean(first, over t), ad) |> linear(1)
"""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model of which every recurrence is in C, and every product that may be."""
    monkeypatch.setattr(choices, "STEPS_IN_C", replace(choices.STEPS_IN_C, least=0))
    monkeypatch.setattr(ops, "_IN_C", 0)
    torch.manual_seed(0)
    return specc.compile(SPEC)


def learned(model: Model, batch: Batch) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    loss = model.loss(batch)
    loss.backward()
    return [loss.detach(), *(p.grad.to_dense() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("few", [False, True])
def test_they_are_those_of_blas(
    model: Model, dtype: torch.dtype, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if few:
        monkeypatch.setattr(fields, "_WORTH", 0)
    asked: list[Any] = []
    panels, multiplied, slopes = products.panels, products.multiplied, products.slopes

    def seen(name: str, found: Any) -> Any:
        asked.append((name, bool(found) and found != (None, None)))
        return found

    monkeypatch.setattr(products, "panels", lambda *given: seen("panels", panels(*given)))
    monkeypatch.setattr(products, "multiplied", lambda *given: seen("multiplied", multiplied(*given)))
    monkeypatch.setattr(products, "slopes", lambda *given: seen("slopes", slopes(*given)))
    model = model.to(dtype)
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
    for size in (1, 9, 40):
        batch = random_batch(model.manifest, size, seed=size, empty=0.2)
        asked.clear()
        found = learned(model, batch)
        # Tiles, and products outside of steps, are in single precision only.
        single = dtype is torch.float32 and size == 40
        wanted = {"panels", *(("multiplied", "slopes") if single else ())}
        assert {name for name, in_c in asked if in_c} == wanted
        with monkeypatch.context() as by_blas:
            by_blas.setattr(products, "panels", lambda dtype: (None, None))
            by_blas.setattr(ops, "_IN_C", 2**60)
            expected = learned(model, batch)
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_several_threads_have_blas(model: Model) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert products.panels(torch.float32) == (None, None)
        several = learned(model, random_batch(model.manifest, 40, seed=1))
        torch.set_num_threads(1)
        one = learned(model, random_batch(model.manifest, 40, seed=1))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(several, one, rtol=2e-5, atol=2e-5)
