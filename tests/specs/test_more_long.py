"""Shipped models of long histories, held against plain PyTorch from their papers, example by example."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from specc.driver import load
from specc.testing import random_batch
from specc_runtime import Batch, Model
from tests.lang.test_more import SMALL
from tests.oracle.subjects import compiled
from tests.specs.held import Weights, alike, costs, dense, diced, pair, parts, rows, tower, weights
from tests.specs.small import SPECS, few_rows

FOUND, HEADS = 10, 2


def built(name: str, **params: Any) -> tuple[Model, Batch, Weights]:
    """A model that finds ten behaviours, a batch in which some examples have more of them, its weights."""
    graph, report = load(SPECS / "more" / f"{name}.arec", {**SMALL[name], **params})
    assert graph is not None, list(report)
    model = compiled(few_rows(graph), "default")
    if name == "sdim":
        model.state_dict()["empty"].zero_()
    batch = random_batch(model.manifest, 12, seed=2, longest=14, empty=0.4)
    lengths = batch.lengths["history.t"]
    assert (lengths > FOUND).any()
    assert (lengths == 0).any()
    return model, batch, weights(model)


def best(score: Tensor) -> Tensor:
    """The positions of the highest scores; of equal ones the earlier first."""
    return score.argsort(descending=True, stable=True)[:FOUND]


def heads(x: Tensor, w: Weights, path: str) -> Tensor:
    return dense(x, w, path).unflatten(-1, (HEADS, -1))


def weighed(score: Tensor, x: Tensor) -> Tensor:
    """Heads' softmax over what was found, [r, head] and [r, head, n], side by side; 0 over nothing."""
    return torch.einsum("rh,rhn->hn", score.softmax(0), x).flatten()


@pytest.mark.parametrize("search", ["soft", "hard"])
def test_sim(search: str) -> None:
    """Equations 1 to 5 of Pi et al."""
    model, batch, w = built("sim", search=search)
    user, ad, past = rows(batch, w, "user", id="user.id"), pair(batch, w, "ad"), pair(batch, w, "history")
    whole = torch.cat([past, rows(batch, w, "history", gap="gaps")], 1)
    category = batch.column("history.category:key").flatten() if search == "hard" else past[:, 0]
    interests, sums = [], []
    each = zip(ad, *(parts(batch, "history.t", x) for x in (past, whole, category)), strict=True)
    for n, (target, behaviours, described, kinds) in enumerate(each):
        if search == "hard":
            alike_ = (kinds == batch.column("ad.category:key").flatten()[n]).nonzero().flatten()
            kept = described[alike_.flip(0)[:FOUND]]
        else:
            stored = dense(behaviours, w, "stored.linear")
            near = stored @ dense(target, w, "near.linear")
            sums.append((near[:, None] * stored).sum(0))
            kept = described[best(near)]
        asked = heads(target, w, "interest.exact.asked.linear")
        score = torch.einsum("hn,rhn->rh", asked, heads(kept, w, "interest.exact.score.linear"))
        interests.append(weighed(score, kept[:, None].expand(-1, HEADS, -1)))
    found = costs(batch, click=diced(torch.cat([user, ad, torch.stack(interests)], 1), w, "click"))
    found["searching"] = found["click"].new_zeros(())
    if search == "soft":
        searched = dense(
            tower(torch.cat([user, ad, torch.stack(sums)], 1), w, "searched"), w, "searched.linear"
        )
        labels = batch.labels["click"].to(searched)
        found["searching"] = F.binary_cross_entropy_with_logits(searched.squeeze(1), labels)
    alike(model, batch, found, w)


def test_eta() -> None:
    """Algorithm 1 and equation 6 of Chen et al.: the nearest by Hamming distance, and attention to them."""
    model, batch, w = built("eta")
    user, ad, past = rows(batch, w, "user", id="user.id"), pair(batch, w, "ad"), pair(batch, w, "history")
    interests = []
    path = "interest.multi_head"
    for target, behaviours in zip(ad, parts(batch, "history.t", past), strict=True):
        mine, theirs = ((x @ w["direction"].T > 0) for x in (target, behaviours))
        distance = (mine != theirs).sum(1)
        kept = behaviours[best(-distance)]
        asked, keys = heads(target, w, f"{path}.asked.linear"), heads(kept, w, f"{path}.keys.linear")
        score = torch.einsum("hn,rhn->rh", asked, keys) / math.sqrt(asked.shape[-1])
        interests.append(dense(weighed(score, heads(kept, w, f"{path}.values.linear")), w, f"{path}.linear"))
    logit = diced(torch.cat([user, ad, torch.stack(interests)], 1), w, "click")
    alike(model, batch, costs(batch, click=logit), w)


def test_twin() -> None:
    """Equations 5 to 8 of Chang et al."""
    model, batch, w = built("twin")
    user, ad, past = rows(batch, w, "user", id="user.id"), pair(batch, w, "ad"), pair(batch, w, "history")
    shared = rows(batch, w, "met", gap="met.gap", hour="met.hour")
    interests = []
    path = "interest.target"
    for target, k_h, k_c in zip(ad, *(parts(batch, "history.t", x) for x in (past, shared)), strict=True):
        asked, keys = heads(target, w, f"{path}.asked.linear"), heads(k_h, w, f"{path}.keys.linear")
        near = torch.einsum("hn,thn->th", asked, keys) / math.sqrt(asked.shape[-1])
        near = near + dense(k_c, w, f"{path}.own.linear")
        kept = best(near.sum(1))
        value = heads(k_h[kept], w, f"{path}.value.linear")
        interests.append(dense(weighed(near[kept], value), w, f"{path}.linear"))
    logit = diced(torch.cat([user, ad, torch.stack(interests)], 1), w, "click")
    alike(model, batch, costs(batch, click=logit), w)


def test_sdim() -> None:
    """Equation 12 of Cao et al., without buckets: behaviours whose signs are the candidate's, by group."""
    model, batch, w = built("sdim")
    user, ad, past = rows(batch, w, "user", id="user.id"), pair(batch, w, "ad"), pair(batch, w, "history")
    interests = []
    for target, behaviours in zip(ad, parts(batch, "history.t", past), strict=True):
        mine, theirs = (torch.einsum("gbd,...d->...gb", w["direction"], x) > 0 for x in (target, behaviours))
        met = (mine == theirs).all(-1).to(past)  # [t, group]
        sums = torch.einsum("tg,td->gd", met, behaviours)
        interests.append((sums / (sums.square().sum(1, keepdim=True) + 1e-12).sqrt()).mean(0))
    logit = diced(torch.cat([user, ad, torch.stack(interests)], 1), w, "click")
    alike(model, batch, costs(batch, click=logit), w)
