"""The two real logs, where they are there: read whole, with what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from specc.cli import main

REPO = Path(__file__).parents[2]
LOGS = REPO.parent / "shared" / "data"
there = pytest.mark.skipif(not LOGS.is_dir(), reason="../shared/data is absent")


@there
def test_the_shops_log(tmp_path: Path) -> None:
    arguments = [
        str(REPO / "specs" / "dsin.arec"),
        str(LOGS / "taobao" / "UserBehavior.csv"),
        "-o",
        str(tmp_path),
    ]
    done = CliRunner().invoke(main, ["prepare", *arguments, "--from", "2017-11-25", "--utc-offset", "8"])
    assert done.exit_code == 0, done.output
    assert "UserBehavior.csv:84476: 100370,1968385,1875258,pv" in done.output
    assert "events before 2017-11-25 are left out" in done.output
    test = pq.read_table(tmp_path / "test.parquet")
    assert min(test["example_time"].to_pylist()) >= 1512230400  # 2017-12-03, where it was
    lists = test["visits_item"].to_pylist()
    assert max(len(sessions) for sessions in lists) == 5
    assert max(len(steps) for sessions in lists for steps in sessions) == 10


@there
def test_the_reviews(tmp_path: Path) -> None:
    folder = LOGS / "grocery"
    arguments = [str(REPO / "specs" / "din.arec"), str(folder / "train.csv"), "-o", str(tmp_path)]
    done = CliRunner().invoke(
        main, ["prepare", *arguments, "--items", str(folder / "item_meta.csv"), "--test", "0.1"]
    )
    assert done.exit_code == 0, done.output
    assert "121,892 events of 14,681 users" in done.output
