"""Shipped models of what comes next in a history, against plain PyTorch from their papers, one by one."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.testing import random_batch
from specc_runtime import Batch
from tests.lang.test_more import graph_of
from tests.oracle.subjects import compiled
from tests.specs.held import Weights, alike, costs, dense, normed, parts, rows, weights


def told_apart(batch: Batch, w: Weights, states: list[Tensor]) -> Tensor:
    """Each state against the item after it and the one that was drawn: mean over positions, then users."""
    items, noise = (w["items.weight"][batch.column(f"{space}.item")] for space in ("history", "noise"))
    each = []
    for state, after, drawn in zip(
        states, parts(batch, "history.t", items), parts(batch, "history.t", noise), strict=True
    ):
        yes, no = ((state[:-1] * x[1:]).sum(1) for x in (after, drawn))
        cost = F.softplus(-yes) + F.softplus(no)
        each.append(cost.sum() / max(len(cost), 1))
    return torch.stack(each).mean()


def last(states: list[Tensor]) -> Tensor:
    return torch.stack([x[-1] if len(x) else x.new_zeros(x.shape[1]) for x in states])


def test_sasrec() -> None:
    """Equations 1 to 7 of Kang and McAuley."""
    model = compiled(graph_of("sasrec"), "default")
    batch = random_batch(model.manifest, 5, seed=5, longest=6, empty=0.3)
    w = weights(model)
    states = []
    for x in parts(batch, "history.t", w["items.weight"][batch.column("history.item")]):
        x = x + w["place"][: len(x)]
        later = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        for block in ("sasrec_block", "sasrec_block_2"):
            path = f"states.{block}"
            seen = normed(x, w, f"{path}.mixed.norm")
            q, k, v = (
                dense(seen, w, f"{path}.mixed.causal_attention.{n}.linear") for n in ("query", "key", "value")
            )
            score = (q @ k.T / math.sqrt(8)).masked_fill(later, -torch.inf)
            x = x + score.softmax(1) @ v
            hidden = F.relu(dense(normed(x, w, f"{path}.norm"), w, f"{path}.linear"))
            x = x + dense(hidden, w, f"{path}.linear_2")
        states.append(normed(x, w, "states.norm"))
    logit = (last(states) * rows(batch, w, "ad", item="items")).sum(1, keepdim=True)
    alike(model, batch, {**costs(batch, click=logit), "next_item": told_apart(batch, w, states)}, w)


def test_hstu() -> None:
    """Equations 1 to 3 of Zhai et al., the candidate at the end of the sequence."""
    model = compiled(graph_of("hstu"), "default")
    batch = random_batch(model.manifest, 4, seed=5, longest=4, empty=0.3)
    w = weights(model)
    past = rows(batch, w, "history", item="items") + rows(batch, w, "history", action="history.action")
    asked = rows(batch, w, "ad", item="items") + w["asked"]
    read = []
    for x, end in zip(parts(batch, "history.t", past), asked, strict=True):
        x = torch.cat([x, end[None]])
        n = len(x)
        for unit in ("unit", "unit_2"):
            path = f"read.{unit}"
            seen = normed(x, w, f"{path}.read.norm")
            u, q, k, v = (
                F.silu(dense(seen, w, f"{path}.{part}.linear")) for part in ("gate", "query", "key", "value")
            )
            q, k, v = (y.unflatten(1, (2, -1)) for y in (q, k, v))
            score = F.silu(torch.einsum("thd,shd->hts", q, k) + w[f"{path}.bias"][:n, :n, 0]) / 101
            mixed = torch.einsum("hts,shd->thd", score.tril(), v).flatten(1)
            x = x + dense(normed(mixed, w, f"{path}.norm") * u, w, f"{path}.linear")
        read.append(x)
    both = torch.cat([rows(batch, w, "user", id="user.id"), last(read)], 1)
    logit = dense(F.relu(dense(both, w, "click.mlp.linear")), w, "click.linear")
    alike(model, batch, costs(batch, click=logit), w)
