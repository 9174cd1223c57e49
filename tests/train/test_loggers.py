"""Loggers: what they are told, in one run however often a training is interrupted, and failing ones."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import specc
from specc.cli import main
from specc_runtime.record import RECORD, digest
from specc_runtime.train import Interrupted, Logger, Recipe, Run, fit, loggers
from specc_runtime.train.content import identity
from specc_runtime.train.report import read_lines
from tests.train.small import interrupting, write_examples, write_spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loggers")
    write_examples(folder)
    write_spec(folder)
    return folder


class Recorder:
    def __init__(self) -> None:
        self.run: Run | None = None
        self.told: list[tuple[str, int, Mapping[str, Any]]] = []
        self.closed = 0

    def begin(self, run: Run) -> None:
        self.run = run

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        self.told.append((kind, step, values))

    def close(self) -> None:
        self.closed += 1


def trained(
    folder: Path,
    into: Path,
    logger: Logger,
    interrupted_at: int | None = None,
    **settings: Any,
) -> None:
    """Train for two epochs of 13 steps, each validated."""
    model = specc.compile(folder / "small.arec")
    recipe = Recipe.of(model.manifest).changed(epochs=2)
    held = [folder / "test.parquet"]
    watch = interrupting(interrupted_at)
    fit(
        model, [folder / "train.parquet"], into, recipe, valid=held, loggers=[logger], watch=watch, **settings
    )


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_a_logger_is_told_what_was_trained_and_saved(folder: Path, tmp_path: Path) -> None:
    logger = Recorder()
    trained(folder, tmp_path, logger, test=[folder / "test.parquet"])
    assert logger.run is not None
    assert (logger.run.name, logger.run.directory, logger.run.step) == ("small", tmp_path, 0)
    assert logger.run.spec == (tmp_path / "spec.arec").read_text()
    settings = logger.run.settings
    assert (settings["lr"], settings["batch"], settings["epochs"], settings["optimizer"]) == (
        0.02,
        32,
        2,
        "adam",
    )
    assert settings["data"] == digest(folder / "train.parquet")
    assert settings["valid"] == identity([{"sha256": digest(folder / "test.parquet")}])
    assert [(kind, step) for kind, step, _ in logger.told if kind != "train"] == [
        ("valid", 13), ("valid", 26), ("saved", 26), ("test", 26),
    ]  # fmt: skip
    saved, test = logger.told[-2][2], logger.told[-1][2]
    assert saved["hash"] == digest(tmp_path / RECORD)
    # The best epoch was chosen on these very data.
    assert saved["metrics"]["click"]["auc"] == pytest.approx(test["metrics"]["click"]["auc"])
    assert logger.closed == 1


@pytest.mark.parametrize("method", ["begin", "note", "close"])
def test_a_logger_that_fails_ends_no_training(folder: Path, tmp_path: Path, method: str) -> None:
    class Failing(Recorder):
        def __str__(self) -> str:
            return "the board"

    failing = Failing()

    def fail(*given: Any) -> None:
        failing.told.append(("failed", 0, {}))
        raise OSError("no space is left\nanywhere")

    setattr(failing, method, fail)
    with pytest.warns(
        UserWarning, match="^the board is told nothing more .*goes on: OSError: no space is left$"
    ) as said:
        trained(folder, tmp_path, loggers.Unfailing(failing))
    assert len(said) == 1
    assert sum(kind == "failed" for kind, _, _ in failing.told) <= 2  # a failing `close` is tried again
    assert len([told for told in read_lines(tmp_path / "metrics.jsonl") if told["kind"] == "valid"]) == 2


def test_a_logger_of_ones_own_may_end_it(folder: Path, tmp_path: Path) -> None:
    class Enough(Recorder):
        def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
            raise StopIteration("enough")

    logger = Enough()
    with pytest.raises(StopIteration, match="enough"):
        trained(folder, tmp_path, logger)
    assert logger.closed == 1
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of files, which is made sooner than a database."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "runs").as_uri()


def test_mlflow_has_all_of_it_in_one_run(folder: Path, tmp_path: Path, store: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store)
    with pytest.raises(Interrupted):
        trained(folder, tmp_path / "model", loggers.mlflow(store), interrupted_at=20)
    (own,) = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert own.info.status == "KILLED"
    assert json.loads((tmp_path / "model" / "runs.json").read_text()) == {f"mlflow {store}": own.info.run_id}
    # As a kill after the checkpoint leaves it.
    with (tmp_path / "model" / "metrics.running.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "train", "step": 21, "epoch": 2, "loss": 1}) + "\n")
    client.log_metric(own.info.run_id, "train/loss", 1.0, step=21)
    trained(folder, tmp_path / "model", loggers.mlflow(store), resume=True, test=[folder / "test.parquet"])
    (own,) = client.search_runs([own.info.experiment_id])
    assert (own.info.status, own.info.run_name) == ("FINISHED", "model")
    assert own.data.params["lr"] == "0.02"
    assert own.data.params["data"] == digest(folder / "train.parquet")
    assert own.data.tags["hash"] == digest(tmp_path / "model" / RECORD)
    losses = client.get_metric_history(own.info.run_id, "train/loss")
    assert [one.step for one in losses] == [*range(1, 27)]
    assert losses[20].value == 1.0  # as it was told
    told = [t for t in read_lines(tmp_path / "model" / "metrics.jsonl") if t["kind"] == "valid"]
    ndcg = client.get_metric_history(own.info.run_id, "valid/click/ndcg_at_10")
    assert [one.value for one in ndcg] == [t["metrics"]["click"]["ndcg@10"] for t in told]
    assert own.data.metrics["test/click/auc"] == pytest.approx(own.data.metrics["best/click/auc"])
    (spec,) = [file.path for file in client.list_artifacts(own.info.run_id)]
    kept = Path(client.download_artifacts(own.info.run_id, spec, str(tmp_path)))
    assert kept.read_text() == (tmp_path / "model" / "spec.arec").read_text()


def test_an_mlflow_store_that_fails_is_told_of(folder: Path, tmp_path: Path, store: str) -> None:
    (tmp_path / "runs").write_text("no folder")
    with pytest.warns(UserWarning, match="^MLflow is told nothing more of this training, which goes on"):
        trained(folder, tmp_path / "model", loggers.mlflow(store))
    assert (tmp_path / "model" / "weights.safetensors").is_file()


def records(file: Path) -> Iterator[Any]:
    """What a file of W&B holds: records in blocks of 32 KiB, as LevelDB writes logs."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def noted(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_wandb_has_all_of_it_in_one_run_and_sends_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(Interrupted):
        trained(folder, tmp_path / "model", loggers.wandb(), interrupted_at=20)
    logger = loggers.wandb("shop")
    trained(folder, tmp_path / "model", logger, resume=True, test=[folder / "test.parquet"])
    first, second = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert str(logger) == f"Weights & Biases (offline: wandb sync wandb/{second.name} sends it)"
    assert (first / "files" / "spec.arec").read_text() == (tmp_path / "model" / "spec.arec").read_text()
    (id,) = json.loads((tmp_path / "model" / "runs.json").read_text()).values()
    assert first.name.endswith(id)
    assert second.name.endswith(id)
    found = [[*records(part / f"run-{id}.wandb")] for part in (first, second)]
    config = {}
    for record in found[0]:
        config |= noted(record.run.config.update)
    assert (config["lr"], config["batch"]) == (0.02, 32)
    history = [noted(record.history.item) for part in found for record in part if record.HasField("history")]
    assert [line["_step"] for line in history if "train/loss" in line] == [*range(1, 27)]
    auc = [line["valid/click/auc"] for line in history if "valid/click/auc" in line]
    told = [t for t in read_lines(tmp_path / "model" / "metrics.jsonl") if t["kind"] == "valid"]
    assert auc == [t["metrics"]["click"]["auc"] for t in told]
    summary = {}
    for record in found[1]:
        summary |= noted(record.summary.update)
    assert summary["hash"] == digest(tmp_path / "model" / RECORD)
    assert summary["test/click/auc"] == pytest.approx(summary["best/click/auc"])


def test_a_logger_that_is_not_there_is_refused_before_anything(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("train", folder / "small.arec", folder, "-o", tmp_path / "m", "--log", "mlfow")
    assert done.exit_code == 2
    assert "there is no logger 'mlfow', only tensorboard, mlflow, wandb; did you mean mlflow?" in done.output
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = run("train", folder / "small.arec", folder, "-o", tmp_path / "m", "--log", "wandb=shop")
    assert done.exit_code == 1
    assert "pip install 'arec[wandb]'" in done.output
    assert not (tmp_path / "m").exists()
