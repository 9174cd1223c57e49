"""The best candidates: the order of scores, ties, and scores that are none."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc_runtime.encode import DataError, Origin
from specc_runtime.score import Scored, best
from specc_runtime.score.requests import check_finite

REQUESTS = st.lists(st.lists(st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0]), max_size=8), max_size=6)


def scored(requests: list[list[float]], first: int = 1) -> Scored:
    values = np.array([score for request in requests for score in request], dtype=np.float64)
    counts = np.array([len(request) for request in requests], dtype=np.int64)
    return Scored(first, counts, {"click": values}, pa.table({}))


@settings(deadline=None)
@given(REQUESTS, st.none() | st.integers(1, 5))
def test_they_are_the_highest_scores(requests: list[list[float]], k: int | None) -> None:
    for scores, places in zip(requests, best(scored(requests), "click", k), strict=True):
        assert len(places) == (len(scores) if k is None else min(k, len(scores)))
        assert len(set(places.tolist())) == len(places)
        assert [scores[p] for p in places] == sorted(scores, reverse=True)[: len(places)]


@settings(deadline=None)
@given(REQUESTS, st.integers(0, 6))
def test_ties_do_not_depend_on_what_is_scored_together(requests: list[list[float]], cut: int) -> None:
    cut = min(cut, len(requests))
    whole = [places.tolist() for places in best(scored(requests), "click")]
    parts = [*best(scored(requests[:cut]), "click"), *best(scored(requests[cut:], cut + 1), "click")]
    assert [places.tolist() for places in parts] == whole


def test_ties_prefer_no_place() -> None:
    firsts = Counter(int(p[0]) for p in best(scored([[0.5] * 4] * 4000), "click", 1))
    assert all(900 < firsts[place] < 1100 for place in range(4))
    other = Counter(int(p[0]) for p in best(scored([[0.5] * 4] * 4000), "click", 1, seed=1))
    assert other != firsts


def test_a_score_that_is_not_finite_is_named() -> None:
    values = {"click": np.array([0.1, 0.2, np.nan, np.inf])}
    with pytest.raises(DataError) as caught:
        check_finite(values, np.array([1, 0, 3]), Origin("r.jsonl", 11), True)
    said = str(caught.value)
    assert "r.jsonl, row 13: the score `click` of candidate 2 is nan, no finite number (and 1 more)" in said
