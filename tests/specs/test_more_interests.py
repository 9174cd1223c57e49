"""Shipped models of a user's interests, held against plain PyTorch from their papers, example by example."""

from __future__ import annotations

import torch
from torch import Tensor

from specc.testing import random_batch
from tests.lang.test_more import graph_of
from tests.oracle.subjects import compiled
from tests.specs.held import alike, costs, diced, pair, parts, rows, weights


def test_can() -> None:
    """Equations 4 and 5 of Zhou et al.: a perceptron whose weights are the candidate's row."""
    model = compiled(graph_of("can"), "default")
    batch = random_batch(model.manifest, 5, seed=11, longest=4, empty=0.3)
    w = weights(model)
    wide = 4
    fed = parts(batch, "history.t", rows(batch, w, "feed", item="fed"))
    sums = [x.sum(0) for x in parts(batch, "history.t", pair(batch, w, "history"))]
    acted = []
    for row, x in zip(rows(batch, w, "machine", row="machines"), fed, strict=True):
        w1, b1, w2, b2 = row.split([wide * wide, wide, wide * wide // 2, wide // 2])

        def run(x: Tensor, w1: Tensor = w1, b1: Tensor = b1, w2: Tensor = w2, b2: Tensor = b2) -> Tensor:
            first = (x @ w1.view(wide, wide).T + b1).tanh()
            second = (first @ w2.view(-1, wide).T + b2).tanh()
            return torch.cat([first, second], 1).sum(0)

        acted.append(torch.cat([run(x), run(x.square())]))
    user, ad = rows(batch, w, "user", id="user.id"), pair(batch, w, "ad")
    logit = diced(torch.cat([user, ad, torch.stack(sums), torch.stack(acted)], 1), w, "click")
    alike(model, batch, costs(batch, click=logit), w)
