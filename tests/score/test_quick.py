"""Batches of one request made without a table: the same to the bit, or none where tables have a fault."""

from __future__ import annotations

import copy
import os
import random
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import specc
from specc_runtime import Bag, Batch
from specc_runtime.data import columns_of
from specc_runtime.data.columns import Typing
from specc_runtime.data.frames import PLAIN, table_in
from specc_runtime.encode import DataError, Encoders, Origin
from specc_runtime.score.quick import Quick
from specc_runtime.score.values import Unusual

SPEC = """model kinds
table items = vocab(40, 4)
table tags = vocab(30, 4)
space user from request {
  id: vocab(50, 4)
  age: number(standard, default = 30)
  shard: hash(16, 4)
  tier: ids(9, 4, default = 2)
  at: vector(2)
  hour: time(hour, 4, from "seen", offset = 8, default = 3)
  since: number(standard, of = time, from "joined")
  words: bag(tags, max)
  home: cross(id, shard; hash(30, 4))
}
space ad from candidate {
  item: items, price: number(log1p), slot: ids(5, 4), cost: bucket([1, 10.5], 4), tags: bag(tags, mean)
  maker: hash(9, 4, from "made_by")
  shares: bag(tags, sum, weight = "ad_share")
  era: bucket(["1980-01-01", "2000-01-01"], 4, of = time, from "released")
  fan: cross(item, user.id; hash(50, 4))
  spot: cross(cost, maker, user.hour; hash(50, 4))
}
space visits[session <= 3, step <= 4] from request {
  item: items, gap: number, ago: bucket(log2, 8, 4), day: time(weekday, 4, from "visits_at")
  maker: hash(9, 4, default = "x"), both: cross(item, maker; hash(20, 4)), tags: bag(tags, mean)
}
space seen[s <= 3] from candidate { item: items, again: number(none, default = 0.5) }
pooled = mean(mean(visits, over step), over session)
met = mean(mean(same(visits.item, ad.item), over step), over session)
predict click: binary = concat(user, ad, pooled, met, mean(seen, over s)) |> linear(1)
"""
EXAMPLES = 1000 if "AREC_LONG" in os.environ else 40
OF_REQUEST = ("user", "seen", "joined", "visits")


def request(draw: random.Random, candidates: int) -> dict[str, Any]:
    """A request, some of whose keys were never seen, and some of whose lists are longer than their bounds."""
    sizes = [draw.randrange(6) for _ in range(draw.randrange(5))]

    def visits(value: Any) -> list[Any]:
        return [[value() for _ in range(size)] for size in sizes]

    def each(value: Any) -> list[Any]:
        return [value() for _ in range(candidates)]

    seen = [draw.randrange(5) for _ in range(candidates)]
    tags = [[draw.randrange(40) for _ in range(draw.randrange(3))] for _ in range(candidates)]
    return {
        "user_id": draw.choice([f"u{draw.randrange(9)}", None]),
        "user_age": draw.choice([20, 31.5, None]),
        "user_shard": draw.randrange(-5, 1000),
        "user_tier": draw.choice([4, None]),
        "user_at": [draw.random(), 1],
        "user_words": [f"{draw.randrange(40)}" for _ in range(draw.randrange(3))],
        "seen": draw.choice([1511539200 + draw.randrange(10**6), "2017-11-25T07:00:00", None]),
        "joined": 1511539200 + draw.randrange(10**6),
        "visits_item": visits(lambda: f"i{draw.randrange(45)}"),
        "visits_gap": visits(draw.random),
        "visits_ago": visits(lambda: draw.choice([0, 3, 2.5, 900])),
        "visits_at": visits(lambda: 1511539200 + draw.randrange(10**6)),
        "visits_maker": visits(lambda: draw.choice(["a", "b", None])),
        "visits_tags": visits(lambda: [draw.randrange(40) for _ in range(draw.randrange(3))]),
        "ad_item": each(lambda: f"i{draw.randrange(45)}"),
        "ad_price": each(lambda: draw.randrange(100)),
        "ad_slot": each(lambda: draw.randrange(5)),
        "ad_cost": each(lambda: draw.choice([0, 1, 10.5, 99])),
        "ad_tags": tags,
        "made_by": each(lambda: draw.randrange(20)),
        "ad_shares": [[f"{tag}" for tag in own] for own in tags],
        "ad_share": [[draw.random() for _ in own] for own in tags],
        "released": each(lambda: f"{1970 + draw.randrange(50)}-03-01"),
        "seen_item": [[f"i{draw.randrange(45)}" for _ in range(size)] for size in seen],
        "seen_again": [[draw.choice([1, 0.5, None]) for _ in range(size)] for size in seen],
    }


def example(draw: random.Random) -> dict[str, Any]:
    one = request(draw, 1)
    own = {
        name: value[0] for name, value in one.items() if not name.startswith(OF_REQUEST) or "seen_" in name
    }
    return {**one, **own, "seen": 1511539200, "click": float(draw.randrange(2))}


@cache
def encoders() -> Encoders:
    draw, model = random.Random(1), specc.compile(SPEC)
    examples = [example(draw) for _ in range(60)]
    columns = columns_of(model.manifest)
    table = table_in(examples, columns, Typing(PLAIN))
    return Encoders.learn(model.manifest, [(table, Origin("train"))])


@cache
def quick() -> Quick:
    return Quick(encoders(), True)


def by_table(one: dict[str, Any]) -> Batch:
    columns = columns_of(encoders().manifest, candidates=True, labels=False)
    table = table_in([one], columns, Typing(PLAIN))
    return encoders().encode(table, Origin("request"), candidates=True, labels=False)


def tensors(batch: Batch) -> dict[str, Any]:
    found: dict[str, Any] = {f"lengths of {axis}": x for axis, x in batch.lengths.items()}
    found["candidates"] = batch.candidates
    for path, value in batch.fields.items():
        parts = [value.values, value.lengths, value.weights] if isinstance(value, Bag) else [value]
        found |= {f"{path} {n}": part for n, part in enumerate(parts) if part is not None}
    return found


def assert_same(a: Batch, b: Batch, told: Any = "") -> None:
    ours, theirs = tensors(a), tensors(b)
    assert ours.keys() == theirs.keys(), told
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype, (name, told)
        assert torch.equal(ours[name], theirs[name]), (name, told)


ODD: list[Any] = [
    None, "x", "7", -1, 3, 4.5, True, [], ["i1"], [["i1"]], [None], float("nan"), 2**70, {}, "\ud800",
    20171125, "2017-11-25", "2017-11-25T01:00:00+02:00", [1, 2, 3, 4, 5],
]  # fmt: skip


def changed(value: Any, draw: Any) -> Any:
    """A value with an odd one somewhere in it."""
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], changed(value[at], draw), *value[at + 1 :]]
    return draw(st.sampled_from(ODD))


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from([0, 1, 1, 2]), st.data())
def test_quick_batches_are_those_of_tables(seed: int, candidates: int, odd: int, data: st.DataObject) -> None:
    """Whatever stands in a request: the same batch, or none; none where a table has a fault."""
    one = request(random.Random(seed), candidates)
    for _ in range(odd):
        name = data.draw(st.sampled_from([*one]))
        if data.draw(st.integers(0, 3)):
            one[name] = changed(one[name], data.draw)
        else:
            del one[name]
    try:
        found = quick().batch(copy.deepcopy(one))
    except Unusual:
        assert odd, one
        return
    assert_same(found, by_table(one), one)


def test_what_may_be_left_out_is_not_unusual() -> None:
    one = request(random.Random(4), 3)
    for name in ("user_id", "user_age", "user_tier", "user_words", "seen", "visits_maker",
                 "visits_tags", "ad_tags", "seen_again"):  # fmt: skip
        del one[name]
        assert_same(quick().batch(one), by_table(one), name)


@pytest.mark.parametrize("gone", ["ad_price", "joined", "visits_gap", "ad_share"])
def test_what_may_not_is_a_fault_of_tables(gone: str) -> None:
    one = {**request(random.Random(4), 1), "ad_shares": [["7"]], "ad_share": [[0.5]]}
    del one[gone]
    with pytest.raises(Unusual):
        quick().batch(one)
    with pytest.raises(DataError, match=f"`{gone}`: there is no such column"):
        by_table(one)


def test_a_column_of_two_kinds_is_left_to_tables() -> None:
    model = specc.compile(
        'model two\nspace u from request { hour: time(hour, 4, from "at"), age: number(none, from "at") }\n'
        "predict click: binary = u |> linear(1)\n"
    )
    with pytest.raises(Unusual):
        Quick(Encoders(model.manifest), False).batch({"at": 1511539200})
