"""Columns to batches: what every encoding gives, and every fault by file, row and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from specc_runtime import Bag
from specc_runtime.data import select
from specc_runtime.data.select import part
from specc_runtime.encode import DataError, Encoders, Origin, load_encoders, save_encoders
from specc_runtime.encode.columns import unpack
from specc_runtime.encode.vocabulary import hashed
from tests.data.specs import SEQUENCES, manifest, one_field

HERE = Origin("data.parquet")


def encoded(encoding: str, values: Any, axes: str = "", train: Any = None) -> Any:
    """The field's value for a column, its encoding learned from `train` (or the column itself)."""
    of = one_field(encoding, axes)
    learned = Encoders.learn(of, [(pa.table({"x": values if train is None else train}), HERE)])
    table = pa.table({"x": values})
    return learned.encode(table, HERE, labels=False).fields["s.x"]


def fault(encoding: str, values: Any, axes: str = "", train: Any = None) -> str:
    with pytest.raises(DataError) as found:
        encoded(encoding, values, axes, train)
    return str(found.value)


@pytest.mark.parametrize(
    ("encoding", "values", "rows"),
    [
        ("ids(5, 4)", [0, 4, 2], [0, 4, 2]),
        ("ids(5, 4)", pa.array([0, 4], pa.uint8()), [0, 4]),
        ("ids(5, 4)", [1.0, 3.0], [1, 3]),
        ("ids(5, 4, default = 3)", [1, None], [1, 3]),
        ("ids(5, 4, default = 3)", [1.0, float("nan")], [1, 3]),
        ("ids(2, 4)", [True, False], [1, 0]),
        ("vocab(9, 4)", ["b", "a", "b", None], [1, 2, 1, 0]),
        ("vocab(9, 4)", [7, 7, 3], [1, 1, 2]),
        ('vocab(9, 4, default = "a")', [1, None], [1, 2]),
        ("ids(5, 4)", ["3", "0"], [3, 0]),
        ("vocab(9, 4)", pa.array(["b", "a"]).dictionary_encode(), [2, 1]),
        ('vocab(9, 4, default = "a")', ["b", "b", None], [1, 1, 2]),
        ("vocab(3, 4)", [1, 1, 2, 2, 3], [1, 1, 2, 2, 0]),
        ("bucket([1, 2.5], 4)", [0.0, 1.0, 2.4, 2.5, 9.0], [0, 1, 1, 2, 2]),
        ("bucket(log2, 5, 4)", [-3, 0, 0.9, 1, 1.9, 2, 4, 7, 8, 1e9], [0, 0, 0, 1, 1, 2, 3, 3, 4, 4]),
        ("hash(1, 4)", ["a", "", "é"], [0, 0, 0]),
    ],
)
def test_rows_of_tables(encoding: str, values: Any, rows: list[int]) -> None:
    assert encoded(encoding, values).tolist() == rows


@pytest.mark.parametrize(
    ("encoding", "values", "numbers"),
    [
        ("number", [1.5, -2.0], [1.5, -2.0]),
        ("number(standard)", [1.0, 3.0], [-1.0, 1.0]),
        ("number(standard)", [2.0, 2.0], [0.0, 0.0]),
        ("number(minmax)", [1, 3, 2], [0.0, 1.0, 0.5]),
        ("number(log1p)", [0.0, np.e - 1, 1 - np.e], [0.0, 1.0, -1.0]),
        ("number(default = 4)", [None, 1.0], [4.0, 1.0]),
        ("number(default = 4)", ["", " 1.5", "1e-3", "-.5"], [4.0, 1.5, 0.001, -0.5]),
    ],
)
def test_numbers(encoding: str, values: Any, numbers: list[float]) -> None:
    found = encoded(encoding, values)
    assert found.shape == (len(values), 1)
    assert found.squeeze(1).tolist() == pytest.approx(numbers)


def test_vectors_and_bags() -> None:
    assert encoded("vector(2)", [[1.0, 2.0], [3.0, 4.0]]).tolist() == [[1, 2], [3, 4]]
    said = fault("vector(2)", [[1.0, 2.0], [3.0]])
    assert "row 2, column `x`: 1 numbers are there, and `vector(2)` has 2" in said
    bag = encoded("bag(vocab(9, 4), sum)", [["a", "a", "b"], None, []])
    assert isinstance(bag, Bag)
    assert bag.values.tolist() == [1, 1, 2]
    assert bag.lengths.tolist() == [3, 0, 0]


def test_what_is_in_a_list_says_where() -> None:
    said = fault("bag(ids(5, 4), sum)", [[1, 2], [3, 9, 7]])
    assert "row 2, column `x`, item 2: 9 is not one of the ids 0 to 4 (and 1 more)" in said
    lists = pa.array([[[1], [2, 3]], [], [[4], [5, 6], [7, 8, 9]]])
    packed = unpack(lists, (2, 2))  # of what is longer than its bound the end is kept
    assert packed.values.to_pylist() == [1, 2, 3, 5, 6, 8, 9]
    assert [packed.place(i) for i in (0, 2, 4, 5)] == [(0, 0, 0), (0, 1, 1), (2, 1, 1), (2, 2, 1)]
    assert packed.place(2, 1) == (2, 1)


def test_scales_are_those_of_the_training_data_in_parts() -> None:
    values = np.random.default_rng(0).normal(3, 5, 1000)
    of = one_field("number(standard)")
    parts = [(pa.table({"x": part}), HERE) for part in np.split(values, [1, 400])]
    scale = Encoders.learn(of, parts).scales["s.x"]
    assert scale.shift == pytest.approx(values.mean())
    assert scale.by == pytest.approx(values.std())


def test_hashes_are_as_documented() -> None:
    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    texts = ["", "a", "ab", "ba", "Ö" * 40]
    expected = [mix((len(b) + sum(mix(256 * p + c + 1) for p, c in enumerate(b))) % 2**64)
                for b in (t.encode() for t in texts)]  # fmt: skip
    column = pa.array(["zz", *texts], pa.large_string())[1:]
    assert hashed(column).tolist() == expected
    integers = pa.array([0, -1, 2**62])
    assert hashed(integers).tolist() == [mix((i + 0x9E3779B97F4A7C15) % 2**64) for i in (0, -1, 2**62)]
    assert encoded("hash(10, 4)", texts).tolist() == [h % 10 for h in expected]


@pytest.mark.parametrize(
    ("encoding", "values", "said"),
    [
        ("ids(5, 4)", [0, 5, -1], "row 2, column `x`: 5 is not one of the ids 0 to 4 (and 1 more)"),
        ("ids(5, 4)", [0.5], "row 1, column `x`: 0.5 is not an integer"),
        ("ids(5, 4)", ["3", "a"], "row 2, column `x`: `a` is not an integer"),
        ("ids(5, 4)", ["007"], "row 1, column `x`: `007` is not an integer"),
        ("ids(5, 4)", [1, None], "row 2, column `x`: there is no value"),
        ("hash(5, 4)", ["a", None], "row 2, column `x`: there is no value"),
        ("vocab(5, 4)", [1.5], "row 1, column `x`: 1.5 is not an integer"),
        ("bucket([1], 4)", ["1", "a"], "row 2, column `x`: `a` is not a number"),
        ("number", ["1.5", "nan"], "row 2, column `x`: `nan` is not a number"),
        ("number", ["1e999"], "row 1, column `x`: `1e999` is not a number"),
        ("number", ["1", ""], "row 2, column `x`: there is no value"),
        ("number", [1.0, float("inf")], "row 2, column `x`: inf is not a finite number"),
        ("number", [1.0, None], "row 2, column `x`: there is no value"),
        ("number", [[1.0]], "and it should hold one value a row"),
    ],
)
def test_faults_say_where_and_why(encoding: str, values: Any, said: str) -> None:
    assert said in fault(encoding, values)


def test_integers_and_texts_share_a_table() -> None:
    table = _table().set_column(3, "past_item", pa.array([["6"], ["b"], [], ["6"]]))
    table = table.set_column(4, "gap", pa.array([[1], [1], [], [1]]))
    table = table.set_column(5, "noise_item", pa.array([[5.0], [7.0], [], [None]]))
    learned = Encoders.learn(manifest(SEQUENCES), [(table, HERE)])
    assert learned.vocabularies["items"].keys.to_pylist() == ["5", "6", "7", "b"]
    batch = learned.encode(table, HERE)
    assert batch.column("ad.item").tolist() == [1, 2, 1, 3]
    assert batch.column("past.item").tolist() == [2, 4, 2]
    assert batch.column("noise.item").tolist() == [1, 3, 0]


def _table() -> pa.Table:
    return pa.table(
        {
            "id": ["u", "v", "w", "x"],
            "age": [10, 18, 40, 20],
            "ad_item": [5, 6, 5, 7],
            "past_item": [[1, 2, 3, 4], [], None, [5]],
            "gap": [[1, 2, 4, 8], [], [], [16]],
            "noise_item": [[9, 8, 7, 6], [], [], [5]],
            "kind": [[[1], [2, 3, 4], [5]], None, [[]], [[6, 7]]],
            "price": [1.0, 2.0, 3.0, 4.0],
            "click": [1, 0, 1, 0],
        }
    )


def test_sequences_keep_their_latest_positions() -> None:
    learned = Encoders.learn(manifest(SEQUENCES), [(_table(), HERE)])
    keys = learned.vocabularies["items"].keys.to_pylist()
    batch = learned.encode(_table(), HERE)
    assert batch.size == 4
    assert batch.lengths["past.t"].tolist() == [3, 0, 0, 1]
    assert [keys[i - 1] for i in batch.column("past.item")] == [2, 3, 4, 5]
    assert [keys[i - 1] for i in batch.column("noise.item")] == [8, 7, 6, 5]
    assert batch.column("past.gap").tolist() == [2, 3, 4, 5]
    assert batch.lengths["visits.session"].tolist() == [2, 0, 1, 1]
    assert batch.lengths["visits.step"].tolist() == [2, 1, 0, 2]
    kinds = learned.vocabularies["kinds"].keys.to_pylist()
    assert [kinds[i - 1] for i in batch.column("visits.kind")] == [3, 4, 5, 6, 7]
    assert batch.labels["click"].tolist() == [1, 0, 1, 0]
    # What the table gives, the batch's own laws accept.
    for axes in batch.schema.fields.values():
        assert batch.layout[axes].count >= 0


def test_lists_of_every_kind_and_slices_are_the_same() -> None:
    learned = Encoders.learn(manifest(SEQUENCES), [(_table(), HERE)])
    whole = learned.encode(_table(), HERE)
    large = _table()
    for name in ("past_item", "gap", "noise_item"):
        column = large.column(name).combine_chunks().cast(pa.large_list(pa.int32()))
        large = large.set_column(large.column_names.index(name), name, column)
    for table in (large, pa.concat_tables([_table().slice(0, 1), _table().slice(1)])):
        batch = learned.encode(table, HERE)
        assert all(torch.equal(batch.column(p), whole.column(p)) for p in whole.fields)
    part = learned.encode(_table().slice(2, 2), HERE)
    assert torch.equal(part.column("past.item"), whole.column("past.item")[-1:])


def test_all_faults_at_once() -> None:
    table = _table().drop_columns(["price"])
    table = table.set_column(3, "past_item", pa.array([[1, 2], [], [], [5]]))
    table = table.set_column(0, "id", pa.array(["u", None, "w", "x"]))
    table = table.set_column(7, "click", pa.array([1, 0, 3, 0]))
    encoders = Encoders.learn(manifest(SEQUENCES), [(_table(), HERE)])
    with pytest.raises(DataError) as found:
        encoders.encode(table, Origin("part-7.parquet", 101))
    lines = str(found.value).splitlines()
    assert [line for line in lines if line.startswith("part-7")] == [
        "part-7.parquet, row 102, column `id`: there is no value",
        "part-7.parquet, column `ad_price`: there is no such column (nor `price`)",
        "part-7.parquet, row 101, column `gap`: there are 4 positions of past.t, "
        "and column `past_item` has 2",
        "part-7.parquet, row 101, column `noise_item`: there are 4 positions of past.t, "
        "and column `past_item` has 2",
        "part-7.parquet, row 103, column `click`: 3.0 is not a label from 0 to 1",
    ]
    assert len(found.value.faults) == 5


def test_requests_hold_candidates_as_lists() -> None:
    encoders = Encoders.learn(manifest(SEQUENCES), [(_table(), HERE)])
    table = _table().slice(0, 2)
    table = table.set_column(2, "ad_item", pa.array([[5, 6, 7], [5]]))
    table = table.set_column(7, "price", pa.array([[1.0, 2.0, 3.0], [4.0]]))
    batch = encoders.encode(table, HERE, candidates=True, labels=False)
    assert batch.candidates is not None
    assert batch.candidates.tolist() == [3, 1]
    assert len(batch.column("ad.item")) == 4
    assert len(batch.column("user.id")) == 2
    short = table.set_column(7, "price", pa.array([[1.0], [4.0]]))
    with pytest.raises(DataError, match="there are 1 candidates, and column `ad_item` has 3"):
        encoders.encode(short, HERE, candidates=True, labels=False)


def test_encoders_go_out_and_back(tmp_path: Path) -> None:
    of = manifest(SEQUENCES)
    encoders = Encoders.learn(of, [(_table(), HERE)])
    save_encoders(encoders, tmp_path)
    again = load_encoders(tmp_path, of)
    first, second = encoders.encode(_table(), HERE), again.encode(_table(), HERE)
    assert all(torch.equal(first.column(p), second.column(p)) for p in first.fields)
    assert again.scales == dict(encoders.scales)


LISTS = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=5), LISTS), min_size=1, max_size=6), st.data())
def test_examples_are_encoded_as_one_by_one(rows: list[tuple[list[int], list[list[int]]]], data: Any) -> None:
    table = pa.table(
        {
            "id": [str(i) for i in range(len(rows))],
            "age": list(range(len(rows))),
            "ad_item": list(range(len(rows))),
            "past_item": pa.array([past for past, _ in rows], pa.list_(pa.int64())),
            "gap": pa.array([past for past, _ in rows], pa.list_(pa.int64())),
            "noise_item": pa.array([past for past, _ in rows], pa.list_(pa.int64())),
            "kind": pa.array([kinds for _, kinds in rows], pa.list_(pa.list_(pa.int64()))),
            "price": [float(i) for i in range(len(rows))],
            "click": [0.0] * len(rows),
        }
    )
    encoders = Encoders.learn(manifest(SEQUENCES), [(table, HERE)])
    whole = encoders.encode(table, HERE)
    order = data.draw(st.permutations(range(len(rows))))
    chosen = select(whole, torch.tensor(order))
    begin = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(begin, len(rows)))
    for mine, theirs in zip(
        pytree.tree_leaves(part(whole, begin, end)),
        pytree.tree_leaves(select(whole, torch.arange(begin, end))),
        strict=True,
    ):
        assert torch.equal(mine, theirs)
    for place, row in enumerate(order):
        alone = encoders.encode(table.slice(row, 1), HERE)
        kinds = encoders.vocabularies["kinds"].keys.to_pylist()
        assert [kinds[i - 1] for i in alone.column("visits.kind")] == [
            k for session in rows[row][1][-2:] for k in session[-2:]
        ]
        for batch in (whole.example(row), chosen.example(place)):
            assert {a: x.tolist() for a, x in batch.lengths.items()} == {
                a: x.tolist() for a, x in alone.lengths.items()
            }
            for path in alone.fields:
                assert torch.equal(batch.column(path), alone.column(path)), path
