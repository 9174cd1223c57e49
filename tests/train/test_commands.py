"""train, evaluate and score on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from specc.cli import main
from tests.train.small import SPEC, write_examples, write_spec


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec, examples, and a model trained on them."""
    folder = tmp_path_factory.mktemp("commands")
    write_examples(folder / "data")
    spec = write_spec(folder)
    done = run("train", spec, folder / "data", "-o", folder / "model", "--epochs", "1", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["test"]["results"]["click"]["model"]["auc"] > 0
    return folder


def test_a_trained_model_is_evaluated_beside_its_baselines(folder: Path) -> None:
    text = run("evaluate", folder / "model", folder / "data")
    assert text.exit_code == 0, text.output
    assert "popularity of the item" in text.output
    found = json.loads(run("evaluate", folder / "model", folder / "data" / "test.parquet", "--json").stdout)
    results = found["results"]["click"]
    assert set(results) == {"model", "popularity", "mean"}
    assert f"{results['model']['auc']:.5f}" in text.output
    assert found["examples"] == found["counts"]["click"]["examples"] == 200
    assert set(results["model"]) == {
        "logloss",
        "auc",
        "gauc",
        "ndcg@10",
        "hit_rate@10",
        "mrr",
        "ece",
        "ratio",
        "accuracy",
    }


def test_training_shows_its_epochs_and_results(folder: Path) -> None:
    held = folder / "data" / "test.parquet"
    options = ("-o", folder / "again", "--epochs", "2", "--lr", "0.05", "--valid", held)
    done = run("train", folder / "model", folder / "data", *options)
    assert done.exit_code == 0, done.output
    assert "epoch 2: loss" in done.output
    assert "the best epoch was" in done.output
    assert "gauc" in done.output


def requests(folder: Path, name: str = "requests.jsonl") -> Path:
    lines = [
        {"user_id": "u1", "history_item": [1, 2], "ad_item": [1, 7, 2]},
        {"user_id": "u2", "history_item": [], "ad_item": []},
        {"user_id": "new", "history_item": None, "ad_item": [3]},
    ]
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(lines), folder / name)
    else:
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / name


def test_requests_are_scored_as_their_examples_are(folder: Path) -> None:
    done = run("score", folder / "model", requests(folder))
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["request"] for line in lines] == [1, 2, 3]
    assert [len(line["click"]) for line in lines] == [3, 0, 1]
    single = [{"user_id": "u1", "history_item": [1, 2], "ad_item": [item]} for item in (1, 7, 2)]
    (folder / "single.jsonl").write_text("".join(json.dumps(line) + "\n" for line in single))
    lines_alone = run("score", folder / "model", folder / "single.jsonl").stdout.splitlines()
    alone = [json.loads(line)["click"][0] for line in lines_alone]
    assert alone == pytest.approx(lines[0]["click"], abs=1e-6)
    best = json.loads(run("score", folder / "model", requests(folder), "--top", "2").stdout.splitlines()[0])
    order = sorted(range(3), key=lambda i: -alone[i])[:2]
    assert best["candidate"] == order
    assert best["click"] == pytest.approx([alone[i] for i in order], abs=1e-6)


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl"])
def test_scores_are_written_to_files(folder: Path, name: str) -> None:
    done = run("score", folder / "model", requests(folder, "requests.parquet"), "-o", folder / name)
    assert done.exit_code == 0, done.output
    path = folder / name
    rows = (
        pq.read_table(path).to_pylist()
        if name.endswith("parquet")
        else [json.loads(line) for line in path.read_text().splitlines()]
    )
    assert [len(row["click"]) for row in rows] == [3, 0, 1]


MODEL, DATA, OUT = "{folder}/model", "{folder}/data", ("-o", "{tmp}/out")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("train", "{tmp}/small.arec", "{tmp}/none"), 1, "there is no such file"),
        (("train", "{tmp}/small.arec", "{tmp}/empty"), 1, "the folder has no file of examples"),
        (("train", "{tmp}/small.arec", "{tmp}/short.parquet", *OUT), 1, "column `ad_item`: there is no such"),
        (("train", "{tmp}/bad/small.arec", DATA, *OUT), 1, "mpl"),
        (("train", MODEL, DATA, "--set", "x=1", *OUT), 1, "compiled already"),
        (("train", "{tmp}/small.arec", DATA, *OUT, "--optimizer", "adm"), 1, "there is no optimizer 'adm'"),
        (("train", "{tmp}/small.arec", DATA, *OUT, "--device", "cuda:99"), 1, "cuda:99"),
        (("train", "{tmp}/small.arec", DATA, *OUT, "--epochs", "0"), 2, "epochs"),
        (("train", "{tmp}/small.arec", DATA, *OUT, "--resume"), 1, "has no checkpoint to go on from"),
        (("evaluate", "{tmp}/empty", DATA), 1, "is not a compiled model"),
        (("evaluate", MODEL, "{tmp}/short.parquet"), 1, "column `ad_item`: there is no such"),
        (("evaluate", MODEL, DATA, "--group", "nobody"), 1, "column `nobody`"),
        (("score", MODEL, "{tmp}/bad.jsonl"), 1, "line 1: it is not JSON"),
        (("score", MODEL, "{tmp}/none.jsonl"), 1, "there is no such file"),
        (("score", MODEL, "{tmp}/bad.jsonl", "--top", "1", "--by", "buy"), 2, "the model predicts click"),
    ],
)
def test_mistakes_are_answered(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    for name in ("empty", "bad"):
        (tmp_path / name).mkdir()
    write_spec(tmp_path)
    write_spec(tmp_path / "bad", SPEC.replace("mlp", "mpl"))
    table = pq.read_table(folder / "data" / "train.parquet").drop_columns(["ad_item"])
    pq.write_table(table, tmp_path / "short.parquet")
    (tmp_path / "bad.jsonl").write_text("{nothing\n")
    done = run(*(argument.format(folder=folder, tmp=tmp_path) for argument in arguments))
    assert done.exit_code == code, (done.output, done.exception)
    assert said in done.output


def test_slices_are_measured_by_the_values_of_columns(folder: Path, tmp_path: Path) -> None:
    rows = pq.read_table(folder / "data" / "test.parquet")
    cities = ["Rome", "Bonn", None, "Rome", "Rome"] * (len(rows) // 5)
    table = rows.append_column("city", pa.array(cities)).append_column("n", pa.array(range(len(rows))))
    pq.write_table(table, tmp_path / "test.parquet", row_group_size=30)
    command = ("evaluate", folder / "model", tmp_path / "test.parquet", "--by", "city", "--by", "user.id")
    found = json.loads(run(*command, "--json", "--at", "3", "--at", "5").stdout)
    assert list(found["by"]["city"]) == ["Rome", "Bonn", "(none)"]
    assert set(found["by"]["user.id"]) == {f"u{i}" for i in range(12)}
    parts = found["by"]["city"]
    assert [part["counts"]["click"]["examples"] for part in parts.values()] == [120, 40, 40]
    assert {"ndcg@3", "ndcg@5", "hit_rate@3"} < set(parts["Rome"]["results"]["click"]["model"])
    # A slice is what its rows alone give.
    pq.write_table(table.filter(pa.compute.equal(table["city"], "Rome")), tmp_path / "rome.parquet")
    alone = json.loads(
        run("evaluate", folder / "model", tmp_path / "rome.parquet", "--json", "--at", "3").stdout
    )
    for who, metrics in alone["results"]["click"].items():
        sliced = parts["Rome"]["results"]["click"][who]
        assert {m: sliced[m] for m in metrics} == pytest.approx(metrics, abs=1e-9)
    text = run(*command)
    assert text.exit_code == 0, text.output
    assert "click by city" in text.output
    assert text.output.index("Rome") < text.output.index("Bonn")
    many = run("evaluate", folder / "model", tmp_path / "test.parquet", "--by", "n")
    assert "and 180 more (--json and --html have them)" in many.output


def test_too_many_slices_are_others(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specc_runtime.train.slices.LIMIT", 4)
    rows = pq.read_table(folder / "data" / "test.parquet")
    pq.write_table(rows.append_column("n", pa.array(range(len(rows)))), tmp_path / "test.parquet")
    done = run("evaluate", folder / "model", tmp_path / "test.parquet", "--by", "n", "--json")
    found = json.loads(done.stdout)["by"]["n"]
    assert {name: part["counts"]["click"]["examples"] for name, part in found.items()} == {
        "0": 1, "1": 1, "2": 1, "3": 1, "(others)": 196,
    }  # fmt: skip
    text = run("evaluate", folder / "model", tmp_path / "test.parquet", "--by", "n")
    assert "n has more than 4 values: those met later are (others)" in text.output


def test_a_metric_that_cannot_be_had_is_told_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    rows = pq.read_table(folder / "data" / "test.parquet")
    negatives = rows.filter(pa.compute.equal(rows["click"], 0.0))
    pq.write_table(negatives, tmp_path / "negatives.parquet")
    train = folder / "data" / "train.parquet"
    done = run(
        "train", folder / "small.arec", train, "--valid", tmp_path / "negatives.parquet", "-o", tmp_path / "a"
    )
    assert done.exit_code == 1
    assert "the validation data have only labels of 0 for click, so that there is no auc" in done.output
    ungrouped = write_spec(tmp_path, SPEC.replace("metric = auc, group = user.id", "metric = ndcg(5)"))
    done = run("train", ungrouped, train, "--valid", train, "-o", tmp_path / "b")
    assert done.exit_code == 1
    assert "`ndcg(5)` needs a `group`" in done.output
    grouped = write_spec(tmp_path, SPEC.replace("metric = auc", "metric = ndcg(5)"))
    done = run("train", grouped, train, "--valid", train, "-o", tmp_path / "b", "--epochs", "2")
    assert done.exit_code == 0, done.output
    assert "by ndcg@5 on the validation data: 0." in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--by", "nowhere"), "there is no such column to slice by"),
        (("--by", "history_item"), "slices are by one value a row"),
        (("--group", "nowhere"), "there is no such column to group by"),
        (("--group", "user.idd"), "did you mean `user_id`?"),
    ],
)
def test_columns_that_are_not_there(folder: Path, options: tuple[str, ...], said: str) -> None:
    done = run("evaluate", folder / "model", folder / "data", *options)
    assert done.exit_code == 1, (done.output, done.exception)
    assert said in done.output


def test_what_is_refused_without_a_column_does_not_note_it(folder: Path, tmp_path: Path) -> None:
    rows = pq.read_table(folder / "data" / "test.parquet")
    pq.write_table(rows.drop_columns(["user_id"]), tmp_path / "bare.parquet")
    done = run("evaluate", folder / "model", tmp_path / "bare.parquet")
    assert (done.exit_code, done.output.count("`user_id`")) == (1, 1), done.output
    # A request may lack what scoring takes for an unknown key.
    done = run("predict", folder / "model", tmp_path / "bare.parquet")
    assert (done.exit_code, done.stderr.count("`user_id`")) == (0, 1), done.output


def test_a_folder_of_models_says_which(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "model", tmp_path / "best")
    for command in ("evaluate", "inspect", "predict"):
        options = ("--example", "1") if command == "inspect" else ()
        done = run(command, tmp_path, folder / "data", *options)
        assert done.exit_code == 1
        assert f"{tmp_path / 'best'} is one" in done.output


def test_a_shipped_spec_goes_by_its_name(folder: Path, tmp_path: Path) -> None:
    for options in (("data", "fm"), ("train", "fm", "-o", tmp_path / "model")):
        done = run(*options, folder / "data" / "train.parquet")
        assert done.exit_code == 1, (done.output, done.exception)
        assert "`context_hour`" in done.output
    done = run("train", "fmm", folder / "data")
    assert (done.exit_code, "'fmm' does not exist" in done.output) == (2, True)


def test_examples_without_labels_are_told(folder: Path, tmp_path: Path) -> None:
    rows = pq.read_table(folder / "data" / "test.parquet")
    pq.write_table(rows.drop_columns(["click"]), tmp_path / "bare.parquet")
    done = run("evaluate", folder / "model", tmp_path / "bare.parquet")
    assert done.exit_code == 1
    assert "column `click`: there is no such column" in done.output
