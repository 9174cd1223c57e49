"""A choice among the candidates of a request: rows of data are requests, from files to metrics and scores."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from specc.cli import main
from specc.driver import load
from specc.interpret.compare import differences
from specc.testing import random_batch
from specc_runtime import Batch, DataError, Examples, Stream, encoded
from specc_runtime import load as load_model
from specc_runtime.data import columns_of
from specc_runtime.encode import load_encoders
from specc_runtime.train import evaluate_files
from tests.oracle.subjects import compiled

SPEC = """model slate
table items = vocab(50, 4)
table words = vocab(40, 4)
space user from request { id: vocab(20, 4) from "user" }
space ad from candidate {
  item: items(split = "|") from "item"
  tags: bag(words, sum, split = ["|", ","]) from "tags"
  price: number(none, default = 0, split = "|") from "price"
}
space history[t <= 5] from request { item: items(split = " ") from "history" }
space title[w <= 3] from candidate { word: words(split = ["|", " "]) from "title" }
score = dot(concat(user, mean(history, over t)) |> linear(4), concat(ad, max(title, over w)) |> linear(4))
predict taken: choice(among = request) = score
output item_vector = ad.item
train { optimizer = adam(lr = 0.05), batch = 16, epochs = 3 }
"""
COLUMNS = ("item", "tags", "price", "title", "taken")


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Requests in which a user takes what is like the user; some take nothing, and some two things."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        user, many = draw.randrange(9), draw.randrange(1, 5)
        items = [draw.randrange(30) for _ in range(many)]
        found.append({
            "user": f"u{user}",
            "item": [f"i{i}" for i in items],
            "tags": [[f"g{i % 3}"] * draw.randrange(3) for i in items],
            "price": [i / 8 for i in items],
            "title": [[f"w{i % 3}", f"w{i % 7}"][: draw.randrange(3)] for i in items],
            "history": [f"i{draw.randrange(30)}" for _ in range(draw.randrange(4))],
            "taken": [int(i % 3 == user % 3) for i in items],
        })  # fmt: skip
    return found


def run(*args: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def lines(path: Path, given: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slate")
    (folder / "slate.arec").write_text(SPEC, encoding="utf-8")
    data, valid = lines(folder / "train.jsonl", rows(240)), lines(folder / "valid.jsonl", rows(80, 1))
    told = run("train", folder / "slate.arec", data, "--valid", valid, "-o", folder / "model").stderr
    none = sum(not any(row["taken"]) for row in rows(240))
    assert f"taken: in {none} of 240 requests no candidate was chosen: they ask nothing" in told
    return folder


# ------------------------------------------------------------------------ the loss


def slow_loss(scores: Sequence[float], labels: Sequence[float], candidates: Sequence[int]) -> float:
    """The mean over requests with something chosen of minus the logs of the chosen ones' shares."""
    found, at = [], 0
    for many in candidates:
        own = [(s, y) for s, y in zip(scores[at : at + many], labels[at : at + many], strict=True) if y == y]
        at += many
        total = sum(y for _, y in own)
        if total > 0:
            whole = sum(math.exp(s) for s, _ in own)
            found.append(sum(-y / total * math.log(math.exp(s) / whole) for s, y in own))
    return sum(found) / len(found) if found else 0.0


@pytest.mark.parametrize("passes", ["none", "default"])
def test_the_loss_is_what_it_says(tmp_path: Path, passes: str) -> None:
    """Several that were chosen, shares, missing labels, requests without candidates or without a choice."""
    (tmp_path / "slate.arec").write_text(SPEC, encoding="utf-8")
    graph, _ = load(tmp_path / "slate.arec")
    assert graph is not None
    model = compiled(graph, passes)
    for seed in range(6):
        batch = random_batch(model.manifest, 5, seed, candidates=True, longest=3, unlabelled=0.2)
        if seed % 2:
            labels = batch.labels["taken"] * torch.linspace(0.1, 1, len(batch.labels["taken"]))
            batch = Batch(batch.schema, 5, batch.fields, batch.lengths, {"taken": labels}, batch.candidates)
        assert batch.candidates is not None
        labels = batch.labels["taken"].tolist()
        expected = slow_loss(model(batch)["taken"].tolist(), labels, batch.candidates.tolist())
        assert model.losses(batch)["taken"].item() == pytest.approx(expected, abs=1e-12)
        assert differences(graph, model, batch) == []


def test_weights_count_by_candidate(tmp_path: Path) -> None:
    text = SPEC.replace("among = request", "among = request, weight = 1 + ad.price")
    (tmp_path / "slate.arec").write_text(text, encoding="utf-8")
    graph, _ = load(tmp_path / "slate.arec")
    assert graph is not None
    model = compiled(graph, "default")
    batch = random_batch(model.manifest, 4, 2, candidates=True, empty=0)
    assert batch.candidates is not None
    found, at = [], 0
    scores, labels = model(batch)["taken"], batch.labels["taken"].double()
    weight = 1 + batch.column("ad.price").double().squeeze(1)
    for many in batch.candidates.tolist():
        own = slice(at, at + many)
        at += many
        if labels[own].sum() > 0:
            share = labels[own] / labels[own].sum()
            found.append((-share * weight[own] * torch.log_softmax(scores[own], 0)).sum())
    assert found
    torch.testing.assert_close(model.losses(batch)["taken"], torch.stack(found).mean())


# ------------------------------------------------------------------------ reading


def texts(row: Mapping[str, Any]) -> list[str]:
    def flat(name: str, value: Any) -> str:
        if not isinstance(value, list):
            return str(value)
        inner = {"tags": ",", "title": " "}.get(name)
        return (" " if name == "history" else "|").join(inner.join(v) if inner else str(v) for v in value)

    return [flat(name, value) for name, value in row.items()]


def of_files(folder: Path, given: list[dict[str, Any]]) -> dict[str, Path]:
    table = pa.Table.from_pylist(given)
    pq.write_table(table, folder / "rows.parquet")
    feather.write_feather(table, folder / "rows.arrow")
    lines(folder / "rows.jsonl", given)
    with open(folder / "rows.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([list(given[0]), *map(texts, given)])
    return {kind: folder / f"rows.{kind}" for kind in ("parquet", "arrow", "jsonl", "csv")}


def alike(first: Batch, second: Batch) -> None:
    assert first.candidates is not None
    assert second.candidates is not None
    assert torch.equal(first.candidates, second.candidates)
    assert torch.equal(first.labels["taken"], second.labels["taken"])
    for path, mine in first.fields.items():
        theirs: Any = second.fields[path]
        pairs = [(mine, theirs)] if isinstance(mine, Tensor) else [
            (mine.values, theirs.values), (mine.lengths, theirs.lengths)]  # fmt: skip
        assert all(torch.equal(a, b) for a, b in pairs), path
    assert all(torch.equal(x, second.lengths[axis]) for axis, x in first.lengths.items())


def test_every_format_gives_the_same_batch(trained: Path, tmp_path: Path) -> None:
    given = rows(12, 3)
    model = load_model(trained / "model")
    encoders = load_encoders(trained / "model", model.manifest)
    wanted = encoded(model, given)
    assert wanted.candidates is not None
    assert wanted.candidates.tolist() == [len(row["item"]) for row in given]
    assert wanted.labels["taken"].tolist() == [y for row in given for y in row["taken"]]
    for file in of_files(tmp_path, given).values():
        examples = Examples([file], columns_of(model.manifest))
        (batch,) = Stream(examples, encoders, batch=100, shuffle=False)
        alike(wanted, batch)
    columns = {name: [row[name] for row in given] for name in given[0]}
    for data in (columns, pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns)):
        alike(wanted, encoded(model, data))
    # Batches of requests, shuffled and cut anyhow, hold every candidate once.
    examples = Examples.of(given, columns_of(model.manifest))
    shuffled = list(Stream(examples, encoders, batch=5, seed=3))
    assert sum(int(batch.candidates.sum()) for batch in shuffled if batch.candidates is not None) == len(
        wanted.labels["taken"]
    )
    assert sorted(torch.cat([b.column("ad.price") for b in shuffled]).flatten().tolist()) == sorted(
        wanted.column("ad.price").flatten().tolist()
    )


def test_faults_are_told_all_at_once(trained: Path, tmp_path: Path) -> None:
    given = rows(6, 4)
    given[0]["price"] = [*given[0]["price"], 1.0]
    given[1]["taken"] = [*given[1]["taken"], 1]
    for name in COLUMNS:
        given[3][name] = []
    given[4]["title"] = given[4]["title"][1:]
    model = load_model(trained / "model")
    with pytest.raises(DataError) as caught:
        encoded(model, given)
    said = str(caught.value)
    many = [len(row["item"]) for row in given]
    assert f"data, row 1, column `price`: there are {many[0] + 1} candidates, and column `item`" in said
    assert f"data, row 2, column `taken`: there are {many[1] + 1} candidates, and column `item`" in said
    assert "data, row 4, column `item`: the request has no candidates" in said
    assert "data, row 5, column `title`" in said
    # A file says its lines, and `specc data` tells of the same and of more.
    path = lines(tmp_path / "bad.jsonl", given)
    refused = run("train", trained / "slate.arec", path, "-o", tmp_path / "model", code=1).stderr
    assert "bad.jsonl, line 2, column `taken`" in refused
    assert not (tmp_path / "model").exists()
    found = run("data", trained / "slate.arec", path, code=1).stdout
    assert found.count("fault:") == 4


def test_what_asks_nothing_is_counted_and_refused_where_it_is_all(trained: Path, tmp_path: Path) -> None:
    given = [{**row, "taken": None} if n % 3 == 0 else row for n, row in enumerate(rows(30, 5))]
    batch = encoded(load_model(trained / "model"), given)
    assert int(batch.labels["taken"].isnan().sum()) == sum(len(row["item"]) for row in given[::3])
    none = sum(not any(row["taken"] or []) for row in given)
    found = run("data", trained / "slate.arec", lines(tmp_path / "some.jsonl", given)).stdout
    assert f"in {100 * none / 30:.1f} % of the requests no candidate was chosen" in found
    path = lines(tmp_path / "none.jsonl", [{**row, "taken": [0] * len(row["item"])} for row in given])
    refused = run("train", trained / "slate.arec", path, "-o", tmp_path / "model", code=1).stderr
    assert "column `taken`: no request has a candidate that was chosen" in refused


# ------------------------------------------------------------------------ metrics, predictions, scores


def test_metrics_are_of_requests(trained: Path) -> None:
    model, valid = load_model(trained / "model"), trained / "valid.jsonl"
    found = evaluate_files(model, trained / "model", [valid])
    given = rows(80, 1)
    assert (found.requests, found.examples) == (80, sum(len(row["item"]) for row in given))
    results = found.results["taken"]
    scores = model(encoded(model, given))["taken"].double()
    counts = [len(row["item"]) for row in given]
    labels = [float(y) for row in given for y in row["taken"]]
    assert results["model"]["logloss"] == pytest.approx(slow_loss(scores.tolist(), labels, counts))
    chance = [math.log(len(row["item"])) for row in given if any(row["taken"])]
    assert results["mean"]["logloss"] == pytest.approx(sum(chance) / len(chance))
    assert results["model"]["logloss"] < results["mean"]["logloss"]
    places = []
    for own, row in zip(scores.split(counts), given, strict=True):
        if any(row["taken"]):
            ranked = np.argsort(-own.detach().numpy(), kind="stable")
            places.append(1 + next(n for n, i in enumerate(ranked) if row["taken"][i]))
    assert results["model"]["mrr"] == pytest.approx(sum(1 / p for p in places) / len(places), rel=1e-6)
    assert results["model"]["mrr"] > max(0.8, results["popularity"]["mrr"])
    sliced = json.loads(run("evaluate", trained / "model", valid, "--by", "ad.item", "--by", "user.id",
                            "--group", "user.id", "--json").stdout)  # fmt: skip
    assert sum(p["counts"]["taken"]["examples"] for p in sliced["by"]["ad.item"].values()) == len(labels)
    assert sliced["counts"]["taken"]["groups"] == len({row["user"] for row in given})


def test_predictions_and_scores_are_lists(trained: Path, tmp_path: Path) -> None:
    valid, model = trained / "valid.jsonl", trained / "model"
    run("predict", model, valid, "-o", tmp_path / "found.parquet")
    found = pq.read_table(tmp_path / "found.parquet").to_pylist()
    scored = [json.loads(line) for line in run("score", model, valid).stdout.splitlines()]
    given = rows(80, 1)
    assert [len(row["taken"]) for row in found] == [len(row["item"]) for row in given]
    assert [row["item"] for row in found] == [row["item"] for row in given]
    for one, other in zip(found, scored, strict=True):
        assert one["taken"] == pytest.approx(other["taken"])
    # A catalogue has rows of single candidates, and what looks like several is refused.
    (tmp_path / "items.csv").write_text("item\ni1\ni2\n", encoding="utf-8")
    assert (
        len(run("predict", model, tmp_path / "items.csv", "--only", "item_vector").stdout.splitlines()) == 2
    )
    (tmp_path / "items.csv").write_text("item\ni1\ni2|i3\n", encoding="utf-8")
    refused = run("predict", model, tmp_path / "items.csv", "--only", "item_vector", code=1).stderr
    assert "items.csv, line 3, column `item`: there are several candidates, with `|` between them" in refused


def test_training_goes_on_where_it_stopped(trained: Path, tmp_path: Path) -> None:
    data, spec = trained / "train.jsonl", trained / "slate.arec"
    run("train", spec, data, "-o", tmp_path / "whole", "--epochs", "2")
    run("train", spec, data, "-o", tmp_path / "part", "--epochs", "1", "--every", "5")
    run("train", spec, data, "-o", tmp_path / "part", "--epochs", "2", "--resume")
    whole, part = (load_model(tmp_path / name).state_dict() for name in ("whole", "part"))
    assert all(torch.equal(value, part[path]) for path, value in whole.items())


def test_an_event_log_becomes_requests(tmp_path: Path) -> None:
    """A positive event with its negatives is one, in any order; so is what was shown at one time."""
    text = """model log
table items = vocab(50, 4)
space user from request { id: vocab(20, 4) }
space ad from candidate { item: items }
space history[t <= 5] from request { item: items }
predict taken: choice(among = request) = dot(user.id, ad.item) + dot(ad.item, mean(history.item, over t))
train { epochs = 1 }
"""
    spec = tmp_path / "log.arec"
    spec.write_text(text, encoding="utf-8")
    when = 1_700_000_000
    events = [f"u{i % 5},i{i * 7 % 23},{when + 1000 * i}" for i in range(200)]
    shown = [f"u{i % 5},i{i * k % 23},{when + 1000 * i},{int(k == 3)}" for i in range(100) for k in (2, 3, 5)]
    for name, header, log in (("made", "", events), ("read", ",taken", shown)):
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join([f"user,item,time{header}", *log]) + "\n", encoding="utf-8")
        negatives = ("--negatives", "2") if name == "made" else ()
        said = run("prepare", spec, path, "-o", tmp_path / name, "--test", "0.2", *negatives).stdout
        assert " requests with " in said
        found = pq.read_table(tmp_path / name / "train.parquet").to_pylist()
        assert max(len(row["ad_item"]) for row in found) == 3
        assert all(len(row["ad_item"]) == len(row["taken"]) for row in found)
        assert all(sum(row["taken"]) == 1 for row in found)
        assert len({row["taken"].index(1) for row in found}) == 3
        planned = run("plan", spec, "--batch", "8", "--lengths", tmp_path / name / "train.parquet").stdout
        assert "24 candidates, 3 a request, a step" in planned or "24 candidates, 2.9" in planned
    trained = run("train", spec, tmp_path / "made", "-o", tmp_path / "model").stdout
    assert "on the test data: 40 requests with 120 candidates" in trained
    assert "40 groups" in trained  # and not those of users, whom prepared examples name
    refused = run("prepare", spec, tmp_path / "made.csv", "-o", tmp_path / "no", "--negatives", "0", code=1)
    assert "`taken` would be 1 in every example" in refused.stderr


def test_what_a_request_cannot_have_is_refused(tmp_path: Path) -> None:
    def refused(options: str, score: str = "dot(user.id, ad.item)") -> str:
        text = (
            "model shop\nspace user from request { id: vocab(9, 4) }\n"
            "space ad from candidate { item: vocab(9, 4) }\n"
            f"predict taken: choice({options}) = {score}\n"
        )
        (tmp_path / "shop.arec").write_text(text, encoding="utf-8")
        return run("check", tmp_path / "shop.arec", code=1).output

    assert "`of` is of a choice among the batch" in refused("among = request, of = ad.item")
    assert "`correct` is of a choice among the batch" in refused("among = request, correct = true")
    assert "E0517" in refused("among = request", "sum(user.id)")
    assert "did you mean `request`?" in refused("among = requests")
