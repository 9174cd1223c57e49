"""`specc score` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from specc_runtime import load
from specc_runtime.encode import DataError, Origin, load_encoders
from specc_runtime.score import score
from tests.cli.test_predict import alike, lines_of, run

SPEC = """model shop
table items = vocab(50, 4)
space user from request { id: vocab(50, 4), age: number(none, default = 30) }
space ad from candidate { item: items, price: number(standard, default = 5), brand: vocab(20, 4) }
space history[t <= 4] from request { item: items, gap: number(none, default = 0) }
predict click: binary = concat(user, ad, mean(history, over t)) |> mlp([8]) |> linear(1)
train { epochs = 2, batch = 64, optimizer = adam(lr = 0.05) }
"""
NEXT = """model next
space user from request { id: vocab(100, 4) }
space history[t <= 5] from request { item: vocab(50, 4) }
predict next: class(4) = concat(user, mean(history, over t)) |> linear(4)
predict stay: binary = user |> linear(1)
train { epochs = 1, batch = 64 }
"""


def trained(folder: Path, spec: str, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "spec.arec").write_text(spec)
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    done = run("train", folder / "spec.arec", folder / "train.parquet", "-o", folder / "model")
    assert done.exit_code == 0, done.output
    return folder / "model"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        history = [f"i{i}" for i in random.integers(0, 20, random.integers(0, 7))]
        item = int(random.integers(20))
        rows.append(
            {
                "user_id": f"u{random.integers(12)}",
                "user_age": float(random.integers(18, 80)),
                "ad_item": f"i{item}",
                "ad_price": float(random.exponential(10)),
                "ad_brand": int(item % 7),
                "history_item": history,
                "history_gap": [float(g) for g in random.integers(0, 9, len(history))],
                "click": float(item % 3 == 0),
            }
        )
    return trained(tmp_path_factory.mktemp("shop"), SPEC, rows)


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    rows = [
        {
            "user_id": f"u{n % 9}",
            "history_item": [f"i{i}" for i in random.integers(0, 20, 3)],
            "next": n % 4,
            "stay": float(n % 2),
        }
        for n in range(200)
    ]
    return trained(tmp_path_factory.mktemp("next"), NEXT, rows)


def scored(model: Path, folder: Path, requests: list[dict[str, Any]], *options: Any) -> list[dict[str, Any]]:
    path = folder / "requests.jsonl"
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    return lines_of(run("score", model, path, *options))


REQUEST = {
    "user_id": "u1",
    "user_age": 40,
    "history_item": ["i1", "i2"],
    "history_gap": [3, 1],
    "ad_item": ["i3", "i7", "i9"],
    "ad_price": [2.5, 9.0, 1.0],
    "ad_brand": [3, 0, 2],
}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in REQUEST.items() if key != name}


def test_a_model_without_candidates_has_a_score_a_request(following: Path, tmp_path: Path) -> None:
    asked = [{"user_id": "u1", "history_item": ["i1"]}, {"user_id": "new", "history_item": []}]
    found = scored(following, tmp_path, asked)
    assert [line["request"] for line in found] == [1, 2]
    for line in found:
        assert len(line["next"]) == 4
        assert sum(line["next"]) == pytest.approx(1)
        assert line["next_class"] == int(np.argmax(line["next"]))
        assert 0 < line["stay"] < 1
    best = scored(following, tmp_path, asked, "--top", 2)[0]
    order = sorted(range(4), key=lambda c: -found[0]["next"][c])[:2]
    assert best["next_class"] == order
    assert best["next"] == [found[0]["next"][c] for c in order]
    done = run("score", following, tmp_path / "requests.jsonl", "--top", "2", "--by", "stay")
    assert done.exit_code == 2
    assert "the model has no candidates" in done.output


def test_a_list_that_begins_with_null_shifts_nothing(shop: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    requests = [
        {**REQUEST, "user_id": f"u{n % 12}", "history_item": [f"i{i}" for i in random.integers(0, 20, 2)]}
        for n in range(600)
    ]
    wanted = scored(shop, tmp_path, requests)
    requests[0] = {**requests[0], "history_item": [None, "i2"], "ad_price": [None, 9.0, 1.0]}
    found = scored(shop, tmp_path, requests)
    assert alike(found[1:], wanted[1:])
    assert alike(found[:1], scored(shop, tmp_path, requests[:1]))


@pytest.mark.parametrize(
    ("name", "null", "written"),
    [
        ("user_age", None, 30),
        ("user_id", None, "nobody"),
        ("ad_price", [None] * 3, [5, 5, 5]),
        ("ad_brand", [None] * 3, [99, 99, 99]),
        ("history_gap", [None] * 2, [0, 0]),
    ],
)
def test_what_is_absent_is_null(shop: Path, tmp_path: Path, name: str, null: Any, written: Any) -> None:
    wanted = [line["click"] for line in scored(shop, tmp_path, [{**REQUEST, name: written}])]
    for request in (without(name), {**REQUEST, name: null}, {**REQUEST, name: None}):
        assert alike([line["click"] for line in scored(shop, tmp_path, [request])], wanted)
        # Also beside a request that has it.
        found = scored(shop, tmp_path, [request, REQUEST])
        assert alike([line["click"] for line in found[:1]], wanted)


def test_an_absent_history_is_empty(shop: Path, tmp_path: Path) -> None:
    bare = {k: v for k, v in REQUEST.items() if not k.startswith("history")}
    empty = {**bare, "history_item": [], "history_gap": []}
    assert scored(shop, tmp_path, [bare]) == scored(shop, tmp_path, [empty])


@pytest.mark.parametrize(
    ("name", "values", "item"), [("ad_price", [5, "abc", 5], 2), ("history_gap", [1, 2, "x"], 3)]
)
def test_a_value_that_is_no_number_has_a_place_in_its_list(
    shop: Path, tmp_path: Path, name: str, values: Any, item: int
) -> None:
    other = json.dumps(REQUEST)
    (tmp_path / "requests.jsonl").write_text(f"{other}\n{json.dumps({**REQUEST, name: values})}\n")
    done = run("score", shop, tmp_path / "requests.jsonl")
    assert done.exit_code == 1
    assert f"line 2, column `{name}`, item {item}: `" in done.stderr


def test_data_of_something_else_are_refused(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("what,cost\nx,1\n")
    done = run("score", shop, tmp_path / "other.csv")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "it has none of the model's columns: user_id, " in done.stderr
    assert "what it has is what, cost" in done.stderr


def test_a_setting_without_effect_is_refused(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(json.dumps(REQUEST) + "\n")
    done = run("score", shop, tmp_path / "requests.jsonl", "--seed", "3")
    assert done.exit_code == 2
    assert "--seed goes with --top" in done.stderr


def test_an_unknown_column_is_told(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(json.dumps(without("user_id") | {"usr_id": "u1"}) + "\n")
    done = run("score", shop, tmp_path / "requests.jsonl")
    assert done.exit_code == 0
    assert "no row has a column `user_id` (did you mean `usr_id`?): it is null everywhere" in done.stderr


def test_no_candidates_no_scores(shop: Path, tmp_path: Path) -> None:
    none = {**REQUEST, "ad_item": [], "ad_price": [], "ad_brand": []}
    found = scored(shop, tmp_path, [REQUEST, none, REQUEST])
    assert [len(line["click"]) for line in found] == [3, 0, 3]
    best = scored(shop, tmp_path, [none], "--top", 2)
    assert best == [{"request": 1, "candidate": [], "ad_item": [], "ad_brand": [], "click": []}]


def test_the_best_have_their_keys(shop: Path, tmp_path: Path) -> None:
    click = scored(shop, tmp_path, [REQUEST])[0]["click"]
    order = sorted(range(3), key=lambda place: -click[place])
    (best,) = scored(shop, tmp_path, [REQUEST], "--top", 2, "--keep", "user_id")
    assert best == {
        "request": 1,
        "user_id": "u1",
        "candidate": order[:2],
        "ad_item": [REQUEST["ad_item"][p] for p in order[:2]],
        "ad_brand": [REQUEST["ad_brand"][p] for p in order[:2]],
        "click": [click[p] for p in order[:2]],
    }


def test_equal_scores_prefer_no_place(shop: Path, tmp_path: Path) -> None:
    same = {**REQUEST, "ad_item": ["i3"] * 4, "ad_price": [1] * 4, "ad_brand": [3] * 4}
    first = [line["candidate"][0] for line in scored(shop, tmp_path, [same] * 200, "--top", 1)]
    assert {first.count(place) > 25 for place in range(4)} == {True}
    assert [line["candidate"][0] for line in scored(shop, tmp_path, [same] * 200, "--top", 1)] == first
    other = [line["candidate"][0] for line in scored(shop, tmp_path, [same] * 200, "--top", 1, "--seed", 7)]
    assert other != first


def test_any_format_and_stdin(shop: Path, tmp_path: Path) -> None:
    requests = [REQUEST, {**REQUEST, "user_id": "u5"}, {**REQUEST, "ad_price": [1.5, None, 2.5]}]
    wanted = scored(shop, tmp_path, requests)
    pq.write_table(pa.Table.from_pylist(requests), tmp_path / "requests.parquet")
    assert lines_of(run("score", shop, tmp_path / "requests.parquet")) == wanted
    text = (tmp_path / "requests.jsonl").read_text()
    assert lines_of(run("score", shop, "-", input=text)) == wanted
    done = run("score", shop, tmp_path / "requests.jsonl", "-o", tmp_path / "out.parquet")
    assert done.exit_code == 0, done.output
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == wanted


def test_faults_are_told_by_line_and_column_all_at_once(shop: Path, tmp_path: Path) -> None:
    requests = [dict(REQUEST) for _ in range(700)]
    requests[2]["ad_price"] = [1.0, 2.0]
    requests[3]["ad_brand"] = [1, 2, 3, 4]
    requests[600]["history_gap"] = [1.0]
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    done = run("score", shop, path, "-o", out)
    assert done.exit_code == 1
    for row, column in ((3, "ad_price"), (4, "ad_brand"), (601, "history_gap")):
        assert any(
            f"{path}, " in line and f" {row}" in line and f"column `{column}`" in line
            for line in done.output.splitlines()
        ), (row, column, done.output)
    assert "there are 2 candidates, and column `ad_item` has 3" in done.output
    assert out.read_text() == "before"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{nothing\n", "line 1"),
        ("[1, 2]\n", "line 1"),
        (json.dumps({**REQUEST, "ad_item": "i3"}) + "\n", "ad_item"),
        (json.dumps({**REQUEST, "ad_item": [["i3"]]}) + "\n", "ad_item"),
        (json.dumps({**REQUEST, "ad_item": {"a": 1}}) + "\n", "ad_item"),
        (json.dumps({"user_id": "u1", "ad_itm": ["i3"]}) + "\n", "`ad_item`: there is no such column"),
        ("", "no"),
    ],
)
def test_wrong_json_is_answered(shop: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "requests.jsonl").write_text(text)
    done = run("score", shop, tmp_path / "requests.jsonl")
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert "Traceback" not in done.output


def test_scores_that_are_not_finite_are_refused(shop: Path) -> None:
    model = load(shop)
    encoders = load_encoders(shop, model.manifest)
    with torch.no_grad():
        list(model.parameters())[-1].fill_(np.nan)
    with pytest.raises(DataError, match="row 5: the score `click` of candidate 1 is nan"):
        list(score(model, encoders, [(pa.Table.from_pylist([REQUEST]), Origin("r.jsonl", 5))]))
