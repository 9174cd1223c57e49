"""The page of one log says what its results say; every model is there, clearly above popularity or with a
reason."""

from __future__ import annotations

import json
from typing import Any

from bench.taobao import PAGE, RESULTS, SPECS, redrawn, thinned
from bench.taobao_page import ABSENT, WHY, below_popularity, taobao_page


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def test_the_page_is_made_of_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == taobao_page(results())


def test_every_model_is_measured() -> None:
    found = results()
    measured = {*found["ranking"], *found["retrieval"], *ABSENT}
    assert measured == {path.stem for path in SPECS.glob("*.arec")}


def test_who_is_not_above_popularity_has_a_reason() -> None:
    assert {name.partition(",")[0] for name in below_popularity(results())} == set(WHY)


def test_one_click_of_several() -> None:
    """With its negatives, and the last one of each user."""
    rows = [
        {"example_user": user, "example_time": time, "example_request": 10 * user + time, "click": click}
        for user in (1, 2)
        for time in range(5 - user)
        for click in (1, 0)
    ]
    kept = [(row["example_user"], row["example_time"], row["click"]) for row in thinned(rows, 3)]
    assert kept == [(1, 0, 1), (1, 0, 0), (1, 3, 1), (1, 3, 0), (2, 2, 1), (2, 2, 0)]


def test_negatives_from_anywhere() -> None:
    rows = [{"ad_item": 1, "click": click, "history_item": [2, 3], "noise_item": [4, 5]} for click in (1, 0)]
    shown, sampled = redrawn(rows, [7])
    assert (shown["ad_item"], sampled["ad_item"]) == (1, 7)
    assert (shown["noise_item"], sampled["history_item"]) == ([7, 7], [2, 3])
