"""Blocks and models of texts, held against plain PyTorch in value and gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.testing import random_batch
from specc_runtime import Batch, Model
from tests.oracle.subjects import compiled
from tests.specs.small import graph_of

Weights = Mapping[str, Tensor]


def weights(model: Model) -> dict[str, Tensor]:
    """A model's weights by path, as leaves of their own."""
    own = dict(model.state_dict(keep_vars=True))
    return {path: x.detach().clone().requires_grad_(x.requires_grad) for path, x in own.items()}


def alike(model: Model, w: Weights, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Values are equal by name, and so are the gradients of their weighed sums, of every weight."""
    for name, (own, expected) in pairs.items():
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")
    for side in (0, 1):
        sum((both[side] * towards(both[side])).sum() for both in pairs.values()).backward()
    for path, parameter in model.named_parameters():
        theirs, own = w[path].grad, parameter.grad
        assert (theirs is None) == (own is None), path
        if theirs is not None and own is not None:
            torch.testing.assert_close(
                own.to_dense(), theirs, rtol=1e-8, atol=1e-10, msg=lambda m, p=path: f"{p}: {m}"
            )


def towards(x: Tensor) -> Tensor:
    """The same numbers for every value of a shape."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(x.numel()), dtype=x.dtype)


def holds(text: str, reference: Callable[[Weights, Batch], Tensor], size: int = 4, seed: int = 3) -> None:
    """The prediction `out` of a model is what a function of weights and batch gives."""
    model = compiled(graph_of(text), "default")
    batch = random_batch(model.manifest, size, seed=seed, longest=5, empty=0.3)
    w = weights(model)
    alike(model, w, {"out": (model(batch)["out"], reference(w, batch))})


def parts(batch: Batch, axis: str, rows: Tensor) -> list[Tensor]:
    """The rows of each example's sequence."""
    return list(rows.split(batch.lengths[axis].tolist()))


def filled(each: list[Tensor], bound: int) -> Tensor:
    """Each example's rows side by side, zeros up to the bound."""
    return torch.stack([F.pad(x, (0, 0, 0, bound - len(x))).flatten() for x in each])
