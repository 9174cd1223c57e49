"""`specc data` on the command line: what it finds, and that `specc train` agrees with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.test_predict import run

SPEC = """model shop
table items = vocab(30, 4)
space user from request { id: vocab(50, 4), age: number(none, default = 30), shelf: ids(5, 4) }
space ad from candidate { item: items, price: number(log1p) }
space history[t <= 5] from request { item: items, gap: bucket(log2, 8, 4) }
predict click: binary = concat(user, ad, mean(history, over t)) |> linear(1)
predict kind: class(3) = user |> linear(3)
train { epochs = 1, batch = 64 }
"""
Rows = list[dict[str, Any]]


def rows(count: int = 200, seed: int = 0) -> Rows:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        length = int(random.integers(0, 5))
        found.append(
            {
                "user_id": f"u{random.integers(12)}",
                "user_age": float(random.integers(18, 80)),
                "user_shelf": int(random.integers(5)),
                "ad_item": f"i{random.integers(20)}",
                "ad_price": float(np.round(random.exponential(10), 3)),
                "history_item": [f"i{i}" for i in random.integers(0, 20, length)],
                "history_gap": [float(g) for g in random.integers(1, 500, length)],
                "click": float(random.random() < 0.3),
                "kind": int(random.integers(3)),
            }
        )
    return found


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spec") / "shop.arec"
    path.write_text(SPEC)
    return path


def write(folder: Path, **parts: Rows) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        pq.write_table(pa.Table.from_pylist(part), folder / f"{name}.parquet", row_group_size=50)
    return folder


def report(spec: Path, *data: Any) -> dict[str, Any]:
    done = run("data", spec, *data, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (0 if found["trainable"] else 1), done.output
    return found


def said(found: dict[str, Any], level: str) -> list[tuple[str | None, str]]:
    return [(f["column"], f["what"]) for f in found["findings"] if f["level"] == level]


def test_good_data_has_nothing_to_say(spec: Path, tmp_path: Path) -> None:
    write(tmp_path, train=rows(), test=rows(50, seed=1))
    done = run("data", spec, tmp_path)
    assert done.exit_code == 0, done.output
    assert "train: 1 file, 200 rows" in done.output
    assert "test: 1 file, 50 rows" in done.output
    assert done.output.rstrip().endswith("it can be trained on")
    found = report(spec, tmp_path)
    assert not said(found, "fault")
    assert not said(found, "warning")
    columns = {c["column"]: c for c in found["parts"][0]["columns"]}
    wanted = rows()
    ages = [row["user_age"] for row in wanted]
    assert (columns["user_age"]["least"], columns["user_age"]["most"]) == (min(ages), max(ages))
    assert columns["user_age"]["mean"] == pytest.approx(sum(ages) / len(ages))
    users = [row["user_id"] for row in wanted]
    assert columns["user_id"]["distinct"] == len(set(users))
    top = columns["user_id"]["common"][0]
    assert top["count"] == users.count(top["key"]) == max(map(users.count, users))
    lengths = [len(row["history_item"]) for row in wanted]
    assert columns["history_item"]["lists"][0]["longest"] == max(lengths)


def change(row: int, **values: Any) -> Callable[[Rows], None]:
    return lambda part: part[row].update(values)


def everywhere(name: str, value: Callable[[dict[str, Any]], Any]) -> Callable[[Rows], None]:
    return lambda part: [row.update({name: value(row)}) for row in part] and None


def drop(name: str) -> Callable[[Rows], None]:
    return lambda part: [row.pop(name) for row in part] and None


def nulls(name: str) -> Callable[[Rows], None]:
    return lambda part: [row.update({name: None}) for row in part[::2]] and None


@pytest.mark.parametrize(
    ("fault", "level", "column", "words"),
    [
        (change(4, user_shelf=7), "fault", "user_shelf", "7 is not one of the ids 0 to 4"),
        (change(4, user_shelf=None), "fault", "user_shelf", "there is no value"),
        (change(4, click=2.0), "fault", "click", "2.0 is not a label"),
        (change(4, kind=3), "fault", "kind", "3 is not one of the classes"),
        (change(4, history_gap=[1.0] * 9), "fault", "history_gap", "positions of history.t"),
        (change(4, ad_price=float("inf")), "fault", "ad_price", "finite"),
        (drop("user_shelf"), "fault", "user_shelf", "no"),
        (drop("click"), "fault", "click", "no such column"),
        (drop("user_age"), "warning", "user_age", "every value is the default 30"),
        (nulls("user_age"), "note", "user_age", "50.0 % of the values are null: read as the default 30"),
        (nulls("user_id"), "note", "user_id", "50.0 % of the values are null: unknown values"),
        (everywhere("user_id", lambda row: "u"), "warning", "user_id", "one value in every row"),
        (everywhere("click", lambda row: 0.0), "warning", "click", "the label is the same in every row"),
        (everywhere("ad_price", lambda row: row["click"]), "warning", "ad_price", "gives away the label"),
        (everywhere("extra", lambda row: 1), "note", None, "not read by the spec: extra"),
        (
            everywhere("history_item", lambda row: ["i1"] * 10), "note", "history_item",
            "100.0 % of the lists are longer than 5 and cut (the longest has 10): 50.0 %",
        ),
        (lambda part: part.extend(rows()), "note", None, "50.0 % of the rows are there before"),
        (
            lambda part: [row.update(ad_item=f"x{n % 100}") for n, row in enumerate(part)] and None,
            "warning", "ad_item, history_item", "keys, and the vocabulary has room for 29",
        ),
    ],
)  # fmt: skip
def test_each_mismatch_is_named(
    spec: Path, tmp_path: Path, fault: Callable[[Rows], None], level: str, column: str | None, words: str
) -> None:
    part = rows()
    fault(part)
    if words.startswith("100.0 %"):
        for row in part:
            row["history_gap"] = [1.0] * 10
    found = report(spec, write(tmp_path, train=part))
    assert any(c == column and words in what for c, what in said(found, level)), found["findings"]


def test_all_of_them_at_once(spec: Path, tmp_path: Path) -> None:
    part = rows()
    for fault in (change(4, user_shelf=7), change(160, click=3.0), drop("ad_price")):
        fault(part)
    done = run("data", spec, write(tmp_path, train=part))
    assert done.exit_code == 1
    for words in ("7 is not one of the ids", "3.0 is not a label", "`ad_price`"):
        assert words in done.output
    assert "`specc train` refuses it" in done.output


def test_a_missing_column_has_a_near_name(spec: Path, tmp_path: Path) -> None:
    part = [{("user_agee" if k == "user_age" else k): v for k, v in row.items()} for row in rows()]
    done = run("data", spec, write(tmp_path, train=part))
    assert "did you mean `user_agee`?" in done.output


def test_an_absent_list_beside_others_is_not_called_null(spec: Path, tmp_path: Path) -> None:
    part = rows()
    drop("history_gap")(part)
    done = run("train", spec, write(tmp_path, train=part), "-o", tmp_path / "model")
    assert done.exit_code == 1
    assert "error: " in done.output
    assert "history_gap" in done.output
    assert "null everywhere" not in done.output


def test_parts_that_share_examples(spec: Path, tmp_path: Path) -> None:
    part = rows()
    found = report(spec, write(tmp_path, train=part, test=rows(60, seed=1) + part[:20]))
    assert (None, "25.0 % of the rows are in train, too") in said(found, "warning")


def test_keys_that_the_training_part_lacks(spec: Path, tmp_path: Path) -> None:
    test = [{**row, "ad_item": "new"} if n % 4 == 0 else row for n, row in enumerate(rows(40, seed=1))]
    found = report(spec, write(tmp_path, train=rows(), test=test))
    assert ("ad_item", "25.0 % of the values are not in train, and so unknown") in said(found, "note")


def test_keys_that_a_trained_model_does_not_know(spec: Path, tmp_path: Path) -> None:
    write(tmp_path, train=rows())
    done = run("train", spec, tmp_path / "train.parquet", "-o", tmp_path / "model")
    assert done.exit_code == 0, done.output
    later = [{**row, "user_id": "new"} if n < 30 else row for n, row in enumerate(rows(40, seed=1))]
    pq.write_table(pa.Table.from_pylist(later), tmp_path / "later.parquet")
    found = report(tmp_path / "model", tmp_path / "later.parquet")
    assert ("user_id", "75.0 % of the values are unknown to the trained model") in said(found, "warning")


def test_a_sample_is_called_one(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specc.cli.data.SAMPLE", 120)
    part = rows()
    change(190, click=3.0)(part)
    done = run("data", spec, write(tmp_path, train=part))
    assert done.exit_code == 0
    assert "the first 120 rows (--all reads the rest)" in done.output
    done = run("data", spec, tmp_path, "--all")
    assert done.exit_code == 1
    assert "200 rows" in done.output


def test_the_page_stands_alone(spec: Path, tmp_path: Path) -> None:
    part = rows()
    change(4, user_id="<script>")(part)
    done = run("data", spec, write(tmp_path / "data", train=part), "--html", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") >= 9  # a picture a column
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "user_id (user.id)" in page
    assert "history_item: lengths" in page


def test_parts_that_overlap_in_time(spec: Path, tmp_path: Path) -> None:
    def timed(part: Rows, start: int) -> Rows:
        return [{**row, "timestamp": start + n} for n, row in enumerate(part)]

    train, test = timed(rows(), 1_600_000_000), timed(rows(50, seed=1), 1_600_000_100)
    found = report(spec, write(tmp_path / "mixed", train=train, test=test))
    wanted = "it begins at 2020-09-13 12:28:20, and train ends at 2020-09-13 12:29:59"
    assert ("timestamp", wanted) in said(found, "warning")
    found = report(spec, write(tmp_path / "apart", train=train, test=timed(rows(50, seed=1), 1_600_000_200)))
    assert not said(found, "warning")


def test_labels_by_name_and_labels_that_are_missing(spec: Path, tmp_path: Path) -> None:
    part = [{**row, "kind": ["cup", "pan", None][row["kind"]]} for row in rows()]
    found = report(spec, write(tmp_path / "names", train=part))
    assert not said(found, "fault")
    missing = [what for column, what in said(found, "note") if column == "kind"]
    share = sum(row["kind"] is None for row in part) / len(part)
    assert missing == [f"{100 * share:.1f} % of the rows have no label, and are left out of it"]
    part = [{**row, "kind": f"k{n % 4}"} for n, row in enumerate(rows())]
    found = report(spec, write(tmp_path / "many", train=part))
    assert any(c == "kind" and "`class(3)` has 3 classes" in what for c, what in said(found, "fault"))
    part = [{**row, "click": None} for row in rows()]
    found = report(spec, write(tmp_path / "none", train=part))
    assert ("click", "no example has a label") in [(c, w.partition(",")[0]) for c, w in said(found, "fault")]
