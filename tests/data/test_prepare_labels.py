"""Labels are read where the log has them; what is sampled, and what is said of it, was known by then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from specc.prepare import Prepared, PrepareError, Settings, prepare
from specc_runtime.encode import DataError
from tests.data.specs import manifest

SHOWN = """model shown
table items = vocab(100, 4)
space user from request { id: vocab(100, 4), device: vocab(10, 4) }
space ad from candidate { item: items, price: number(log1p) }
space history[t <= 5] from request { item: items }
space unclicked[u <= 5] from request { item: items }
predict label: binary = concat(user, ad, mean(history, over t), mean(unclicked, over u)) |> linear(1)
"""
ADS = """model ads
space user from request { id: vocab(10, 4) }
space ad from candidate {
  item: vocab(10, 4), cost: number(none, default = 0), position: ids(10, 4, default = 9)
}
predict click: binary = concat(user, ad) |> linear(1)
"""
IMPRESSIONS = """user_id,item_id,timestamp,label,price,device
u1,i1,1600000000,0,1.5,ios
u1,i2,1600000100,1,2.5,ios
u2,i1,1600000200,0,1.0,web
u1,i3,1600100000,0,1.0,ios
u2,i2,1600100100,1,1.0,web
u1,i1,1600190200,0,0.5,ios
"""


def made(text: str, folder: Path, log: str, **settings: Any) -> tuple[Prepared, list[dict[str, Any]]]:
    """What was done, and all examples."""
    (folder / "log.csv").write_text(log)
    done = prepare(manifest(text), folder / "log.csv", folder / "out", Settings(**settings))
    return done, [row for part in done.files for row in pq.read_table(part.path).to_pylist()]


def test_impressions_keep_their_labels(tmp_path: Path) -> None:
    done, rows = made(SHOWN, tmp_path, IMPRESSIONS)
    assert done.labels == "labels are read from the log's column `label` (label)"
    assert [(r["user_id"], r["ad_item"], r["label"], r["ad_price"]) for r in rows] == [
        ("u1", "i1", 0, 1.5), ("u1", "i2", 1, 2.5), ("u2", "i1", 0, 1.0),
        ("u1", "i3", 0, 1.0), ("u2", "i2", 1, 1.0), ("u1", "i1", 0, 0.5),
    ]  # fmt: skip
    # Histories are of clicked items, and what was shown in vain stands beside them.
    assert (rows[-1]["history_item"], rows[-1]["unclicked_item"]) == (["i2"], ["i1", "i3"])
    _, rows = made(SHOWN, tmp_path, IMPRESSIONS, spaces={"history": {"events": "history"}})
    assert rows[-1]["history_item"] == ["i1", "i2", "i3"]
    assert made(SHOWN, tmp_path, IMPRESSIONS, negatives=0)[1] == made(SHOWN, tmp_path, IMPRESSIONS)[1]
    with pytest.raises(PrepareError, match="labels are read from column `label`, so that nothing is sampled"):
        made(SHOWN, tmp_path, IMPRESSIONS, negatives=2)


def test_null_labels_are_no_examples(tmp_path: Path) -> None:
    log = IMPRESSIONS.replace("1600000200,0", "1600000200,").replace("1600100000,0", "1600100000,false")
    _, rows = made(SHOWN, tmp_path, log)
    assert [r["label"] for r in rows] == [0, 1, 0, 1, 0]


RATINGS = """userId,movieId,rating,timestamp
1,10,4.5,1600000000
1,11,2,1600000100
2,10,3.5,1600100000
2,11,1,1600190000
"""


def test_ratings_are_read_and_may_be_compared(tmp_path: Path) -> None:
    spaces = "space user from request { id: vocab(9, 4) }\nspace ad from candidate { item: vocab(9, 4) }\n"
    spaces += "space history[t <= 2] from request { item: vocab(9, 4) }\n"
    spaces += "joined = concat(user, ad, mean(history, over t))\n"
    _, rows = made(f"model r\n{spaces}predict rating: real = joined |> linear(1)\n", tmp_path, RATINGS)
    assert [r["rating"] for r in rows] == [4.5, 2, 3.5, 1]
    liked = f'model r\n{spaces}predict like: binary from "rating" >= 3.5 = joined |> linear(1)\n'
    done, rows = made(liked, tmp_path, RATINGS.replace("2,11", "1,12"))
    assert [r["rating"] for r in rows] == [4.5, 2, 3.5, 1]
    assert rows[-1]["history_item"] == [10]
    assert [f.positives for f in done.files] == [2, 0]
    with pytest.raises(
        PrepareError, match=r"`rating` is binary, and its labels in column `rating` go from 1 to 4\.5"
    ):
        made(liked.replace('like: binary from "rating" >= 3.5', "rating: binary"), tmp_path, RATINGS)


def test_two_predictions_do_not_write_one_column(tmp_path: Path) -> None:
    text = SHOWN + 'predict other: binary from "label" = mean(history, over t) |> linear(1)\n'
    assert made(text, tmp_path, IMPRESSIONS)[1][1]["label"] == 1
    with pytest.raises(PrepareError, match="have their labels in one column, `label`"):
        made(text, tmp_path, IMPRESSIONS, labels={"other": {"how": "made"}})
    leak = SHOWN.replace("price: number(log1p)", 'price: number(log1p) from "label"')
    with pytest.raises(PrepareError, match="the model would be given its label"):
        made(leak, tmp_path, IMPRESSIONS)


def ads(count: int = 60) -> str:
    lines = [f"u{n % 4},i{n % 6},{1_600_000_000 + 7200 * n},{100 + n},{n % 5}" for n in range(count)]
    return "\n".join(["user_id,item_id,timestamp,cost,position", *lines, ""])


def test_attributes_are_as_of_the_event(tmp_path: Path) -> None:
    done, rows = made(ADS, tmp_path, ads(), negatives=2)
    assert "labels are made (click): events are positive, with 2 sampled items for each" in done.labels
    for row in rows:
        n = (row["example_time"] - 1_600_000_000) // 7200
        item = int(row["ad_item"][1:])
        last = n if row["click"] else max(m for m in range(n) if m % 6 == item)
        assert (row["ad_cost"], row["ad_position"]) == (100 + last, last % 5)
    _, rows = made(ADS, tmp_path, ads(), negatives=2, impression=("position",))
    assert all((row["ad_position"] is None) == (row["click"] == 0) for row in rows)


def test_no_sample_is_of_the_future(tmp_path: Path) -> None:
    lines = [f"u{n % 4},{n},{1_600_000_000 + 7200 * n}" for n in range(60)]
    text = """model m
table items = vocab(100, 4)
space ad from candidate { item: items }
space history[t <= 5] from request { item: items }
space noise[like t] from request { item: items }
predict click: binary = concat(ad, mean(history, over t), mean(noise, over t)) |> linear(1)
"""
    for sampling in ("uniform", "popularity"):
        log = "\n".join(["user_id,item_id,timestamp", *lines, ""])
        _, rows = made(text, tmp_path, log, sampling=sampling, negatives=3)
        for row in rows:
            n = (row["example_time"] - 1_600_000_000) // 7200
            assert row["ad_item"] <= n
            assert all(a <= b for a, b in zip(row["noise_item"], row["history_item"], strict=True))


def test_a_second_axis_is_what_is_said(tmp_path: Path) -> None:
    text = """model m
table items = vocab(100, 4)
space ad from candidate { item: items }
space past[shelf <= 2, t <= 2] from request { item: items }
predict click: binary = concat(ad, mean(mean(past, over t), over shelf)) |> linear(1)
"""
    lines = [f"u,{n},{'xyz'[n % 3]},{1_600_000_000 + 86_400 * n}" for n in range(9)]
    log = "\n".join(["user_id,item_id,category,timestamp", *lines, ""])
    with pytest.raises(
        PrepareError, match=r"not clear what its axis `shelf` is; make it sessions.*--axis past=category"
    ):
        made(text, tmp_path, log)
    _, rows = made(text, tmp_path, log, spaces={"past": {"by": "category"}})
    assert next(r for r in rows if r["ad_item"] == 8)["past_item"] == [[3, 6], [4, 7]]
    _, rows = made(text, tmp_path, log, spaces={"past": {"by": "idle"}})
    assert next(r for r in rows if r["ad_item"] == 8)["past_item"] == [[6], [7]]
    done, rows = made(text.replace("shelf", "category"), tmp_path, log)
    assert next(r for r in rows if r["ad_item"] == 8)["past_item"] == [[3, 6], [4, 7]]
    assert done.settings["spaces"]["past"]["by"] == "category"


SLATE = """model s
space user from request { id: vocab(9, 4) }
space ad from candidate { item: vocab(9, 4), price: number(none, default = 0) }
space history[t <= 2] from request { item: vocab(9, 4) }
predict click: binary = concat(user, ad, mean(history, over t)) |> linear(1)
"""
# Two slates of one user at one time, one of another user then, and earlier a click.
SLATES = """user_id,impression_id,item_id,price,click,timestamp
u1,a,1,0.5,1,1600000000
u1,b,1,1.5,0,1600100000
u1,c,2,2.5,1,1600100000
u2,d,7,7.5,1,1600100000
u1,b,3,3.5,1,1600100000
u1,c,4,4.5,0,1600100000
u1,b,5,5.5,0,1600100000
"""


def test_rows_that_were_shown_together_are_one_request(tmp_path: Path) -> None:
    def requests(log: str, **settings: Any) -> list[Any]:
        (tmp_path / "log.csv").write_text(log)
        done = prepare(
            manifest(SLATE), tmp_path / "log.csv", tmp_path / "o", Settings(test="0.5", **settings), True
        )
        told = dict(done.mapping)["requests"]
        assert ("`impression_id`" in told) == ("impression_id" in log)
        rows = pq.read_table(tmp_path / "o" / "requests.parquet").to_pylist()
        examples = pq.read_table(tmp_path / "o" / "test.parquet").to_pylist()
        ids = {
            (r["example_request"], i, p, c)
            for r in rows
            for i, p, c in zip(r["ad_item"], r["ad_price"], r["click"], strict=True)
        }
        assert ids == {(e["example_request"], e["ad_item"], e["ad_price"], e["click"]) for e in examples}
        assert done.files[-1].requests == len(rows)
        return [
            {(r["user_id"], tuple(r["history_item"])): dict(zip(r["ad_item"], r["click"], strict=True))}
            for r in rows
        ]

    one, other, third = {1: 0.0, 3: 1.0, 5: 0.0}, {2: 1.0, 4: 0.0}, {("u2", ()): {7: 1.0}}
    found = requests(SLATES)
    assert len(found) == 3
    assert {("u1", (1,)): one} in found
    assert {("u1", (1,)): other} in found
    assert third in found
    # Without a column that says so, what a user was shown at one time.
    found = requests(SLATES.replace("impression_id", "comment"))
    assert {("u1", (1,)): {**one, **other}} in found
    assert third in found
    assert len(found) == 2


def test_a_column_that_says_what_was_shown_together_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match="--request: the log has no column `impresion_id`; did you mean"):
        made(SLATE, tmp_path, SLATES, request="impresion_id")
    with pytest.raises(PrepareError, match="only rows with labels are shown together"):
        made(SLATE.replace("click", "liked"), tmp_path, SLATES, request="impression_id")


def test_what_samples_lack_is_refused_or_said(tmp_path: Path) -> None:
    bare = re.sub(r", default = \d", "", ADS)
    with pytest.raises(PrepareError, match=r"`ad.position`: `position` is null for sampled items .*default"):
        made(bare, tmp_path, ads(), impression=("position",))
    done, _ = made(ADS, tmp_path, ads(), impression=("position",))
    assert not any("takes no null" in note for note in done.notes)
    assert dict(done.mapping)["ad.cost"] == "cost; of a sampled item as last known before"
    assert dict(done.mapping)["ad.position"] == "position, null for a sampled item"
    lines = ads().splitlines()
    lines[1:13] = [",".join([*line.split(",")[:3], "", "1"]) for line in lines[1:13]]
    done, rows = made(bare, tmp_path, "\n".join(lines) + "\n")
    absent = sum(row["ad_cost"] is None for row in rows)
    assert absent > 12
    assert any(f"`ad.cost` is null {absent} times, and takes no null" in note for note in done.notes)


def test_what_takes_more_memory_than_said_is_told(tmp_path: Path) -> None:
    text = SLATE.replace("price: number(none, default = 0)", "look: vector(64)")
    rows = [
        {
            "user": f"u{n % 9}",
            "item": n % 7,
            "time": 1_600_000_000 + 999 * n,
            "look": [n / 7 + k for k in range(64)],
        }
        for n in range(4000)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    for memory, told in (("1MB", True), ("2GB", False)):
        done = prepare(manifest(text), tmp_path / "log.parquet", tmp_path / "o", Settings(), memory=memory)
        assert any("the different values of `look` take" in note for note in done.notes) == told


def test_odd_labels_are_told(tmp_path: Path) -> None:
    done, _ = made(SHOWN, tmp_path, IMPRESSIONS.replace("1600000200,0", "1600000200,"))
    assert "1 of 6 events have no `label`, the label of `label`" in done.notes
    done, _ = made(SHOWN, tmp_path, re.sub(r"(,16\d+),0", r"\1,1", IMPRESSIONS))
    assert "warning: every label of `label` in column `label` is 1" in done.notes
    words = re.sub(r"(,16\d+),(\d)", lambda m: m[1] + (",yes" if m[2] == "1" else ",no"), IMPRESSIONS)
    with pytest.raises(DataError, match=r'`binary from "label" == "no"`'):
        made(SHOWN, tmp_path, words)
    _, rows = made(SHOWN.replace("label: binary", 'label: binary from "label" == "yes"'), tmp_path, words)
    assert [row["label"] for row in rows] == ["no", "yes", "no", "no", "yes", "no"]


def test_which_column_is_what_is_told(tmp_path: Path) -> None:
    log = (
        SLATES.replace("timestamp", "datetime").replace("user_id", "date,uid").replace("\nu", "\n20200913,u")
    )
    done, _ = made(SLATE, tmp_path, log)
    assert dict(done.mapping)["user.id"] == "user, column uid"
    assert any(
        "the time is column `datetime`, and not `date`; if it is not, --columns time=date" in n
        for n in done.notes
    )
    with pytest.raises(PrepareError, match="--columns user=COLUMN,item=COLUMN,time=COLUMN"):
        made(SLATE, tmp_path, "label\tI1\tC1\n1\t2\tx\n")
