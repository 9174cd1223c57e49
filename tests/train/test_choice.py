"""Choices among a batch and outputs, from files to vectors: what is compared are the keys of the data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner

from specc.cli import main
from specc.driver import load
from specc.interpret import examples_of, losses
from specc.testing import random_batch
from specc_runtime import load as load_model
from specc_runtime.encode import Encoders, Origin
from tests.oracle.subjects import compiled

SPEC = """model towers
table items = vocab(6, 4)
space user from request { id: vocab(20, 4) from "user" }
space ad from candidate { item: items from "item", price: number(none, default = 0) from "price" }
space history[t <= 5] from request { item: items from "history" }
viewer = concat(user, mean(history, over t)) |> linear(4)
wanted = ad |> linear(4)
again  = sum(same(history.item, ad.item), over t)
predict taken: choice(among = batch, of = ad.item, correct = true) = dot(viewer, wanted) + again
output viewer_vector = viewer
output item_vector   = wanted
output seen_before   = again
train { batch = 16, epochs = 2, metric = auc }
"""
ROWS = [
    {"user": f"u{i % 7}", "item": f"i{i % 9}", "history": [f"i{(i + k) % 11}" for k in range(i % 4)],
     "price": i / 10, "taken": int(i % 3 > 0)}
    for i in range(60)
]  # fmt: skip


def run(*args: str | Path) -> str:
    result = CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("towers")
    (folder / "towers.arec").write_text(SPEC, encoding="utf-8")
    data = lines(folder / "train.jsonl", ROWS)
    run("train", folder / "towers.arec", data, "--valid", data, "-o", folder / "model")
    return folder


def test_keys_are_compared_as_they_stand(trained: Path) -> None:
    model, encoders = load_model(trained / "model"), None
    encoders = Encoders.learn(model.manifest, [(pa.Table.from_pylist(ROWS), Origin("rows"))])
    asked = [
        {"user": "u1", "item": "new", "history": ["new", "other", None, "i1"]},  # two that have no row
        {"user": "u1", "item": None, "history": [None]},  # a missing key is like none
        {"user": "u1", "item": 7, "history": ["7", "07", "i1"]},
    ]
    table = pa.table(
        {
            "user": [r["user"] for r in asked],
            "item": [None if r["item"] is None else str(r["item"]) for r in asked],
            "history": pa.array([r["history"] for r in asked], pa.list_(pa.string())),
        }
    )
    batch = encoders.encode(table, Origin("rows"), labels=False)
    rows = batch.column("history.item")
    assert rows[0] == rows[1] == 0, "they share the unknown row"
    assert model.output("seen_before", batch).tolist() == [1, 0, 1]


def test_an_output_asks_for_what_it_reads_alone(trained: Path) -> None:
    catalogue = lines(trained / "items.jsonl", [{"item": "i1", "price": 0.5}, {"item": "i2", "price": 0.1}])
    people = lines(trained / "people.jsonl", [{"user": "u1", "history": ["i2"]}])
    both = lines(trained / "both.jsonl", [{"user": "u1", "history": ["i2"], "item": "i1", "price": 0.5}])
    model = trained / "model"
    item = json.loads(run("predict", model, catalogue, "--only", "item_vector").splitlines()[0])
    viewer = json.loads(run("predict", model, people, "--only", "viewer_vector"))
    whole = json.loads(run("predict", model, both))
    assert whole["item_vector"] == pytest.approx(item["item_vector"])
    assert whole["viewer_vector"] == pytest.approx(viewer["viewer_vector"])
    product = sum(a * b for a, b in zip(item["item_vector"], viewer["viewer_vector"], strict=True))
    assert whole["taken"] == pytest.approx(product + whole["seen_before"], rel=1e-5)
    refused = CliRunner().invoke(main, ["predict", str(model), str(both), "--only", "item"])
    assert refused.exit_code == 2
    assert "viewer_vector, item_vector, seen_before" in refused.stderr


def test_counts_are_those_of_the_field_in_the_training_data(trained: Path) -> None:
    counts = load_model(trained / "model").state_dict()["taken.choice.counts"]
    assert counts.sum() == len(ROWS)
    assert sorted(counts.tolist(), reverse=True)[0] >= len(ROWS) // 9


def test_several_candidates_of_a_request(tmp_path: Path) -> None:
    """Each candidate of a request is chosen, or not, among those of all requests."""
    (tmp_path / "towers.arec").write_text(SPEC, encoding="utf-8")
    graph, _ = load(tmp_path / "towers.arec")
    assert graph is not None
    for passes in ("none", "default"):
        model = compiled(graph, passes)
        batch = random_batch(model.manifest, 4, seed=2, candidates=True, longest=3, empty=0.2, unlabelled=0.2)
        assert batch.candidates is not None
        assert batch.candidates.max() > 1
        expected = losses(graph, dict(model.state_dict()), examples_of(graph, batch))
        torch.testing.assert_close(model.losses(batch)["taken"], expected["taken"], rtol=1e-10, atol=1e-12)


def test_an_event_log_becomes_examples_of_choices(tmp_path: Path) -> None:
    """A field of keys is read from the column of its field, so that nothing is asked about it."""
    text = SPEC
    for said in (
        ' from "user"',
        ' from "item"',
        ' from "history"',
        ', price: number(none, default = 0) from "price"',
    ):
        text = text.replace(said, "")
    (tmp_path / "towers.arec").write_text(text, encoding="utf-8")
    events = [f"u{i % 5},i{i * 7 % 11},{1_700_000_000 + 1000 * i},buy" for i in range(300)]
    log = tmp_path / "events.csv"
    log.write_text("\n".join(["user,item,time,behaviour", *events]) + "\n", encoding="utf-8")
    run("prepare", tmp_path / "towers.arec", log, "-o", tmp_path / "examples")
    run("train", tmp_path / "towers.arec", tmp_path / "examples" / "train.parquet", "-o", tmp_path / "model")
    counts = load_model(tmp_path / "model").state_dict()["taken.choice.counts"]
    assert counts.sum() > 0
