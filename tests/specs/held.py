"""Holds blocks and models against plain PyTorch, and has in plain PyTorch what many of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

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


def alike(model: Model, batch: Batch, found: Weights, w: Weights) -> None:
    """Losses and the gradients of their sum are those of the model."""
    losses = model.losses(batch)
    assert found.keys() == losses.keys()
    for name, value in found.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-10, atol=1e-12, msg=partial(_at, name))
    torch.stack(list(losses.values())).sum().backward()
    torch.stack(list(found.values())).sum().backward()
    same_gradients(model, w)


def same_gradients(model: Model, w: Weights) -> None:
    """Every weight has the gradient of the one of its path."""
    for path, parameter in model.named_parameters():
        theirs, own = w[path].grad, parameter.grad
        assert (theirs is None) == (own is None), path
        if theirs is not None and own is not None:
            own = own.to_dense()
            torch.testing.assert_close(own, theirs, rtol=1e-8, atol=1e-10, msg=partial(_at, path))


def _at(name: str, message: str) -> str:
    return f"{name}: {message}"


def towards(x: Tensor) -> Tensor:
    """The same numbers for every value of a shape."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(x.numel()), dtype=x.dtype)


def holds(text: str, reference: Callable[[Weights, Batch], Tensor], size: int = 4, seed: int = 3) -> None:
    """The prediction `out` of a model is what a function of weights and batch gives."""
    model = compiled(graph_of(text), "default")
    batch = random_batch(model.manifest, size, seed=seed, longest=5, empty=0.3)
    w = weights(model)
    own, theirs = model(batch)["out"], reference(w, batch)
    torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-11)
    for x in (own, theirs):
        (x * towards(x)).sum().backward()
    same_gradients(model, w)


def parts(batch: Batch, axis: str, rows: Tensor) -> list[Tensor]:
    """The rows of each example's sequence."""
    return list(rows.split(batch.lengths[axis].tolist()))


def filled(each: list[Tensor], bound: int) -> Tensor:
    """Each example's rows side by side, zeros up to the bound."""
    return torch.stack([F.pad(x, (0, 0, 0, bound - len(x))).flatten() for x in each])


def pooled(batch: Batch, table: Tensor, field: str, axis: str, mean: bool) -> Tensor:
    """Rows of a sequence's ids added up, or their mean, one an example."""
    lengths = batch.lengths[axis].tolist()
    parts = batch.column(field).split(lengths)
    each = [table[ids].sum(0) / (max(len(ids), 1) if mean else 1) for ids in parts]
    return torch.stack(each)


def inputs(batch: Batch, w: Weights, mean: bool) -> tuple[Tensor, Tensor, Tensor]:
    """User, candidate and pooled history, as the specs of these models read them."""
    user = torch.cat(
        [w["user.id.weight"][batch.column("user.id")], w["user.age.weight"][batch.column("user.age")]], 1
    )
    ad = torch.cat(
        [w["items.weight"][batch.column("ad.item")], w["categories.weight"][batch.column("ad.category")]], 1
    )
    history = [
        pooled(batch, w[f"{table}.weight"], f"history.{name}", "history.t", mean)
        for table, name in (("items", "item"), ("categories", "category"))
    ]
    return user, ad, torch.cat(history, 1)


def rows(batch: Batch, w: Weights, space: str, **tables: str) -> Tensor:
    """Fields of a space side by side, each by the table that it reads."""
    return torch.cat([w[f"{t}.weight"][batch.column(f"{space}.{name}")] for name, t in tables.items()], 1)


def pair(batch: Batch, w: Weights, space: str) -> Tensor:
    """Items and categories of a space."""
    return rows(batch, w, space, item="items", category="categories")


def dense(x: Tensor, w: Weights, path: str) -> Tensor:
    """A linear layer; with a bias if it has one."""
    return F.linear(x, w[f"{path}.weight"], w.get(f"{path}.bias"))


def normed(x: Tensor, w: Weights, path: str) -> Tensor:
    """Layer normalisation."""
    return F.layer_norm(x, x.shape[-1:], w[f"{path}.scale"], w[f"{path}.shift"])


def tower(x: Tensor, w: Weights, path: str, layers: int = 1) -> Tensor:
    """relu layers, each a matrix and a bias."""
    for number in range(layers):
        x = F.relu(dense(x, w, f"{path}.mlp.linear" + (f"_{number + 1}" if number else "")))
    return x


def diced(x: Tensor, w: Weights, path: str) -> Tensor:
    """A layer with Dice (DIN, eq. 8, with the statistics of training), and one to a logit."""
    s = dense(x, w, f"{path}.mlp.linear")
    dice = f"{path}.mlp.dice"
    p = torch.sigmoid((s - w[f"{dice}.running_mean"]) / (w[f"{dice}.running_var"] + 1e-8).sqrt())
    return dense(p * s + (1 - p) * w[f"{dice}.slope"] * s, w, f"{path}.linear")


def costs(batch: Batch, **logits: Tensor) -> dict[str, Tensor]:
    """By prediction the loss of its logits [B, 1]."""
    return {
        name: F.binary_cross_entropy_with_logits(x.squeeze(1), batch.labels[name].to(x))
        for name, x in logits.items()
    }


def fields_of(batch: Batch, w: Weights, under: str = "", again: str = "") -> list[Tensor]:
    """The four fields of the models that read a user and a candidate, from their own tables or others."""
    paths = (f"{under}user.id", f"{under}user.age", f"{again}ad.item", f"{again}ad.category")
    names = ("user.id", "user.age", "ad.item", "ad.category")
    return [w[f"{path}.weight"][batch.column(name)] for path, name in zip(paths, names, strict=True)]
