"""A choice among the batch against the slow way: a score of every pair by itself, and the softmax by hand.

Sequences of candidates that meet the request, too, along every kind of axis.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from specc.driver import load
from specc.interpret.compare import differences
from specc.ir.graph import Graph
from specc.ir.verify import verify
from specc.lower import lower
from specc.passes import optimise
from specc.testing import random_batch
from specc_runtime import CANDIDATE, Bag, Batch, Model
from specc_runtime.batch import NO_KEY
from tests.executor.program import Executed
from tests.oracle.subjects import compiled

TOWERS = """model towers
table items = vocab(6, 4)
space user from request { id: vocab(20, 4) }
space ad from candidate { item: items, price: number }
space history[t <= 5] from request { item: items }
viewer = concat(user, mean(history, over t)) |> linear(4)
again  = sum(same(history.item, ad.item), over t)
predict taken: choice(OPTIONS) = dot(viewer, ad |> linear(4)) + again
"""
PICTURES = """model pictures
space user from request { id: vocab(50, 4) }
space ad from candidate { item: vocab(60, 4) }
space pictures[p <= 5] from candidate { look: vector(4) }
seen = mean(dot(user.id, pictures.look), over p)
predict taken: choice(among = batch) = dot(user.id, ad.item) + seen
"""
KEY = "ad.item:key"
# What a candidate has along one axis and along two, combined with the request in every way.
SEQUENCES = """model sequences
table items = vocab(50, 4)
space user from request { id: vocab(50, 4) }
space ad from candidate { item: items, price: number }
space parts[p <= 4] from candidate { item: items, n: number }
space deep[a <= 3, b <= 3] from candidate { item: items }
space history[t <= 5] from request { item: items }
learned place[p, 4]
met    = softmax(dot(history.item, parts.item + place), over p)
found  = sum(sum(met * parts.item, over p) * history.item, over t)
inner  = sum(softmax(dot(deep.item, user.id), over b) * deep.item, over b)
outer  = sum(softmax(dot(inner, user.id) + index(a), over a) * inner, over a)
later  = tail(parts.item, over p as q)
less   = sum(dot(later, user.id) / length(q), over q)
joined = max(append(history.item, parts.item, over t as u) * user.id, over u)
begun  = min(append(parts.item, user.id, over p as v) * ad.item, over v)
best   = mean(top(parts.item, 2, by dot(parts.item, user.id), over p as r), over r)
ranked = mean(top(history.item, 2, by dot(history.item, mean(parts.item, over p)), over t as s), over s)
twins  = sum(sum(dot(parts.item * user.id, rename(parts.item, p to o)), over o where o < p), over p)
deepest = mean(concat(parts, user.id) |> mlp([4]) |> linear(1), over p)
tower  = concat(found, outer, joined, begun, best, ranked, user.id, ad) |> mlp([6]) |> linear(1)
predict taken: choice(among = batch, of = ad.item) = tower + less + twins + deepest + dot(user.id, ad.item)
"""

RECURRENCES = """model recurrences
table items = vocab(50, 4)
space user from request { id: vocab(50, 4) }
space ad from candidate { item: items, price: number }
space parts[p <= 4] from candidate { item: items }
space deep[a <= 3, b <= 3] from candidate { item: items }
space history[t <= 5] from request { item: items }
encoder walk(x[t, d], u[d]) -> [t, d] {
  scan h[d] over t {
    next h = tanh(x * u + h |> linear(d))
  }
  return h
}
encoder asks(x[t, d], y[p, d]) -> [t, d] {
  scan h[d], c[1] over t {
    m = sum(softmax(dot(h, y), over p) * y, over p)
    next h = 0.5 * h + x * m
    next c = c + dot(x, h)
  }
  return h * c
}
encoder both(x[t, d], y[p, d]) -> [p, t, d] {
  scan h[d] over t {
    next h = 0.5 * h + x * y
  }
  return h
}
walked = last(walk(parts.item, user.id), over p)
inner  = sum(last(walk(deep.item, user.id, over b), over b), over a)
asked  = last(asks(history.item, parts.item), over t)
each   = sum(last(both(history.item, parts.item), over t), over p)
turned = last(gru_backward(parts.item * user.id, 4), over p)
predict taken: choice(among = batch) = concat(walked, inner, asked, each, turned, ad) |> linear(1)
"""


def graph_of(text: str, folder: Path) -> Graph:
    (folder / "text.arec").write_text(text, encoding="utf-8")
    graph, report = load(folder / "text.arec")
    assert graph is not None, list(report)
    return graph


def owners(batch: Batch) -> list[int]:
    """The request of each candidate."""
    each = [1] * batch.size if batch.candidates is None else batch.candidates.tolist()
    return [request for request, many in enumerate(each) for _ in range(many)]


def every_score(model: Model, batch: Batch) -> Tensor:
    """A score of each request with every candidate: a batch for each request, which has all of them."""
    found = []
    for request in range(batch.size):
        fields: dict[str, Tensor | Bag] = {}
        lengths = {}
        for path, values in batch.fields.items():
            axes = batch.schema.fields[path]
            of_candidate = any(a == CANDIDATE or a.parent == CANDIDATE for a in axes)
            assert isinstance(values, Tensor)
            fields[path] = values if of_candidate else values[batch.layout[axes].example == request]
        for id, given in batch.lengths.items():
            outermost = axis = batch.schema.axes[id]
            while outermost.parent not in (None, CANDIDATE):
                assert outermost.parent is not None
                outermost = outermost.parent
            own = batch.layout.within(axis).example == request
            lengths[id] = given if outermost.parent == CANDIDATE else given[own]
        many = torch.tensor([len(owners(batch))])
        found.append(model(replace(batch, size=1, fields=fields, lengths=lengths, candidates=many))["taken"])
    return torch.stack(found) if found else torch.zeros(0, len(owners(batch)))


def slow_loss(
    model: Model, batch: Batch, apart: bool = False, correct: bool = False, weight: bool = False
) -> Tensor:
    scores, labels, found = every_score(model, batch), batch.labels["taken"], []
    if correct:
        counts = model.state_dict()["taken.choice.counts"].clamp(min=1)
        scores = scores - (counts / counts.sum()).log()[batch.column("ad.item")]
    keys = batch.column(KEY).flatten().tolist() if apart else []
    for own, request in enumerate(owners(batch)):
        if labels[own] > 0:
            others = [
                n
                for n in range(len(labels))
                if n == own or not apart or keys[n] != keys[own] or keys[own] == NO_KEY
            ]
            loss = torch.logsumexp(scores[request, others], 0) - scores[request, own]
            loss = loss * labels[own]
            found.append(loss * batch.column("ad.price")[own].double().squeeze() if weight else loss)
    return torch.stack(found).mean() if found else torch.zeros((), dtype=torch.float64)


def batch_of(model: Model, seed: int, size: int, candidates: bool) -> Batch:
    """Keys that occur several times, and some that are missing."""
    batch = random_batch(
        model.manifest, size, seed, candidates=candidates, longest=3, empty=0.2, unlabelled=0.2
    )
    if KEY not in batch.fields:
        return batch
    keys = batch.column(KEY).clone()
    keys[::4] = NO_KEY
    return replace(batch, fields={**batch.fields, KEY: keys})


@pytest.mark.parametrize("passes", ["none", "default"])
@pytest.mark.parametrize(
    "options", ["", ", of = ad.item", ", of = ad.item, correct = true", ", weight = ad.price"]
)
def test_the_loss_is_the_slow_one(tmp_path: Path, options: str, passes: str) -> None:
    """Duplicates, missing keys, weights, several candidates a request, one example, none, none chosen."""
    model = compiled(graph_of(TOWERS.replace("OPTIONS", "among = batch" + options), tmp_path), passes)
    if "correct" in options:
        model.state_dict()["taken.choice.counts"].copy_(torch.tensor([0.0, 5, 1, 2, 9, 3]))
    said = {"apart": "of =" in options, "correct": "correct" in options, "weight": "weight" in options}
    for seed, size, candidates in [(0, 6, False), (1, 5, True), (2, 1, False), (3, 0, False), (4, 1, True)]:
        batch = batch_of(model, seed, size, candidates)
        torch.testing.assert_close(model.losses(batch)["taken"], slow_loss(model, batch, **said))
    labels = {"taken": torch.zeros_like(batch_of(model, 0, 6, False).labels["taken"])}
    nobody = replace(batch_of(model, 0, 6, False), labels=labels)
    assert model.losses(nobody)["taken"].item() == 0


def test_scores_of_all_are_one_product(tmp_path: Path) -> None:
    """What is of one side is computed once for it, and not once for each pair."""
    text = TOWERS.replace("OPTIONS", "among = batch").replace(" + again", "")
    model = compiled(graph_of(text, tmp_path), "default")
    source = model.files["model.py"] if model.files else ""
    batch = random_batch(model.manifest, 20, 0)
    largest = 0

    def note(x: Tensor) -> None:
        nonlocal largest
        largest = max(largest, x.numel())

    with torch.autograd.graph.saved_tensors_hooks(lambda x: (note(x), x)[1], lambda x: x):
        model.losses(batch)
    assert 400 <= largest < 800, source  # of 20 x 20 pairs a number each, and not 4


@pytest.mark.parametrize("text", [PICTURES, SEQUENCES, RECURRENCES], ids=lambda text: text.split()[1])
def test_sequences_of_candidates_meet_every_request(tmp_path: Path, text: str) -> None:
    graph = graph_of(text, tmp_path)
    for passes in ("none", "default"):
        optimised = optimise(graph, passes)
        verify(optimised)
        model = compiled(graph, passes)
        executed = Executed(lower(optimised), dict(model.state_dict()))
        for seed, size, candidates in [(0, 3, False), (1, 2, True), (3, 0, False)]:
            batch = batch_of(model, seed, size, candidates)
            expected = slow_loss(model, batch, apart="of =" in text)
            torch.testing.assert_close(model.losses(batch)["taken"], expected)
            assert candidates or not size or not differences(graph, model, batch)
            assert candidates or not size or not differences(graph, executed, batch)  # type: ignore[arg-type]
