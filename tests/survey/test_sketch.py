"""Sketches: exact while there is room, close beyond, and the same however the values come."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc.survey import sketch
from specc.survey.sketch import Distinct, Spread
from specc_runtime.encode.vocabulary import hashed

PIECES = st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6)


def of(pieces: list[list[int]]) -> Distinct:
    found = Distinct()
    for piece in pieces:
        keys = pa.array(piece, pa.int64())
        found.add(hashed(keys), keys, np.array(piece, dtype=float).reshape(-1, 1) % 3)
    return found


@settings(deadline=None)
@given(PIECES)
def test_small_data_is_counted_exactly(pieces: list[list[int]]) -> None:
    values = [value for piece in pieces for value in piece]
    found = of(pieces)
    assert found.number == len(set(values))
    assert found.seen == len(values)
    assert dict(found.common(100)) == {str(v): values.count(v) for v in values}
    if values:
        assert found.low[:, 0].tolist() == found.high[:, 0].tolist()
        assert found.names is not None
        assert [v % 3 for v in found.names.to_pylist()] == found.low[:, 0].tolist()


@settings(deadline=None)
@given(PIECES, PIECES)
def test_merged_is_seen_together(first: list[list[int]], second: list[list[int]]) -> None:
    merged, whole = of(first), of(first + second)
    merged.merge(of(second))
    assert merged.hashes.tolist() == whole.hashes.tolist()
    assert merged.counts.tolist() == whole.counts.tolist()
    mine = [v for piece in first for v in piece]
    theirs = {v for piece in second for v in piece}
    told, shared, all_of = of(first).shared(of(second))
    assert (told, shared, all_of) == (len(mine), sum(v in theirs for v in mine), True)


def test_many_values_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "KEPT", 4096)
    random = np.random.default_rng(0)
    values = random.integers(0, 100_000, 400_000)
    found, other = Distinct(), Distinct()
    for piece in np.split(values, 40):
        found.add(hashed(pa.array(piece)))
    other.add(hashed(pa.array(np.arange(50_000))))
    assert found.full
    assert len(found.hashes) == 4096
    assert found.number == pytest.approx(len(np.unique(values)), rel=0.06)
    # Of those that are kept every occurrence is counted.
    exact = dict(zip(*np.unique(hashed(pa.array(values)), return_counts=True), strict=True))
    assert all(exact[h] == n for h, n in zip(found.hashes, found.counts, strict=True))
    told, shared, all_of = found.shared(other)
    assert not all_of
    assert shared / told == pytest.approx(0.5, abs=0.05)


def test_a_spread_of_many_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "KEPT", 1000)
    values = np.random.default_rng(0).normal(5, 2, 50_000)
    values[7] = 1e6
    found = Spread()
    for piece in np.split(values, 10):
        found.add(piece)
    assert (found.count, found.least, found.most) == (50_000, values.min(), 1e6)
    assert found.mean == pytest.approx(values.mean())
    edges, counts = found.histogram()
    assert edges[-1] < 20  # one far away does not squeeze all others into one bar
    middle = np.histogram(values, edges)[0]
    assert np.abs(np.array(counts) - middle).max() < 0.1 * middle.max() + 1000


def test_few_whole_numbers_have_a_bar_each() -> None:
    found = Spread()
    found.add(np.array([0.0, 1.0, 1.0, 3.0]))
    assert found.histogram() == ([-0.5, 0.5, 1.5, 2.5, 3.5], [1.0, 2.0, 0.0, 1.0])
