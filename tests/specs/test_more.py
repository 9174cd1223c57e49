"""Shipped models beyond the ranking ones, held against plain PyTorch written from their papers, in value and
gradient."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.testing import random_batch
from specc_runtime import Batch, labelled
from tests.lang.test_more import graph_of
from tests.oracle.subjects import compiled
from tests.specs.held import Weights, alike, costs, dense, fields_of, inputs, tower, weights


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


def test_deepfm() -> None:
    """Equations 1 to 3 of Guo et al."""
    model = compiled(graph_of("deepfm"), "default")
    batch = random_batch(model.manifest, 5, seed=6)
    w = weights(model)
    v = fields_of(batch, w)
    first = sum(fields_of(batch, w, "first.lookup.", "first.lookup_2."), start=torch.zeros(()))
    second = sum(
        ((v[i] * v[j]).sum(1, keepdim=True) for i in range(4) for j in range(i + 1, 4)), start=torch.zeros(())
    )
    deep = dense(tower(torch.cat(v, 1), w, "deep"), w, "deep.linear")
    alike(model, batch, costs(batch, click=first + second + deep), w)


def test_dcnv2() -> None:
    """Equation 1 of Wang et al., and figure 1b."""
    model = compiled(graph_of("dcnv2"), "default")
    batch = random_batch(model.manifest, 5, seed=7, longest=4, empty=0.3)
    w = weights(model)
    start = x = torch.cat(inputs(batch, w, mean=True), 1)
    for number in ("", "_2", "_3"):
        path = f"crossed.cross_network.cross_layer{number}"
        x = start * (F.linear(x, w[f"{path}.crossed.linear.weight"]) + w[f"{path}.shift"]) + x
    deep = tower(start, w, "deep")
    alike(model, batch, costs(batch, click=dense(torch.cat([x, deep], 1), w, "click.linear")), w)


def test_mmoe() -> None:
    """Equations 5 to 7 of Ma et al."""
    model = compiled(graph_of("mmoe"), "default")
    batch = random_batch(model.manifest, 5, seed=8, longest=4, empty=0.3)
    w = weights(model)
    x = torch.cat(inputs(batch, w, mean=True), 1)
    experts = [F.relu(dense(x, w, f"experts.mlp{n}.linear")) for n in ("", "_2", "_3", "_4")]
    logits = {}
    for task in ("click", "buy"):
        gate = F.linear(x, w[f"{task}.gated.gate.linear.weight"]).softmax(1)
        mixed = sum((gate[:, n : n + 1] * e for n, e in enumerate(experts)), start=torch.zeros(()))
        logits[task] = dense(tower(mixed, w, task), w, f"{task}.linear")
    alike(model, batch, costs(batch, **logits), w)


def test_fibinet() -> None:
    """Equations 3 to 6 of Huang et al., and the linear part of equation 9."""
    model = compiled(graph_of("fibinet"), "default")
    batch = random_batch(model.manifest, 5, seed=9)
    w = weights(model)
    v = torch.stack(fields_of(batch, w), 1)
    path = "excited.squeeze_excitation"
    squeezed = F.relu(v.mean(2) @ w[f"{path}.reduce"])
    excited = v * F.relu(squeezed @ w[f"{path}.excite"].T).unsqueeze(2)
    parts = []
    for fields, name in ((v, "interactions"), (excited, "interactions_2")):
        turned = fields @ w[f"crossed.{name}.linear.weight"].T
        parts += [turned[:, i] * fields[:, j] for i in range(4) for j in range(i + 1, 4)]
    first = sum(fields_of(batch, w, "linear_part.lookup.", "linear_part.lookup_2."), start=torch.zeros(()))
    deep = dense(tower(torch.cat(parts, 1), w, "click"), w, "click.linear")
    alike(model, batch, costs(batch, click=first + deep), w)


def chosen(x: Tensor, w: Weights, path: str, found: list[Tensor]) -> Tensor:
    """A softmax gate over experts."""
    gate = F.linear(x, w[f"{path}.gated.gate.linear.weight"]).softmax(1)
    return torch.einsum("be,ebn->bn", gate, torch.stack(found))


def test_ple() -> None:
    """Equations 2 to 5 of Tang et al., two levels of them."""
    model = compiled(graph_of("ple"), "default")
    batch = random_batch(model.manifest, 5, seed=8, longest=4, empty=0.3)
    w = weights(model)

    def experts(x: Tensor, name: str) -> list[Tensor]:
        return [F.relu(dense(x, w, f"{name}.mlp{n}.linear")) for n in ("", "_2")]

    x = torch.cat(inputs(batch, w, mean=True), 1)
    clicks, buys, both = (experts(x, name) for name in ("clicks", "buys", "both"))
    states = {
        "click": chosen(x, w, "click_state", clicks + both),
        "buy": chosen(x, w, "buy_state", buys + both),
    }
    again = experts(chosen(x, w, "both_state", clicks + buys + both), "both_again")
    logits = {}
    for task, state in states.items():
        found = chosen(state, w, task, experts(state, f"{task}_again") + again)
        logits[task] = dense(tower(found, w, task), w, f"{task}.linear")
    alike(model, batch, costs(batch, **logits), w)


SIX = {"user": ("id", "city"), "ad": ("item", "category"), "context": ("weekday", "hour")}


def test_xdeepfm() -> None:
    """Equations 6 to 8 and 12 of Lian et al."""
    model = compiled(graph_of("xdeepfm"), "default")
    batch = random_batch(model.manifest, 4, seed=8)
    w = weights(model)
    names = [f"{space}.{field}" for space, fields in SIX.items() for field in fields]
    start = x = torch.stack([w[f"{name}.weight"][batch.column(name)] for name in names], 1)
    sums = []
    for layer in ("first", "second", "third"):
        matrix = w[f"{layer}.crossed.linear.weight"].unflatten(1, (x.shape[1], start.shape[1]))
        x = torch.einsum("nij,bid,bjd->bnd", matrix, x, start)
        sums.append(x.sum(2))
    deep = tower(start.flatten(1), w, "deep")
    wide = torch.zeros(())
    for number, (space, fields) in enumerate(SIX.items()):
        path = "wide.lookup" + (f"_{number + 1}" if number else "")
        for field in fields:
            wide = wide + w[f"{path}.{space}.{field}.weight"][batch.column(f"{space}.{field}")]
    logit = wide + dense(torch.cat([*sums, deep], 1), w, "click.linear")
    alike(model, batch, costs(batch, click=logit), w)


FIVE = ("user.id", "user.age", "ad.item", "ad.category", "context.hour")


def test_fmfm() -> None:
    """Equation 5 of Sun et al."""
    model = compiled(graph_of("fmfm"), "default")
    batch = random_batch(model.manifest, 5, seed=8)
    w = weights(model)
    v = [w[f"{name}.weight"][batch.column(name)] for name in FIVE]
    logit = w["bias"] + looked_up(batch, w, "linear_part")
    for n, (i, j) in enumerate(combinations(range(5), 2)):
        matrix = w["click.matrixed_pairs.matrix"][n]
        logit = logit + torch.einsum("bi,ji,bj->b", v[i], matrix, v[j])[:, None]
    alike(model, batch, costs(batch, click=logit), w)


def looked_up(batch: Batch, w: Weights, path: str) -> Tensor:
    """The five fields' second tables, added up."""
    lookups = {"user": "lookup", "ad": "lookup_2", "context": "lookup_3"}
    return sum(
        (w[f"{path}.{lookups[name.split('.')[0]]}.{name}.weight"][batch.column(name)] for name in FIVE),
        start=torch.zeros(()),
    )


def test_ffm() -> None:
    """Equation 4 of Juan et al.: of each pair, each one's vector for the other's field."""
    model = compiled(graph_of("ffm"), "default")
    batch = random_batch(model.manifest, 5, seed=8)
    w = weights(model)
    lookups = {"user": "lookup", "ad": "lookup_2", "context": "lookup_3"}
    logit = w["bias"] + sum((w[f"{name}.weight"][batch.column(name)] for name in FIVE), start=torch.zeros(()))
    paths = [f"aware.{lookups[name.split('.')[0]]}.{name}.weight" for name in FIVE]
    v = [w[path][batch.column(name)].unflatten(1, (5, -1)) for path, name in zip(paths, FIVE, strict=True)]
    for i, j in combinations(range(5), 2):
        logit = logit + (v[i][:, j] * v[j][:, i]).sum(1, keepdim=True)
    alike(model, batch, costs(batch, click=logit), w)
