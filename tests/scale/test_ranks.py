"""Several processes that train one model learn what one process learns from the joined batches."""

from __future__ import annotations

import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.run import get_args_parser

from specc.cli import processes
from specc.cli.common import again
from specc_runtime import ranks
from tests.scale.killed import one_is_killed
from tests.scale.pair import learn
from tests.scale.processes import REPO, ended, free_port, started
from tests.train.small import SPEC, write_examples

SLOW = "AREC_LONG"  # set, all shipped specs are compared
SHIPPED = sorted((REPO / "specs").glob("*.arec")) + sorted((REPO / "specs" / "more").glob("*.arec"))
CHOSEN = ("din", "two_tower", "gru4rec", "xdeepfm", "star")

REQUESTS = """model requests
table items = vocab(90, 10, l2 = by_frequency(0.1))
space user from request { id: vocab(50, 1, l2 = 0.01), age: number }
space ad from candidate { item: items, other: items, price: number }
space seen[t <= 5] from request { item: items }
joined = concat(user, ad, mean(seen, over t)) |> mlp([8], act = dice, norm = batch_norm, l2 = 0.1)
predict clicked: choice(among = request) = joined |> linear(1)
train { optimizer = sgd(lr = 0.1), metric = auc }
"""
NESTED = """model nested
table items = vocab(90, 18)
table marks = vocab(40, 18, l2 = 0.02)
space user from request { id: vocab(50, 1), likes: bag(items) }
space ad from candidate { item: items, marks: bag(marks) }
space visits[v <= 4, t <= 5] from request { item: items, mark: marks }
wide   = concat(user, ad, sum(mean(visits, over t), over v))
shared = wide |> mlp([8], act = dice) |> batch_norm(statistics = batch)
predict bought: binary(positive = 3) = shared |> linear(1)
predict next: class(items, bias = true) = shared |> linear(18)
loss near = contrast(user |> linear(4), ad |> linear(4))
loss small = 0.01 * sum(shared ^ 2)
train { optimizer = sgd(lr = 0.1), metric = auc }
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """What three processes have found, which were started once: the folder, and what the first two say."""
    folder = tmp_path_factory.mktemp("ranks")
    # Without what differs: dropout, and a bias before a softmax, of which Adam makes noise.
    small = SPEC.replace(", dropout = 0.1", "").replace(
        "linear(1)\n  weight", "linear(1, bias = false)\n  weight"
    )
    named = {"requests": REQUESTS, "nested": NESTED, "small": small}
    broken = small.replace("id: vocab(50, 4) }", "id: vocab(50, 4), age: number }")
    named["broken"] = broken.replace("interest(ad, history))", "interest(ad, history), user.age ^ 2)")
    for name, text in named.items():
        (folder / f"{name}.arec").write_text(text)
    write_examples(folder / "data")
    write_broken(folder)
    paths = [p for p in SHIPPED if p.stem in CHOSEN or os.environ.get(SLOW)]
    paths += [folder / "requests.arec", folder / "nested.arec"]
    rules = ("sgd", "adagrad") if os.environ.get(SLOW) else ("adagrad",)
    cases = [{"name": f"{p.stem} {rule}", "path": str(p), "rule": rule} for p in paths for rule in rules]
    cases += [{"name": f"{n} {r}", "path": str(folder / f"{n}.arec"), "rule": r} for n, r in
              (("requests", "sgd"), ("nested", "adam"))]  # fmt: skip
    asked = {"cases": cases, "ports": [free_port(), free_port()]}
    (folder / "asked.json").write_text(json.dumps(asked))
    for code, out, err in ended(started(["-m", "tests.scale.pair", str(folder)], 3), 7200):
        assert code == 0, out + err
    found = [json.loads((folder / f"found-{number}.json").read_text()) for number in range(2)]
    return folder, found[0], found[1]


def write_broken(folder: Path) -> None:
    """Examples of which one has a number that is too large."""
    write_examples(folder / "broken")
    for name in ("train", "test"):
        table = pq.read_table(folder / "broken" / f"{name}.parquet")
        ages = [1.0] * (len(table) - 1) + [3e38 if name == "train" else 1.0]
        pq.write_table(table.append_column("user_age", [ages]), folder / "broken" / f"{name}.parquet")


def weights(directory: Path) -> dict[str, Tensor]:
    return load_file(directory / "weights.safetensors")


def same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> bool:
    assert found.keys() == wanted.keys()
    return all(
        torch.allclose(found[path], value, rtol=0, atol=tolerance * float(value.abs().max() + 1e-6))
        for path, value in wanted.items()
    )


def test_parts_of_batches_give_the_weights_of_whole_ones(
    together: tuple[Path, dict[str, Any], dict[str, Any]],
) -> None:
    """Of models with counts of candidates, nested axes, two fields on a table, widths 1, 10 and 18, penalties
    by frequency and of layers, statistics of batches, classes and comparisons across a batch, where a process
    now and then has no example, and labels lack."""
    _, found, _ = together
    assert {name: worst for name, worst in found["cases"].items() if worst > 1e-5} == {}
    assert len(found["cases"]) >= len(CHOSEN) + 4


def test_a_whole_training_is_that_of_one_process(
    together: tuple[Path, dict[str, Any], dict[str, Any]],
) -> None:
    folder, _, _ = together
    learn(folder / "small.arec", folder / "data", folder / "one")
    assert same(weights(folder / "two"), weights(folder / "one"), 1e-3)
    told = [(folder / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(told[0]) == len(told[1])
    for one, two in zip(*([json.loads(line) for line in lines] for lines in told), strict=True):
        assert two["step"] == one["step"]
        if one["kind"] == "valid":
            for name, value in one["metrics"]["click"].items():
                assert two["metrics"]["click"][name] == pytest.approx(value, abs=1e-4)
        else:
            assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_what_two_begin_one_or_three_go_on_with(
    together: tuple[Path, dict[str, Any], dict[str, Any]],
) -> None:
    folder, found, other = together
    assert found["interrupted"] == other["interrupted"] == 15
    assert same(weights(folder / "begun-3"), weights(folder / "two"), 1e-3)
    learn(folder / "small.arec", folder / "data", folder / "begun-1", resume=True)
    assert same(weights(folder / "begun-1"), weights(folder / "two"), 1e-3)


def test_a_fault_is_told_by_the_process_that_met_it(
    together: tuple[Path, dict[str, Any], dict[str, Any]],
) -> None:
    _, found, other = together
    faults = sorted([found["fault"], other["fault"]])
    assert faults[0] == "RankLost: another process tells why"
    assert faults[1].startswith("TrainingError: the loss (")


def test_a_killed_process_ends_the_others_with_a_sentence(tmp_path: Path) -> None:
    one_is_killed(tmp_path, SPEC)


def test_what_is_wrong_with_flags_is_told_once(tmp_path: Path) -> None:
    found = ended(started(["-m", "specc", "train", "small.arec", "x.csv", "--epochs", "0"], 2, cwd=tmp_path))
    assert [code for code, _, _ in found] == [2, 2]
    assert [bool(err) for _, _, err in found] == [True, False]


def test_what_is_wrong_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "small.arec").write_text(SPEC)
    found = ended(started(["-m", "specc", "train", "small.arec", "nowhere.parquet"], 2, cwd=tmp_path))
    assert [code for code, _, _ in found] == [1, 1]
    assert [err.count("nowhere.parquet") for _, _, err in found] == [1, 0]


def test_a_signal_in_the_middle_of_an_import_is_told_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a library, which is left half imported, makes of it."""
    notes = torch.distributed.HashStore()  # type: ignore[attr-defined]
    monkeypatch.setattr(ranks, "joined", lambda: nullcontext(ranks.Ranks(0, 2, 2, notes)))
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(processes, "_LATER", 0.0)

    def interrupted() -> None:
        with processes.one_voice(lambda: "no checkpoint"):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except RuntimeError:
                raise AttributeError("module has no attribute") from None

    with pytest.raises(SystemExit) as ended_by:
        interrupted()
    assert ended_by.value.code == 1
    told = capsys.readouterr().err
    assert "stopped by a signal" in told
    assert "no checkpoint" in told
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(AttributeError), processes.one_voice(str):  # a defect stays one
        raise AttributeError("ours")


@pytest.mark.parametrize("option", ["--log=tensorboard", "--every=5"])
def test_what_to_go_on_with_is_a_command_that_torchrun_takes(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with click.Context(click.Command("specc")) as context:
        context.meta["arguments"] = ["train", "shop.arec", option]
        program, *given = again(["--resume"]).split()
    found = get_args_parser().parse_args(given)
    assert (program, found.module, found.training_script) == ("torchrun", True, "specc")
    assert found.training_script_args == ["train", "shop.arec", option, "--resume"]
