"""Shipped models that cross fields in other ways, against plain PyTorch from their papers."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.testing import random_batch
from specc_runtime import Batch
from tests.lang.test_more import graph_of
from tests.oracle.subjects import compiled
from tests.specs.held import Weights, alike, costs, dense, tower, weights


def fields(batch: Batch, w: Weights, *names: str, under: tuple[str, ...] = ()) -> list[Tensor]:
    """Fields from tables of their own; under: what stands before their paths, by field."""
    before = under or ("",) * len(names)
    return [w[f"{b}{n}.weight"][batch.column(n)] for b, n in zip(before, names, strict=True)]


def test_eulernet() -> None:
    """Equations 3 to 13 of Tian et al., in torch's complex numbers."""
    model = compiled(graph_of("eulernet"), "default")
    batch = random_batch(model.manifest, 4, seed=8)
    w = weights(model)
    angles = torch.stack(fields(batch, w, "user.id", "user.age", "ad.item", "ad.category", "context.hour"), 1)
    x = torch.polar(torch.ones_like(angles), angles) * w["scale"]
    for layer in ("euler", "euler_2"):
        path = f"crossed.{layer}"
        orders = w[f"{path}.orders.linear.weight"]  # [neuron, field]
        size = (
            torch.einsum("nf,bfk->bnk", orders, (x.abs().square() + 1e-8).log() / 2) + w[f"{path}.log_size"]
        ).exp()
        turn = torch.einsum("nf,bfk->bnk", orders, x.angle()) + w[f"{path}.turn"]
        plain = [
            F.relu(dense(part.flatten(1), w, f"{path}.plain.linear")).unflatten(1, (3, -1))
            for part in (x.real, x.imag)
        ]
        x = torch.complex(*plain) + torch.polar(size, turn)
    logit = sum(
        (dense(part.flatten(1), w, "click.linear") for part in (x.real, x.imag)), start=torch.zeros(())
    )
    alike(model, batch, costs(batch, click=logit), w)


def test_star() -> None:
    """Equations 3, 5 and 8 of Sheng et al., each example by its domain's weights and stored statistics."""
    model = compiled(graph_of("star"), "default")
    batch = random_batch(model.manifest, 6, seed=8)
    w = weights(model)
    domain = batch.column("domain.id").flatten() % 3
    whole = dict(batch.fields) | {"domain.id": domain, "domain.number": domain.float()[:, None]}
    batch = replace(batch, fields=whole)
    x = torch.cat(fields(batch, w, "user.id", "user.age", "ad.item", "ad.category"), 1)
    path = "x.partitioned"
    norm = next(p for p in w if p.endswith("running_mean")).removesuffix(".running_mean")
    normal = (x - w[f"{norm}.running_mean"][domain]) / (w[f"{norm}.running_var"][domain] + 1e-5).sqrt()
    scale, shift = w[f"{path}.scale"] * w[f"{path}.own_scale"][domain], w[f"{path}.own_shift"][domain]
    x = normal * scale + w[f"{path}.shift"] + shift

    def layer(x: Tensor, path: str) -> Tensor:
        matrices = w[f"{path}.own"][domain] * w[f"{path}.shared"]
        return torch.einsum("bod,bd->bo", matrices, x) + w[f"{path}.own_shift"][domain] + w[f"{path}.shift"]

    hidden = F.relu(layer(F.relu(layer(x, "hidden.star_layer")), "hidden.star_layer_2"))
    named = w["names.weight"][domain]
    aside = dense(tower(torch.cat([named, x], 1), w, "aside"), w, "aside.linear")
    alike(model, batch, costs(batch, click=layer(hidden, "click.star_layer") + aside), w)


def test_fgcnn() -> None:
    """Equations 2 to 8 of Liu et al., with torch's convolution and pooling."""
    model = compiled(graph_of("fgcnn"), "default")
    batch = random_batch(model.manifest, 4, seed=8)
    w = weights(model)
    names = ("user.id", "user.city", "user.age", "ad.item", "ad.category", "ad.brand")
    tables = ("user.id", "user.city", "user.age", "items", "ad.category", "ad.brand")
    own = [w[f"{t}.weight"][batch.column(n)] for t, n in zip(tables, names, strict=True)]
    lookups = ("lookup",) * 3 + ("lookup_2",) * 3
    paths = [f"apart.{way}.{t}" for way, t in zip(lookups, tables, strict=True)]
    apart = torch.stack([w[f"{p}.weight"][batch.column(n)] for p, n in zip(paths, names, strict=True)], 1)
    # [B, 1, field, k]: filters are 3 x 1, and pool 2 x 1
    filters = w["seen.linear.weight"][:, None, :, None]
    seen = F.conv2d(apart[:, None], filters, w["seen.linear.bias"], padding=(1, 0)).tanh()
    pooled = F.max_pool2d(seen, (2, 1))  # [B, channel, half, k]
    new = dense(pooled.permute(0, 3, 2, 1).flatten(1), w, "new.linear").tanh().split(4, 1)
    every = [*own, *new]
    inner = [(every[i] * every[j]).sum(1, keepdim=True) for i, j in combinations(range(9), 2)]
    logit = dense(tower(torch.cat([*every, *inner], 1), w, "click"), w, "click.linear")
    alike(model, batch, costs(batch, click=logit), w)
