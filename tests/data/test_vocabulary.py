"""Vocabularies: which keys have rows, what is left to the unknown row, and the way back from a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specc_runtime.encode import Encoders, Origin, Unknown, Vocabulary
from specc_runtime.encode.keys import canonical
from specc_runtime.encode.vocabulary import SET_ASIDE, Tally, hashed
from tests.data.specs import one_field

HERE = Origin("data.parquet")


def learned(counts: dict[Any, int], most: int = 10**6, least: int = 1) -> Vocabulary:
    tally = Tally()
    for key, count in counts.items():
        tally.add(canonical(pa.array([key] * count)))
    return tally.vocabulary(most, least)


def test_rare_keys_are_left_out() -> None:
    found = learned({"often": 7, "twice": 2, "once": 1}, least=2)
    assert found.keys.to_pylist() == ["often", "twice"]
    assert found.learnt is not None
    assert (found.learnt.rare, found.learnt.beyond, found.learnt.aside) == (1, 0, 0)
    assert found.learnt.unknown == pytest.approx(0.1)


def test_keys_beyond_the_table_are_the_rarest() -> None:
    found = learned({"a": 1, "b": 3, "c": 2, "d": 4}, most=3)
    assert found.keys.to_pylist() == ["d", "b"]
    assert found.learnt is not None
    assert (found.learnt.rare, found.learnt.beyond) == (0, 2)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=350), st.booleans())
def test_where_all_have_rows_the_rarest_hundredth_is_left_out(counts: list[int], texts: bool) -> None:
    given = {f"k{n}" if texts else n: count for n, count in enumerate(counts)}
    found = learned(given)
    left = sorted(set(given) - set(found.keys.to_pylist()))
    assert len(left) == len(given) // SET_ASIDE
    assert found.learnt is not None
    assert found.learnt.aside == len(left)
    if left:
        codes = dict(zip(given, hashed(pa.array(list(given))).tolist(), strict=True))
        rarest = sorted(given, key=lambda key: (given[key], codes[key]))
        assert left == sorted(rarest[: len(left)])


def test_what_is_left_out_is_unknown_in_training_and_so_is_trained() -> None:
    values = [f"user {n}" for n in range(150)] * 2 + ["rare"]
    table = pa.table({"x": values, "y": [0, 1] * 150 + [1]})
    of = one_field("vocab(1_000, 4)")
    encoders = Encoders.learn(of, [(table, HERE)])
    rows = encoders.encode(table, HERE).column("s.x")
    assert rows[-1] == 0
    unknown = Unknown(of)
    unknown.add(encoders.encode(table, HERE))
    other = Unknown(of)
    other.add(encoders.encode(pa.table({"x": [None, "user 3"], "y": [1, 1]}), HERE))
    unknown.merge(other)
    assert unknown.values == {"s.x": 303}
    assert unknown.shares == {"s.x": pytest.approx(2 / 303)}


def test_notes_say_what_is_left_out() -> None:
    table = pa.table({"x": ["a", "a", "b", "b", "c"]})
    few = Encoders.learn(one_field("vocab(2, 4)"), [(table, HERE)])
    assert few.notes() == [
        "s.x: 3 different keys, 2 too many for the table: 60 % of its values count as unknown"
    ]
    rare = Encoders.learn(one_field("vocab(9, 4, min_count = 2)"), [(table, HERE)])
    assert rare.notes() == ["s.x: 1 of 3 keys are below `min_count`: 20 % of its values count as unknown"]
    assert not Encoders.learn(one_field("vocab(9, 4)"), [(table, HERE)]).notes()


KEYS = st.lists(st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(max_size=4)), min_size=1, unique_by=str)


@given(KEYS)
def test_the_way_to_a_row_and_back(keys: list[int | str]) -> None:
    tally = Tally()
    tally.add(canonical(pa.array([str(key) for key in keys], pa.large_string())))
    found = tally.vocabulary(10**6)
    rows = found.row_of(keys)
    back = found.key_of(rows)
    assert [str(key) for key in back] == [str(key) for key in keys]
    assert sorted(rows) == list(range(1, len(keys) + 1))
    assert found.key_of([0, len(keys) + 1]) == [None, None]
    with pytest.raises(IndexError, match="no row -1"):
        found.key_of(np.array([-1]))


def test_a_table_is_asked_for_by_name() -> None:
    encoders = Encoders.learn(one_field("vocab(9, 4)"), [(pa.table({"x": [3]}), HERE)])
    assert encoders.vocabulary("s.x").row_of(["3", 3, None, "?"]).tolist() == [1, 1, 0, 0]
    with pytest.raises(KeyError, match=r"did you mean `s\.x`"):
        encoders.vocabulary("s.y")


KEYS = st.integers(-(2**63), 2**63 - 1)
NEAR = st.integers(-40, 40)


@given(st.sets(KEYS | NEAR, min_size=1), st.lists(KEYS | NEAR))
def test_integers_close_together_are_found_as_others_are(known: set[int], asked: list[int]) -> None:
    """Where keys lie close together their rows are looked up, else searched for."""
    keys = sorted(known, key=lambda key: (key % 7, key))
    vocabulary = Vocabulary(pa.array(keys, pa.int64()), np.ones(len(keys), dtype=np.int64))
    rows = {key: row for row, key in enumerate(keys, 1)}
    some = [*asked, *keys[:5], *(key + 1 for key in keys[:5] if key < 2**63 - 1)]
    assert vocabulary.row_of(pa.array(some, pa.int64())).tolist() == [rows.get(key, 0) for key in some]
