"""Emitted modules under `torch.compile(dynamic=True)`: the same values, and no compilation for each batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import specc
from specc.testing import random_batch
from specc_runtime import Batch, Model
from tests.specs.test_models import built

# Tracing a recurrence or a Transformer takes up to a minute: all seven are traced where AREC_LONG is set.
TRACED = ["afm", "din"]
if os.environ.get("AREC_LONG"):
    TRACED += ["dien", "dsin", "bst", "dstn", "atrank"]
EACH = pytest.mark.parametrize("name", TRACED)
# Torch's own: where it traces a function with a derivative of its own, and where it goes on after a stop.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor:UserWarning"),
]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counted:
    """A backend that runs graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return module.forward


def batches(model: Model) -> Iterator[Batch]:
    """Of many sizes and lengths, with empty histories among them."""
    for size, longest in ((4, 4), (6, 4), (3, 9), (9, 6), (5, 2), (12, 9), (7, 5), (8, 3)):
        yield random_batch(model.manifest, size, seed=size, longest=longest)


@EACH
def test_changes_nothing(name: str) -> None:
    """With what compiles backward graphs, too."""
    model = built(name)
    compiled: Any = torch.compile(model, backend="aot_eager", dynamic=True)
    for size, seed in ((4, 2), (6, 3), (3, 8)):
        batch = random_batch(model.manifest, size, seed, longest=4)
        with torch.no_grad():
            torch.testing.assert_close(compiled(batch), model(batch))


@EACH
def test_scoring_is_compiled_once_for_all_batches(name: str) -> None:
    model, counted = built(name), Counted()
    compiled: Any = torch.compile(model, backend=counted, dynamic=True)
    graphs = []
    with torch.no_grad():
        for batch in batches(model):
            torch.testing.assert_close(compiled(batch), model(batch))
            graphs.append(counted.graphs)
        # Sizes of 0 and 1 are cases of their own to torch.compile: of that, too, there is but one.
        for _ in range(2):
            empty = random_batch(model.manifest, 5, seed=1, longest=0)
            torch.testing.assert_close(compiled(empty), model(empty))
            graphs.append(counted.graphs)
    assert graphs[1] == graphs[-3], graphs
    assert graphs[-2] == graphs[-1], graphs


@EACH
def test_training_is_compiled_once_for_all_batches(name: str) -> None:
    model, counted = built(name), Counted()
    loss: Any = torch.compile(model.loss, backend=counted, dynamic=True)
    graphs = []
    for batch in batches(model):
        model.zero_grad()
        model.loss(batch).backward()
        expected = {path: w.grad for path, w in model.named_parameters()}
        model.zero_grad()
        loss(batch).backward()
        torch.testing.assert_close({path: w.grad for path, w in model.named_parameters()}, expected)
        graphs.append(counted.graphs)
    assert graphs[1] == graphs[-1], graphs


def test_a_model_without_places_is_no_other(tmp_path: Path) -> None:
    """Of two histories, whose rows are counted at one stop."""
    path = tmp_path / "pooled.arec"
    path.write_text(
        "model pooled\ntable items = vocab(50, 8)\nspace ad from candidate { item: items }\n"
        "space history[t <= 20] from request { item: items }\n"
        "space other[s <= 20] from request { item: items }\n"
        "w = softmax(dot(history, ad), over t)\n"
        "predict click: binary = concat(sum(w * history, over t), mean(other, over s), ad) |> linear(1)\n",
        encoding="utf-8",
    )
    model, counted = specc.compile(path), Counted()
    compiled: Any = torch.compile(model, backend=counted, dynamic=True)
    graphs = []
    for batch in batches(model):
        torch.testing.assert_close(compiled(batch), model(batch))
        graphs.append(counted.graphs)
    assert graphs[1] == graphs[-1], graphs
