"""Specs held against their papers' equations, in value and gradient, example by example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from specc.testing import random_batch
from specc_runtime import Batch, Model
from tests.specs.equations import EQUATIONS
from tests.specs.one import One
from tests.specs.small import CASES, label, model_of, small

WRITTEN = [case for case in CASES if case[0] in EQUATIONS]


@pytest.mark.parametrize(("name", "variant"), WRITTEN, ids=[label(*case) for case in WRITTEN])
def test_is_what_the_paper_writes(name: str, variant: Mapping[str, Any]) -> None:
    graph = small(name, variant)
    model = spread(model_of(graph)).double().eval()
    batch = random_batch(model.manifest, 4, seed=7, longest=4)
    # Dice by the statistics of the batch is of the batch that it is in: each example by itself.
    batches = [batch.example(i) for i in range(batch.size)]
    weights = dict(model.state_dict(keep_vars=True))
    expected = [EQUATIONS[name](One(one, weights, graph.params)) for one in batches]
    found = [outputs(model, one) for one in batches]
    for wanted, given in zip(expected, found, strict=True):
        assert wanted.keys() == given.keys()
        for key in wanted:
            torch.testing.assert_close(given[key], wanted[key], rtol=1e-9, atol=1e-10)
    trained = {path: w for path, w in weights.items() if w.requires_grad}
    wanted_gradients = gradients(expected, trained)
    for path, gradient in gradients(found, trained).items():
        torch.testing.assert_close(gradient, wanted_gradients[path], rtol=1e-7, atol=1e-9, msg=path)


def spread(model: Model) -> Model:
    """Weights that hide nothing: none is 0, and statistics are not those of the start."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for path, weight in model.state_dict().items():
            noise = 0.4 * torch.randn(weight.shape, generator=generator)
            weight.add_(noise.abs() if path.endswith("running_var") else noise)
    return model


def outputs(model: Model, one: Batch) -> dict[str, Tensor]:
    found = {name: logits.sum() for name, logits in model(one).items()}
    losses = model.losses(one)
    return found | {x: losses[x] for x in losses if x not in found and x != "l2"}


def gradients(results: list[dict[str, Tensor]], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    total = torch.stack([(1 + i) * x for i, each in enumerate(results) for x in each.values()]).sum()
    found = torch.autograd.grad(total, list(weights.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(weights, found, strict=True))
