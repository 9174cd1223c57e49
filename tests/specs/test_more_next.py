"""Shipped models of what comes next in a history, against plain PyTorch from their papers, one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
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


def unit(x: Tensor, bias: Tensor, w: Weights, path: str, bound: int) -> Tensor:
    """Equations 1 to 3 of Zhai et al.; bias: [head, t, s]."""
    seen = normed(x, w, f"{path}.read.norm")
    u, q, k, v = (F.silu(dense(seen, w, f"{path}.{n}.linear")) for n in ("gate", "query", "key", "value"))
    q, k, v = (y.unflatten(1, (len(bias), -1)) for y in (q, k, v))
    score = F.silu(torch.einsum("thd,shd->hts", q, k) + bias) / bound
    mixed = torch.einsum("hts,shd->thd", score.tril(), v).flatten(1)
    return x + dense(normed(mixed, w, f"{path}.norm") * u, w, f"{path}.linear")


def test_hstu() -> None:
    """Equations 1 to 3, with the published code's biases; the candidate at the end of the sequence."""
    model = compiled(graph_of("hstu"), "default")
    batch = random_batch(model.manifest, 4, seed=5, longest=4, empty=0.3)
    ages = (batch.column("history.age") * 60).round()  # from seconds to minutes
    batch = replace(batch, fields={**batch.fields, "history.age": ages})
    w = weights(model)
    told = {"item": "items", "category": "categories", "action": "history.action"}
    past = sum(rows(batch, w, "history", **{name: table}) for name, table in told.items())
    asked = rows(batch, w, "ad", item="items") + rows(batch, w, "ad", category="categories") + w["asked"]
    read = []
    for x, end, age in zip(
        parts(batch, "history.t", past), asked, parts(batch, "history.t", ages), strict=True
    ):
        x, age = torch.cat([x, end[None]]), torch.cat([age.double(), torch.zeros(1, 1)])
        t = torch.arange(len(x))
        apart = (age.T - age).abs().clamp(min=1).log() / 0.301
        for layer in ("unit", "unit_2"):
            path = f"read.{layer}"
            by_place = w[f"{path}.by_place"][t - t[:, None] + 10]
            by_time = w[f"{path}.by_time"][apart.floor().long().clamp(max=15)]
            x = unit(x, (by_place + by_time).movedim(2, 0), w, f"{path}.hstu_unit", 11)
        read.append(x)
    known = dense(rows(batch, w, "ad", item="items", category="categories"), w, "wanted.linear")
    wanted = normed(last(read), w, "wanted.norm") * normed(known, w, "wanted.norm_2")
    both = torch.cat([rows(batch, w, "user", id="user.id"), wanted], 1)
    logit = dense(F.relu(dense(both, w, "click.mlp.linear")), w, "click.linear")
    alike(model, batch, costs(batch, click=logit), w)


def told_of(x: Tensor, w: Weights, path: str, attended: str) -> Tensor:
    """Equations 1 to 5 of Wu et al.: a sequence's rows attend to each other, and become one."""
    if not len(x):
        return x.new_zeros(8)
    asked = (x @ w[f"{attended}.asked.linear.weight"].T).unflatten(1, (2, -1))
    values = (x @ w[f"{attended}.told.linear.weight"].T).unflatten(1, (2, -1))
    weight = torch.einsum("thd,sd->hts", asked, x).softmax(2)
    seen = torch.einsum("hts,shd->thd", weight, values).flatten(1)
    hidden = torch.tanh(dense(seen, w, f"{path}.pooled.weight.linear"))
    return (hidden @ w[f"{path}.pooled.weight.linear_2.weight"].T).softmax(0).T[0] @ seen


def test_nrms() -> None:
    """Equations 1 to 12 of Wu et al., with several shown and some clicked at a time."""
    model = compiled(graph_of("nrms"), "default")
    batch = random_batch(model.manifest, 5, seed=4, longest=4, empty=0.2, candidates=True)
    assert batch.candidates is not None
    w = weights(model)
    shown, read = (w["words.weight"][batch.column(f"{space}.word")] for space in ("news", "read"))
    title = "title.said", "title.said.seen.related"
    news = torch.stack([told_of(x, w, *title) for x in parts(batch, "news.w", shown)])
    titles = [told_of(x, w, *title) for x in parts(batch, "read.w", read)]
    each, at = [], 0
    labels = batch.labels["clicked"].double().split(batch.candidates.tolist())
    sides = zip(news.split(batch.candidates.tolist()), labels, batch.lengths["read.t"].tolist(), strict=True)
    for candidates, label, many in sides:
        past = torch.stack(titles[at : at + many]) if many else news.new_zeros(0, 8)
        at += many
        if label.sum() > 0:
            logs = (candidates @ told_of(past, w, "viewer", "viewer.related")).log_softmax(0)
            each.append(-(label * logs).sum() / label.sum())
    assert len(each) > 2
    alike(model, batch, {"clicked": torch.stack(each).mean()}, w)


def convolved(x: Tensor, w: Weights, path: str, size: int, dilation: int = 1) -> Tensor:
    """A causal convolution of one sequence to its own width, by torch's."""
    matrix = w[f"{path}.weight"].unflatten(1, (size, -1)).movedim(1, 2)  # [out, in, size]
    before = F.pad(x.T, ((size - 1) * dilation, 0))
    return F.conv1d(before, matrix, w[f"{path}.bias"], dilation=dilation).T if len(x) else x


def test_nextitnet() -> None:
    """Figure 3b of Yuan et al., and at each position a softmax over the next item and what was drawn."""
    model = compiled(graph_of("nextitnet"), "default")
    batch = random_batch(model.manifest, 4, seed=7, longest=9, empty=0.3)
    w = weights(model)
    items, noise = (w["items.weight"][batch.column(f"{space}.item")] for space in ("history", "noise"))
    ends, states, each = rows(batch, w, "ad", item="items"), [], []
    for met, end, drawn in zip(
        parts(batch, "history.t", items), ends, parts(batch, "noise.n", noise), strict=True
    ):
        x = met
        for block, dilation in (("unit", 1), ("unit_2", 4)):
            path = f"wanted.{block}"
            narrow = convolved(x, w, f"{path}.narrow.conv.linear", 3, dilation)
            narrow = F.relu(normed(narrow, w, f"{path}.narrow.norm"))
            wide = convolved(narrow, w, f"{path}.conv.linear", 3, 2 * dilation)
            x = x + F.relu(normed(wide, w, f"{path}.norm"))
        x = dense(x, w, "wanted.linear")
        yes = (x * torch.cat([met, end[None]])[1:]).sum(1, keepdim=True)
        costs = -torch.cat([yes, x @ drawn.T], 1).log_softmax(1)[:, 0]
        each.append(costs.sum() / max(len(costs), 1))
        states.append(x)
    cost = (batch.labels["click"] * torch.stack(each)).mean()
    torch.testing.assert_close(model(batch)["click"], (last(states) * ends).sum(1))
    alike(model, batch, {"click": cost.new_zeros(()), "next_item": cost}, w)


def transformed(x: Tensor, w: Weights, path: str, heads: int) -> Tensor:
    """A layer of Vaswani et al. with GELU, each of its parts normalised behind the residual."""
    attended = f"{path}.attended.self_attention"
    q, k, v = (
        dense(x, w, f"{attended}.{n}.linear").unflatten(1, (heads, -1)) for n in ("query", "key", "value")
    )
    weight = (torch.einsum("thd,shd->hts", q, k) / math.sqrt(q.shape[2])).softmax(2)
    seen = torch.einsum("hts,shd->thd", weight, v).flatten(1)
    mixed = normed(x + dense(seen, w, f"{attended}.linear"), w, f"{path}.mixed.norm")
    hidden = F.gelu(dense(mixed, w, f"{path}.forwarded.linear"))
    return normed(mixed + dense(hidden, w, f"{path}.forwarded.linear_2"), w, f"{path}.norm")


@pytest.mark.parametrize("masked", [0.0, 1.0])
def test_bert4rec(masked: float) -> None:
    """Equations 1 to 8 of Sun et al., with all items behind masks, and with none but the next one."""
    model = compiled(graph_of("bert4rec", masked=masked), "default")
    batch = random_batch(model.manifest, 6, seed=5, longest=5, empty=0.2)
    w = weights(model)
    items, noise = (w["items.weight"][batch.column(f"{space}.item")] for space in ("history", "noise"))
    ends, states, each = rows(batch, w, "ad", item="items"), [], []
    for x, end, drawn in zip(
        parts(batch, "history.t", items), ends, parts(batch, "noise.n", noise), strict=True
    ):
        seen = w["mask"].expand_as(x) if masked else x
        state = torch.cat([seen, w["mask"][None]]) + w["place"][: len(x) + 1]
        for layer in ("transformer", "transformer_2"):
            state = transformed(state, w, f"read.{layer}", 2)
        state = normed(F.gelu(dense(state, w, "read.linear")), w, "read.norm")
        yes = (state * torch.cat([x, end[None]])).sum(1, keepdim=True)
        cost = F.cross_entropy(
            torch.cat([yes, state @ drawn.T], 1), torch.zeros(len(state), dtype=torch.long), reduction="none"
        )
        each.append(cost.mean() if masked else cost[-1])
        states.append(state)
    cloze = (batch.labels["click"] * torch.stack(each)).mean()
    scores = (last(states) * ends).sum(1)
    torch.testing.assert_close(model(batch)["click"], scores)
    alike(model, batch, {"click": cloze.new_zeros(()), "cloze": cloze}, w)


def test_caser() -> None:
    """Equations 2 to 10 of Tang and Wang, filter by filter."""
    model = compiled(graph_of("caser"), "default")
    batch = random_batch(model.manifest, 6, seed=7, longest=5, empty=0.2)
    w = weights(model)
    states = []
    for x in parts(batch, "history.t", w["items.weight"][batch.column("history.item")]):
        seen = []
        for height, block in ((1, "horizontal"), (2, "horizontal_2"), (3, "horizontal_3")):
            path = f"wide.{block}.seen.conv.linear"
            filters = w[f"{path}.weight"].unflatten(1, (height, -1))
            windows = [x[i : i + height] for i in range(len(x) - height + 1)]
            values = [
                F.relu(torch.einsum("nhd,hd->n", filters, rows) + w[f"{path}.bias"]) for rows in windows
            ]
            seen.append(torch.stack(values).amax(0) if values else x.new_zeros(len(filters)))
        weight = w["weight"][: len(x)].flip(0)  # the first is the latest's
        seen.append((weight.T @ x).flatten())
        states.append(torch.cat(seen))
    state = F.relu(dense(torch.stack(states), w, "state.linear"))
    both = torch.cat([state, rows(batch, w, "user", id="user.id"), state.new_ones(len(state), 1)], 1)
    logit = (both * w["ad.wanted.weight"][batch.column("ad.wanted")]).sum(1, keepdim=True)
    alike(model, batch, costs(batch, click=logit), w)


def test_gru4rec() -> None:
    """A GRU as torch has it, and a softmax over all items; examples that were made up count nothing."""
    model = compiled(graph_of("gru4rec"), "default")
    model.state_dict()["next.classes.counts"].fill_(1)  # each row has a key
    batch = random_batch(model.manifest, 6, seed=7, longest=6, empty=0.2)
    clicks = (torch.arange(6) % 2).float()[:, None]
    batch = replace(batch, fields={**batch.fields, "met.click": clicks})
    w = weights(model)

    def gate(x: Tensor, h: Tensor, name: str) -> Tensor:
        return torch.sigmoid(dense(torch.cat([x, h]), w, f"state.gru.h.gru_cell.{name}.linear"))

    states = []
    for x in parts(batch, "history.t", w["items.weight"][batch.column("history.item")]):
        h = x.new_zeros(8)
        for each in x:
            drive = "state.gru.h.gru_cell.candidate.drive"
            reset, keep = gate(each, h, "reset"), gate(each, h, "keep")
            fresh = dense(each, w, f"{drive}.linear") + reset * dense(h, w, f"{drive}.linear_2")
            h = keep * h + (1 - keep) * fresh.tanh()
        states.append(h)
    logits = torch.stack(states) @ w["items.weight"].T + w["next.bias"].flatten()
    # Row 0 has no key, and so is no class.
    cost = F.cross_entropy(logits[:, 1:], batch.labels["next"] - 1, reduction="none")
    alike(model, batch, {"next": (clicks.flatten() * cost).mean()}, w)
