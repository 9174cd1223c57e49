"""What training tells, once however often it is interrupted, and the HTML report of an evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from specc.cli import main
from specc_runtime.train import Interrupted, Run
from specc_runtime.train.report import JsonLines, read_lines
from tests.train.small import interrupting, write_examples, write_spec
from tests.train.test_loop import trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_examples(folder)
    write_spec(folder)
    return folder


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def lines(path: Path) -> list[dict[str, Any]]:
    """All but how fast it went."""
    return [{k: v for k, v in told.items() if k != "speed"} for told in read_lines(path / "metrics.jsonl")]


def test_a_training_tells_its_steps_and_epochs(folder: Path, tmp_path: Path) -> None:
    trained(folder / "small.arec", folder, tmp_path, epochs=2, valid=True)
    told = lines(tmp_path)
    assert [(t["kind"], t["step"]) for t in told] == [
        *(("train", step) for step in range(1, 14)), ("valid", 13),
        *(("train", step) for step in range(14, 27)), ("valid", 26),
    ]  # fmt: skip
    assert told[0].keys() == {"kind", "step", "epoch", "loss", "lr"}
    assert told[0]["lr"] == 0.02
    assert told[13]["metrics"]["click"]["auc"] > 0
    assert told[13]["best"] is True
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    # A line's loss is that of its examples: 32 a batch, and the last of 16.
    weights = [32] * 12 + [16]
    own = [t["loss"] for t in told if t["kind"] == "train"][:13]
    mean = sum(w * loss for w, loss in zip(weights, own, strict=True)) / 400
    assert mean == pytest.approx(state["epochs"][0]["loss"], rel=1e-6)


@pytest.mark.parametrize("step", [3, 13, 20])
def test_what_was_told_is_told_once(folder: Path, tmp_path: Path, step: int) -> None:
    trained(folder / "small.arec", folder, tmp_path / "whole", epochs=2, valid=True)
    with pytest.raises(Interrupted):
        trained(folder / "small.arec", folder, tmp_path / "part", interrupting(step), epochs=2, valid=True)
    with (tmp_path / "part" / "metrics.running.jsonl").open(
        "a"
    ) as file:  # as a kill between checkpoints leaves it
        file.write(json.dumps({"kind": "train", "step": step + 1, "loss": 1}) + '\n{"kind": "tr')
    trained(folder / "small.arec", folder, tmp_path / "part", resume=True, epochs=2, valid=True)
    assert lines(tmp_path / "part") == lines(tmp_path / "whole")


def test_metrics_are_those_of_the_model_beside_them(tmp_path: Path) -> None:
    log = JsonLines(tmp_path)
    log.begin(Run("small", tmp_path))
    log.note("train", 1, {"epoch": 1, "loss": 0.5})
    log.note("saved", 1, {})
    again = JsonLines(tmp_path)
    again.begin(Run("small", tmp_path))
    again.note("train", 1, {"epoch": 1, "loss": 0.7})  # a training that fails after that
    assert [told["loss"] for told in read_lines(tmp_path / "metrics.jsonl")] == [0.5]
    again.begin(Run("small", tmp_path, step=1))
    again.note("saved", 1, {})
    assert [told["loss"] for told in read_lines(tmp_path / "metrics.jsonl")] == [0.7]
    assert read_lines(tmp_path / "none.jsonl") == []


def test_tensorboard_has_the_same(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    held = folder / "test.parquet"
    done = run("train", folder / "small.arec", folder, "-o", tmp_path / "m", "--valid", held, "--epochs", "2",
               "--tensorboard", tmp_path / "board")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"note: --tensorboard DIR will go: write --log tensorboard={tmp_path / 'board'}" in done.stderr
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    told = read_lines(tmp_path / "m" / "metrics.jsonl")
    own = [t for t in told if t["kind"] == "train"]
    shown = board.Scalars("train/loss")
    assert [e.step for e in shown] == [t["step"] for t in own]
    assert [e.value for e in shown] == pytest.approx([t["loss"] for t in own], rel=1e-6)
    assert len(board.Scalars("valid/click/auc")) == 2


def test_the_html_report_is_whole(folder: Path, tmp_path: Path) -> None:
    held = folder / "test.parquet"
    done = run("train", folder / "small.arec", folder, "-o", tmp_path / "m", "--valid", held, "--epochs", "2")
    assert done.exit_code == 0, done.output
    file = tmp_path / "report.html"
    done = run("evaluate", tmp_path / "m", folder, "--by", "user.id", "--html", file)
    assert done.exit_code == 0, done.output
    assert f"{file}: written" in done.output
    html = file.read_text(encoding="utf-8")
    for title in ("ROC", "Precision and recall", "Calibration", "By user.id", "How it learnt", "Loss"):
        assert f">{title}<" in html
    assert "http" not in html
    assert "nan" not in re.sub(r">[^<]*<", "><", html)
    assert html.count('<path class="line') > 30
    done = run("evaluate", tmp_path / "m", folder, "--html", tmp_path)
    assert done.exit_code == 1
    assert "it is a folder" in done.output
