"""`specc sweep`: it tries what a spec allows, goes on where it was, and keeps the best."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import specc
from specc.cli import main
from specc_runtime.train import Interrupted

pytest.importorskip("optuna")
pytest.importorskip("plotly")

SPEC = """model shop

param dim = 8 in {4, 8}
param wide = 8 in 4 .. 2 * dim
param drop = 0.0 in 0.0 .. 0.5
param act = relu in {relu, dice}

require wide % 4 == 0

table items = vocab(50, dim)
space user from request { id: vocab(50, dim) }
space ad   from candidate { item: items }

predict click: binary = concat(user, ad) |> mlp([wide], act = act) |> dropout(drop) |> linear(1)

train {
  optimizer = adam(lr = 0.01, decay = step(at = 5 steps), lazy = true)
  batch = 64, epochs = 2, seed = 1
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = random.Random(0)
    for name, rows in (("train", 200), ("valid", 80)):
        lines = ["user_id,ad_item,click"]
        for _ in range(rows):
            user, item = draw.randrange(30), draw.randrange(20)
            lines.append(f"u{user},i{item},{int((user * 7 + item) % 3 == 0)}")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "shop.arec").write_text(SPEC, encoding="utf-8")
    return tmp_path


def sweep(folder: Path, *options: object, valid: bool = True) -> Result:
    held_out = ["--valid", str(folder / "valid.csv")] if valid else []
    return CliRunner().invoke(
        main,
        ["sweep", str(folder / "shop.arec"), str(folder / "train.csv"), *held_out,
         "-o", str(folder / "out"), *map(str, options)],
    )  # fmt: skip


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert isinstance(data, dict)
    return data


def test_it_keeps_the_spec_s_conditions_and_the_best(folder: Path) -> None:
    data = found(sweep(folder, "--trials", 4, "--over", "lr=1e-3..1e-1", "--json"))
    trials = data["trials"]
    assert len(trials) == 4
    assert len({json.dumps(t["settings"]) for t in trials}) == 4
    for trial in trials:
        chosen = trial["settings"]
        assert int(chosen["wide"]) % 4 == 0
        assert int(chosen["wide"]) <= 2 * int(chosen["dim"])
        assert 1e-3 <= float(chosen["lr"]) <= 1e-1
    first = next(t for t in trials if t["number"] == 0)
    assert first["settings"] == {"dim": "8", "wide": "8", "drop": "0.0", "act": "relu", "lr": "0.01"}
    done = [t["value"] for t in trials if t["state"] == "trained"]
    assert done == sorted(done, reverse=True)  # an AUC
    # The best model is the one that is kept, and the winner's spec is its.
    told = CliRunner().invoke(
        main, ["evaluate", str(folder / "out" / "best"), str(folder / "valid.csv"), "--json"]
    )
    measured = json.loads(told.stdout)
    assert abs(_auc(measured) - trials[0]["value"]) < 1e-6
    best = specc.compile(folder / "out" / "shop_best.arec")
    params = {name: str(value).lower() for name, value in best.manifest["params"].items()}
    assert params == {n: t for n, t in trials[0]["settings"].items() if n != "lr"}
    own = specc.compile(folder / "shop.arec").manifest["train"]["optimizer"]
    own["options"]["lr"] = float(trials[0]["settings"]["lr"])
    assert best.manifest["train"]["optimizer"] == own
    page = (folder / "out" / "sweep.html").read_text(encoding="utf-8")
    assert 'src="http' not in page
    assert not (folder / "out" / "trials").exists()


def _auc(data: Any) -> float:
    """The AUC of the model, wherever the results have it."""
    if isinstance(data, dict):
        if "model" in data and isinstance(data["model"], dict) and "auc" in data["model"]:
            return float(data["model"]["auc"])
        for value in data.values():
            if (inner := _auc(value)) == inner:
                return inner
    return float("nan")


def test_it_goes_on_where_it_was_and_draws_the_same(folder: Path) -> None:
    first = found(sweep(folder, "--trials", 2, "--json"))
    more = found(sweep(folder, "--trials", 3, "--json"))
    assert len(more["trials"]) == 3
    assert all(trial in more["trials"] for trial in first["trials"])
    other = sweep(folder, "--trials", 4, "--over", "batch={16,32}")
    assert other.exit_code == 1
    assert "other over" in other.output
    anew = found(sweep(folder, "--trials", 1, "--over", "batch={64}", "--overwrite", "--json"))
    assert len(anew["trials"]) == 1


def test_a_killed_sweep_goes_on(folder: Path) -> None:
    command = [sys.executable, "-m", "specc", "sweep", "shop.arec", "train.csv", "--valid", "valid.csv"]
    command += ["-o", "out", "--trials", "1000", "--no-pruning"]
    running = subprocess.Popen(command, cwd=folder, env=os.environ, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    told = [line for line in itertools.islice(running.stderr, 2) if line.startswith("trial ")]
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stderr.close()
    more = found(sweep(folder, "--trials", 3, "--no-pruning", "--json"))
    assert len(more["trials"]) >= 3
    assert told
    assert {f"trial {t['number']}" for t in more["trials"]} >= {line.partition(":")[0] for line in told}
    assert all(t["state"] != "failed" for t in more["trials"])


def test_the_spec_as_it_stands_is_tried_though_it_was_interrupted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGTERM)

    compiled = list[Any]()

    def compile(*given: Any, **params: Any) -> Any:
        compiled.append(params)
        return own(*given, **params)

    own = specc.compile
    with monkeypatch.context() as patch:
        patch.setattr("specc.sweep.trials.fit", interrupted)
        patch.setattr("specc.compile", compile)
        assert sweep(folder, "--trials", 2).exit_code == 128 + signal.SIGTERM
    assert len(compiled) == 2  # the spec, to know its recipe, and the trial
    (only,) = found(sweep(folder, "--trials", 1, "--json"))["trials"]
    assert only["settings"] == {"dim": "8", "wide": "8", "drop": "0.0", "act": "relu"}


def test_it_ends_where_everything_was_tried(folder: Path) -> None:
    fixed = ["--set", "drop=0.0", "--set", "dim=4", "--set", "wide=4"]
    data = found(sweep(folder, "--trials", 30, *fixed, "--json"))
    assert {t["settings"]["act"] for t in data["trials"]} == {"relu", "dice"}
    assert len(data["trials"]) == 2


def test_the_best_mean_over_other_seeds_wins(folder: Path) -> None:
    first = found(sweep(folder, "--trials", 3, "--no-pruning", "--json"))
    assert all(trial["again"] is None for trial in first["trials"])
    result = sweep(folder, "--trials", 3, "--no-pruning", "--confirm", 2, "--json")
    trials = found(result)["trials"]
    assert len(trials) == 3
    assert result.stderr.count(" again, seed ") == 6
    confirmed = [t for t in trials if t["again"] is not None]
    assert trials[:2] == confirmed
    assert {t["number"] for t in confirmed} == {t["number"] for t in first["trials"][:2]}
    means = [statistics.mean(t["again"]) for t in confirmed]
    assert means == sorted(means, reverse=True)
    assert all(len(set(t["again"])) > 1 for t in confirmed)
    # best/ is the winner's, of the seed that was best; nothing else is kept.
    told = CliRunner().invoke(
        main, ["evaluate", str(folder / "out" / "best"), str(folder / "valid.csv"), "--json"]
    )
    assert abs(_auc(json.loads(told.stdout)) - max(trials[0]["again"])) < 1e-6
    assert not (folder / "out" / "again").exists()
    assert "with 3 other seeds" in (folder / "out" / "shop_best.arec").read_text(encoding="utf-8")
    assert " again, seed " not in sweep(folder, "--trials", 3, "--no-pruning", "--confirm", 2).stderr
    # A trial that comes later wins only after it was trained again, too.
    later = found(sweep(folder, "--trials", 4, "--no-pruning", "--json"))["trials"]
    assert later[0] == trials[0]


def test_two_processes_share_the_trials(folder: Path) -> None:
    data = found(sweep(folder, "--trials", 3, "--workers", 2, "--confirm", 1, "--json"))
    assert 3 <= len(data["trials"]) <= 4
    assert len(data["trials"][0]["again"]) == 3
    assert (folder / "out" / "best" / "weights.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["--over", "lrr=1..2"], "did you mean lr?", 2),
        (["--over", "lr=2..1"], "ends before it begins", 2),
        (["--over", "lr=0..1"], "lr is above 0", 2),
        (["--over", "batch=0.5..8"], "batch is a whole number", 2),
        (["--over", "optimizer={adamm}"], "there is no adamm", 2),
        (["--over", "lr"], "is not NAME=LOW..HIGH", 2),
        (["--set", "dim=5"], "dim", 1),
        (["--metric", "aucc"], "ndcg@k", 1),
        (["--over", "batch=64", "batch=128"], "unless they are quoted", 2),
    ],
)
def test_what_cannot_be_swept_is_told(folder: Path, options: list[str], said: str, code: int) -> None:
    result = sweep(folder, *options)
    assert result.exit_code == code, result.output
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_sweep_that_came_to_nothing_is_begun_anew(folder: Path) -> None:
    rows = (folder / "train.csv").read_text(encoding="utf-8")
    (folder / "train.csv").write_text(rows.replace("ad_item", "item_of_ad", 1), encoding="utf-8")
    refused = sweep(folder, "--trials", 1)
    assert (refused.exit_code, "no such column" in refused.output) == (1, True)
    (folder / "train.csv").write_text(rows, encoding="utf-8")
    assert len(found(sweep(folder, "--trials", 1, "--json"))["trials"]) == 1


def test_a_setting_called_like_a_param_is_not_taken_for_it(folder: Path) -> None:
    spec = folder / "shop.arec"
    spec.write_text(SPEC.replace("param wide", "param lr = 1 in {1, 2}\nparam wide"), encoding="utf-8")
    data = found(sweep(folder, "--trials", 4, "--over", "lr=1e-3..1e-1", "--set", "dim=8", "--json"))
    won = data["trials"][0]["settings"]
    assert int(won["lr"]) in (1, 2)
    assert float(won["train.lr"]) <= 0.1
    assert {"lr", "train.lr"} >= {name for name in data["importance"] if "lr" in name}
    text = (folder / "out" / "shop_best.arec").read_text(encoding="utf-8")
    assert f"param lr = {won['lr']} in {{1, 2}}" in text
    assert f"lr = {won['train.lr']}" in text.partition("train {")[2]


def test_test_data_are_left_alone(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    for part in ("train", "valid", "test"):
        rows = (folder / f"{'train' if part == 'train' else 'valid'}.csv").read_text(encoding="utf-8")
        (data / f"{part}.csv").write_text(rows, encoding="utf-8")
    command = ["sweep", str(folder / "shop.arec"), str(data), "--trials", "1", "-o", str(folder / "out")]
    done = CliRunner().invoke(main, command)
    assert "test.csv: left alone" in done.stderr
    assert "valid.csv: trials are compared on it" in done.stderr
    done = CliRunner().invoke(main, [*command, "--overwrite", "--valid", str(folder / "valid.csv")])
    assert "valid.csv: left alone, as --valid gives others" in done.stderr


def test_validation_data_are_needed(folder: Path) -> None:
    result = sweep(folder, valid=False)
    assert result.exit_code == 1
    assert "--valid" in result.output
