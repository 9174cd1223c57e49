"""Shipped models of a user's interests, held against plain PyTorch from their papers, example by example."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.testing import random_batch
from tests.lang.test_more import graph_of
from tests.oracle.subjects import compiled
from tests.specs.held import alike, costs, dense, diced, pair, parts, rows, weights


def test_can() -> None:
    """Equations 4 and 5 of Zhou et al.: a perceptron whose weights are the candidate's row."""
    model = compiled(graph_of("can"), "default")
    batch = random_batch(model.manifest, 5, seed=11, longest=4, empty=0.3)
    w = weights(model)
    wide = 4
    fed = parts(batch, "history.t", rows(batch, w, "history", item="fed.lookup.items"))
    sums = [x.sum(0) for x in parts(batch, "history.t", pair(batch, w, "history"))]
    acted = []
    for row, x in zip(rows(batch, w, "ad", item="machine.lookup.items"), fed, strict=True):
        w1, b1, w2, b2 = row.split([wide * wide, wide, wide * wide // 2, wide // 2])

        def run(x: Tensor, w1: Tensor = w1, b1: Tensor = b1, w2: Tensor = w2, b2: Tensor = b2) -> Tensor:
            first = (x @ w1.view(wide, wide).T + b1).tanh()
            second = (first @ w2.view(-1, wide).T + b2).tanh()
            return torch.cat([first, second], 1).sum(0)

        acted.append(torch.cat([run(x), run(x.square())]))
    user, ad = rows(batch, w, "user", id="user.id"), pair(batch, w, "ad")
    logit = diced(torch.cat([user, ad, torch.stack(sums), torch.stack(acted)], 1), w, "click")
    alike(model, batch, costs(batch, click=logit), w)


def test_mind() -> None:
    """Equations 5 to 9 and algorithm 1 of Li et al., user by user; others are the items of the batch."""
    model = compiled(graph_of("mind"), "default")
    batch = random_batch(model.manifest, 6, seed=3, longest=6, empty=0.3)
    w = weights(model)
    seen = (
        w["items.weight"][batch.column("history.item")]
        + w["categories.weight"][batch.column("history.category")]
    ) / 2
    wanted = (
        w["items.weight"][batch.column("ad.item")] + w["categories.weight"][batch.column("ad.category")]
    ) / 2
    starts = parts(batch, "history.t", w["history.start.weight"][batch.column("history.start")])
    path = "capsules.dynamic_routing.low.linear.weight"
    users, found, nearest = rows(batch, w, "user", id="user.id"), [], []
    for x, logits, user, item in zip(parts(batch, "history.t", seen), starts, users, wanted, strict=True):
        active, low = max(1, min(2, int(math.log2(max(len(x), 1))))), x @ w[path].T
        logits = logits[:, :active]
        for _ in range(3):
            z = torch.einsum("tc,td->cd", logits.softmax(1), low)
            square = z.square().sum(1, keepdim=True)
            capsules = z * square / (1 + square) / (square + 1e-9).sqrt()
            logits = logits + torch.einsum("cd,td->tc", capsules, low)
        both = torch.cat([capsules, user.expand(active, -1)], 1)
        interests = dense(F.relu(dense(both, w, "interests.mlp.linear")), w, "interests.linear")
        found.append(((interests @ item) ** 2).softmax(0) @ interests)
        nearest.append((interests @ item).max())
    labels = batch.labels["click"].to(wanted)
    each = -(torch.stack(found) @ wanted.T).log_softmax(1).diagonal()
    with torch.no_grad():
        torch.testing.assert_close(model(batch)["click"], torch.stack(nearest), rtol=1e-10, atol=1e-12)
    alike(model, batch, {"click": 0 * torch.stack(nearest).sum(), "next_item": (labels * each).mean()}, w)
