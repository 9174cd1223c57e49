"""Crosses and weighted bags: fields that are made of more than one column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from specc_runtime import Bag
from specc_runtime.data import select
from specc_runtime.encode import DataError, Encoders, Origin
from specc_runtime.encode.vocabulary import hashed, mix
from tests.data.specs import manifest

HERE = Origin("data.parquet")
CROSSES = manifest("""model m
table items = vocab(100, 4)
space user from request { id: vocab(50, 4), age: bucket([18, 30], 4) }
space ad from candidate {
  item: items
  kind: hash(9, 4)
  same: cross(item, kind; hash(1_000, 4))
  other: cross(kind, item; hash(1_000, 4))
  fan: cross(item, user.id, user.age; hash(1_000, 4))
}
space past[t <= 3] from request { item: items, by: cross(item, user.id; hash(1_000, 4)) }
predict click: binary = concat(user, ad, sum(past, over t)) |> linear(1)
""")


def row(*keys: Any) -> int:
    """By the documented rule."""
    found = np.zeros(1, dtype=np.uint64)
    for key in keys:
        code = np.zeros(1, dtype=np.uint64) if key is None else hashed(pa.array([key], large(key)))
        found = mix(mix(found) + code)
    return int(found[0] % np.uint64(1_000))


def large(key: Any) -> pa.DataType:
    return pa.large_string() if isinstance(key, str) else pa.int64()


EXAMPLES = pa.table(
    {
        "id": ["u", "v", None],
        "age": [10, 20, 40],
        "ad_item": [7, 8, 7],
        "kind": ["x", "x", "y"],
        "past_item": [[1, 2], [], [3]],
        "click": [1, 0, 1],
    }
)


def test_a_cross_is_a_key_of_several() -> None:
    encoders = Encoders.learn(CROSSES, [(EXAMPLES, HERE)])
    batch = encoders.encode(EXAMPLES, HERE)
    assert batch.column("ad.same").tolist() == [row(7, "x"), row(8, "x"), row(7, "y")]
    assert batch.column("ad.other").tolist() == [row("x", 7), row("x", 8), row("y", 7)]
    assert batch.column("ad.fan").tolist() == [row(7, "u", 0), row(8, "v", 1), row(7, None, 2)]
    assert batch.column("past.by").tolist() == [row(1, "u"), row(2, "u"), row(3, None)]
    assert "ad.same" not in [f["path"] for f in CROSSES["fields"]]
    assert encoders.columns(["id", "ad_item", "same", "ad_same"]) == ["id", "ad_item"]


def test_candidates_of_a_request_are_crossed_with_it() -> None:
    encoders = Encoders.learn(CROSSES, [(EXAMPLES, HERE)])
    requests = pa.table(
        {
            "id": ["u", "v", "w"],
            "age": [10, 20, 40],
            "ad_item": [[7, 8], [], [7]],
            "kind": [["x", "x"], [], ["y"]],
            "past_item": [[1, 2], [], [3]],
        }
    )
    batch = encoders.encode(requests, HERE, candidates=True, labels=False)
    assert batch.column("ad.fan").tolist() == [row(7, "u", 0), row(8, "u", 0), row(7, "w", 2)]
    assert batch.example(2).column("ad.fan").tolist() == [row(7, "w", 2)]


def test_faults_of_crossed_fields_are_their_own() -> None:
    table = EXAMPLES.set_column(1, "age", pa.array([10, None, 40]))
    with pytest.raises(DataError) as found:
        Encoders.learn(CROSSES, [(EXAMPLES, HERE)]).encode(table, HERE)
    assert [fault.column for fault in found.value.faults] == ["age"]


WEIGHTED = manifest("""model m
space past[t <= 2] from request { tags: bag(ids(9, 4), sum, weight = "shares") }
predict click: binary = sum(past, over t) |> linear(1)
""")


def weighted(tags: Any, shares: Any) -> Any:
    table = pa.table({"tags": tags, "shares": shares, "click": [1] * len(tags)})
    return Encoders.learn(WEIGHTED, [(table, HERE)]).encode(table, HERE)


def test_weights_go_with_the_values_of_a_bag() -> None:
    batch = weighted([[[1], [2, 3], [4]], [[5, 6]]], [[[9], [0.5, 2], [1]], [[-1, 0]]])
    bag = batch.bag("past.tags")
    assert bag.values.tolist() == [2, 3, 4, 5, 6]  # the last two positions
    assert bag.weights.tolist() == [0.5, 2, 1, -1, 0]
    one = batch.example(1).bag("past.tags")
    assert (one.values.tolist(), one.weights.tolist()) == ([5, 6], [-1, 0])
    import torch

    turned = select(batch, torch.tensor([1, 0])).bag("past.tags")
    assert turned.weights.tolist() == [-1, 0, 0.5, 2, 1]
    joined = Bag.joined([one, bag])
    assert joined.weights is not None
    assert joined.weights.tolist() == [-1, 0, 0.5, 2, 1, -1, 0]


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        (
            [[[1.0, 2.0]], [[1.0]]],
            "row 2, column `shares`, item 1: there are 1 weights, and `tags` has 2",
        ),
        ([[[1.0, None]], [[1.0, 1.0]]], "row 1, column `shares`, item 2 of list 1: there is no value"),
        (
            [[[1.0, 2.0]], []],
            "row 2, column `shares`: there are 0 positions of past.t, and",
        ),
        ([[1.0], [2.0]], "column `shares`: the column is list<item: double>"),
    ],
)
def test_weights_that_do_not_fit(shares: Any, said: str) -> None:
    with pytest.raises(DataError) as found:
        weighted([[[1, 2]], [[5, 6]]], shares)
    assert said in str(found.value)


def test_weights_that_are_not_there() -> None:
    table = pa.table({"tags": [[[1]]], "click": [1]})
    encoders = Encoders.learn(WEIGHTED, [(table, HERE)])
    with pytest.raises(DataError, match="column `shares`: there is no such column"):
        encoders.encode(table, HERE)
