"""A tile in C, and its derivative, are the tile's function in torch."""

from __future__ import annotations

import pytest
import torch

import specc
from specc.testing import random_batch
from specc_runtime import Batch, Model
from specc_runtime.native import build

TEXT = """
model tiles
space user from request {{ a: ids(9, {width}), b: ids(9, {width}), c: ids(9, {width}), d: ids(9, {width}) }}
products = pairs(stack(user, as field), over field, as pair)
score = {score}
predict click: binary = {sum} |> linear(1)
"""
SCORES = {
    "one_layer": "products |> linear(1)",
    "two_layers": "products |> linear(17) |> relu |> linear(1, bias = false)",
    "three": "tanh(products |> linear(9) |> sigmoid |> linear(33)) |> linear(1)",
    "of_itself": "exp(sum(products * products)) / (1 + sum(products) ^ 2)",
}
SUMS = (
    "sum(softmax(score, over pair) * products, over pair)",
    "mean(score * products - 0.5 * score, over pair)",
)


@pytest.fixture(autouse=True)
def quickly_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_FLAGS", ("-O1", "-fopenmp-simd", "-fPIC", "-shared"))


def gradients(model: Model, batch: Batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss = model.loss(Batch(batch.schema, batch.size, batch.fields, batch.lengths, batch.labels))
    loss.backward()
    found = {name: p.grad.to_dense() for name, p in model.named_parameters() if p.grad is not None}
    return {"": loss.detach(), **found}


@pytest.mark.parametrize(
    ("score", "width", "total"),
    [
        ("one_layer", 1, SUMS[1]),
        ("two_layers", 16, SUMS[0]),
        ("three", 5, SUMS[1]),
        ("of_itself", 5, SUMS[0]),
    ],
)
def test_values_and_gradients(score: str, width: int, total: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = specc.compile(TEXT.format(width=width, score=SCORES[score], sum=total)).double()
    in_c = "in_c=" in model.files["model.py"]
    assert in_c == (score != "of_itself")  # a power's derivative has no form in C
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    for size in (1, 2, 13):
        batch = random_batch(model.manifest, size, size)
        monkeypatch.setenv("AREC_NATIVE", "1")
        found = gradients(model, batch)
        monkeypatch.setenv("AREC_NATIVE", "0")
        wanted = gradients(model, batch)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            assert torch.isfinite(model(batch)["click"]).all()


def test_nothing_is_a_tile_too() -> None:
    model = specc.compile(TEXT.format(width=5, score=SCORES["two_layers"], sum=SUMS[0]))
    batch = random_batch(model.manifest, 2, 0)
    none = Batch(batch.schema, 0, {path: x[:0] for path, x in batch.fields.items()}, {}, {})  # type: ignore[index]
    assert model(none)["click"].shape == (0,)
