"""Shipped models beyond the ranking ones, held against plain PyTorch written from their papers, in value and
gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.testing import random_batch
from specc_runtime import Batch, Model, labelled
from tests.lang.test_more import graph_of
from tests.oracle.subjects import compiled


def pooled(batch: Batch, table: Tensor, field: str, axis: str, mean: bool) -> Tensor:
    """Rows of a sequence's ids added up, or their mean, one an example."""
    lengths = batch.lengths[axis].tolist()
    parts = batch.column(field).split(lengths)
    each = [table[ids].sum(0) / (max(len(ids), 1) if mean else 1) for ids in parts]
    return torch.stack(each)


def inputs(batch: Batch, w: Mapping[str, Tensor], mean: bool) -> tuple[Tensor, Tensor, Tensor]:
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


def dense(x: Tensor, w: Mapping[str, Tensor], path: str) -> Tensor:
    return F.linear(x, w[f"{path}.weight"], w[f"{path}.bias"])


def alike(model: Model, batch: Batch, found: dict[str, Tensor], w: Mapping[str, Tensor]) -> None:
    """Losses and the gradients of their sum are those of the model."""
    losses = model.losses(batch)
    assert found.keys() == losses.keys()
    for name, value in found.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-10, atol=1e-12)
    torch.stack(list(losses.values())).sum().backward()
    torch.stack(list(found.values())).sum().backward()
    for path, parameter in model.named_parameters():
        theirs, own = w[path].grad, parameter.grad
        assert (theirs is None) == (own is None), path
        if theirs is not None and own is not None:
            torch.testing.assert_close(own.to_dense(), theirs, rtol=1e-9, atol=1e-11, msg=path)


def weights(model: Model) -> dict[str, Tensor]:
    own = dict(model.state_dict(keep_vars=True))
    return {path: x.detach().clone().requires_grad_(x.requires_grad) for path, x in own.items()}


def test_two_towers() -> None:
    """Equations 1, 3 and 4 of Yi et al.: batch softmax of inner products over a temperature, each corrected
    by the logarithm of how often its item is met; other examples with the same item do not count."""
    model = compiled(graph_of("two_tower"), "default")
    model.state_dict()["next.choice.counts"].copy_(
        torch.arange(len(model.state_dict()["next.choice.counts"]))
    )
    batch = random_batch(model.manifest, 6, seed=3, longest=4, empty=0.3, unlabelled=0.2)
    w = weights(model)
    user, ad, history = inputs(batch, w, mean=True)
    viewer = dense(F.relu(dense(torch.cat([user, history], 1), w, "viewer.mlp.linear")), w, "viewer.linear")
    wanted = dense(F.relu(dense(ad, w, "wanted.mlp.linear")), w, "wanted.linear")
    u, v = (x / (x.square().sum(1, keepdim=True) + 1e-12).sqrt() for x in (viewer, wanted))
    counts = w["next.choice.counts"].clamp(min=1)
    often = (counts / counts.sum())[batch.column("ad.item")].log()
    scores = u @ v.T / model.manifest["params"]["temperature"] - often
    keys = batch.column("ad.item:key").flatten()
    others = (keys[:, None] == keys) & ~torch.eye(len(keys), dtype=torch.bool)
    each = -F.log_softmax(scores.masked_fill(others, -torch.inf), 1).diagonal()
    labels = batch.labels["next"]
    chosen = labelled(labels) & (labels > 0)
    assert 0 < chosen.sum() < len(keys)
    assert others.any()
    alike(model, batch, {"next": each[chosen].mean()}, w)
    torch.testing.assert_close(model.output("item_vector", batch), v.detach().to(v), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(model.output("viewer_vector", batch), u, rtol=1e-10, atol=1e-12)


def test_esmm() -> None:
    """Equation 4 of Ma et al.: the losses of pCTR and of pCTR * pCVR, over all impressions."""
    model = compiled(graph_of("esmm"), "default")
    batch = random_batch(model.manifest, 5, seed=4, longest=4, empty=0.3)
    w = weights(model)
    x = torch.cat(inputs(batch, w, mean=False), 1)

    def tower(name: str) -> Tensor:
        hidden = F.relu(dense(x, w, f"{name}.mlp.linear"))
        return dense(F.relu(dense(hidden, w, f"{name}.mlp.linear_2")), w, f"{name}.linear").squeeze(1)

    click, sale = torch.sigmoid(tower("click_logit")), torch.sigmoid(tower("sale_logit"))
    labels = {name: batch.labels[name].to(click) for name in ("click", "buy")}
    found = {
        "click": F.binary_cross_entropy(click, labels["click"]),
        "buy": F.binary_cross_entropy(click * sale, labels["buy"]),
    }
    torch.testing.assert_close(model(batch)["sale_after_click"], sale, rtol=1e-10, atol=1e-12)
    alike(model, batch, found, w)
