"""Trainings that begin with what a trained model has learnt, and commands that are interrupted."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result

import specc
from specc.cli import main
from specc_runtime import ArtefactError, Model, from_texts
from specc_runtime.encode import Encoders, Origin, load_trained
from specc_runtime.train import Recipe, fit
from specc_runtime.train.start import Start

SPEC = """model started
table items = vocab(50, 4)
space user from request { id: vocab(50, 4), age: ids(5, 2) }
space ad from candidate { item: items, shop: hash(10, 2), price: number(standard) }
x = concat(user, ad) |> mlp([6])
predict click: binary = x |> linear(1)
predict kind: class(4) = x |> linear(4)
train { optimizer = adam(lr = 0.05), batch = 8, epochs = 2, metric = logloss }
"""


def examples(first: int, last: int, kinds: str = "ab") -> pa.Table:
    rows = range(first, last)
    return pa.table(
        {
            "user_id": [f"u{i % 5}" for i in rows],
            "age": [i % 5 for i in rows],
            "ad_item": [f"i{i}" for i in rows],
            "ad_shop": [f"s{i % 7}" for i in rows],
            "ad_price": [float(i) for i in rows],
            "click": [i % 2 for i in rows],
            "kind": [i % len(kinds) for i in rows],
        }
    )


def trained(folder: Path, text: str, rows: pa.Table, name: str, **options: Any) -> Model:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.arec").write_text(text)
    pq.write_table(rows, folder / f"{name}.parquet")
    torch.manual_seed(7)
    model = from_texts(specc.compile(folder / f"{name}.arec").files)
    fit(model, [folder / f"{name}.parquet"], folder / name, Recipe.of(model.manifest), **options)
    return model


def outputs(model: Model, encoders: Encoders, rows: pa.Table) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return model.eval()(encoders.encode(rows, Origin("x"), labels=False))


def started(folder: Path, text: str, rows: pa.Table) -> tuple[Model, Encoders, list[str]]:
    """A model of a spec as it is before its first step, started from the model `first`."""
    (folder / "next.arec").write_text(text)
    torch.manual_seed(1)
    model = from_texts(specc.compile(folder / "next.arec").files)
    start = Start.of(folder / "first")
    encoders = start.settled(Encoders.learn(model.manifest, [(rows, Origin("x"))]))
    return model, encoders, start.give(model, encoders)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    trained(folder, SPEC, examples(0, 20), "first")
    return folder


def test_the_same_spec_and_keys_predict_what_the_trained_model_does(folder: Path) -> None:
    rows = examples(0, 20)
    before, old = load_trained(folder / "first")
    # Other frequencies give the keys other rows, and another spread of the prices other scales.
    more = pa.concat_tables([rows, rows.slice(3, 4), rows.slice(3, 4)])
    model, encoders, told = started(folder, SPEC, more)
    assert told[0].startswith(f"started from {folder / 'first'}: 10 of 10 weights as they were")
    assert not torch.equal(model.state_dict()["items.weight"], before.state_dict()["items.weight"])
    wanted = outputs(before, old, rows)
    found = outputs(model, encoders, rows)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert encoders.scales == old.scales


def test_keys_that_are_new_and_gone_are_counted(folder: Path) -> None:
    before, old = load_trained(folder / "first")
    model, encoders, told = started(folder, SPEC, examples(12, 26))
    assert "items.weight: 8 rows by key, 6 new keys, 12 keys gone" in told
    for key in ("i12", "i19"):
        key_of = pa.array([key], pa.large_string())
        row, was = (int(e.vocabularies["items"].rows(key_of)[0]) for e in (encoders, old))
        assert row > 0
        assert was > 0
        assert torch.equal(model.state_dict()["items.weight"][row], before.state_dict()["items.weight"][was])
    assert torch.equal(model.state_dict()["items.weight"][0], before.state_dict()["items.weight"][0])


CHANGED = (
    SPEC.replace("ids(5, 2)", "ids(8, 2)")
    .replace("hash(10, 2)", "hash(20, 2)")
    .replace("mlp([6])", "mlp([7])")
    .replace("predict click", 'predict like: binary from "click" = x |> linear(1)\npredict click')
    .replace("price: number(standard)", "price: number(log1p)")
)


def test_another_version_of_the_spec_takes_what_fits(folder: Path) -> None:
    before, _ = load_trained(folder / "first")
    model, _, told = started(folder, CHANGED, examples(0, 20))
    said = "\n".join(told)
    assert "user.age.weight: 5 rows as they were; it had 5, and has 8" in said
    assert "ad.shop.weight begins anew: it was hash(n = 10), and is hash(n = 20)" in said
    assert "like.linear.weight is new" in said
    assert "x.mlp.linear.weight begins anew: it was [6, 13], and is [7, 13]" in said
    now, then = model.state_dict(), before.state_dict()
    assert torch.equal(now["user.age.weight"][:5], then["user.age.weight"])
    assert torch.equal(now["user.id.weight"][1:6].sort(0).values, then["user.id.weight"][1:6].sort(0).values)
    # And it trains.
    trained(folder, CHANGED, examples(0, 20), "second", start_from=folder / "first")
    assert load_trained(folder / "second")


def test_what_is_no_start_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is not a trained model: there is nothing to start from"):
        Start.of(tmp_path)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_a_trained_folder_is_not_trained_into_without_a_word(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "my model.arec").write_text(SPEC)
    data, model = tmp_path / "a b.parquet", tmp_path / "m"
    pq.write_table(examples(0, 20), data)
    first = ("train", tmp_path / "my model.arec", data, "-o", model, "--epochs", "1")
    assert run(*first).exit_code == 0
    before = (model / "weights.safetensors").read_bytes()
    for command in (first, ("train", model, data)):
        done = run(*command)
        assert done.exit_code == 1
        assert (model / "weights.safetensors").read_bytes() == before
        lines = [line.strip() for line in done.output.splitlines()]
        commands = [shlex.split(line) for line in lines if line.startswith("specc ")]
        assert len(commands) == 2, done.output
        for words in commands:
            # The advice works as it is printed.
            assert str(data) in words
            done = run(*words[1:])
            assert done.exit_code == 0, done.output
            assert ("started from" in done.output) == ("--start-from" in words)
        before = (model / "weights.safetensors").read_bytes()
    other = run("train", tmp_path / "my model.arec", data, "-o", model, "--start-from", folder / "first")
    assert other.exit_code == 1
    assert "has a trained model" in other.output
    assert run("train", model, data, "--resume", "--overwrite").exit_code == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_and_the_command_to_go_on(tmp_path: Path, number: int) -> None:
    (tmp_path / "my model.arec").write_text(SPEC)
    pq.write_table(examples(0, 50), tmp_path / "a b.parquet")
    program = (
        "import os, sys\nfrom specc.cli import main\nfrom specc_runtime.train import loop\nseen = [0]\n"
        "step = loop._step\n"
        f"def stepped(*a):\n    seen[0] += 1\n    if seen[0] == 10: os.kill(os.getpid(), {int(number)})\n"
        "    return step(*a)\n"
        "loop._step = stepped\nmain()\n"
    )
    options = ["--epochs", "3", "--lr", "0.125", "--seed", "3", "--valid", "a b.parquet"]
    arguments = ["train", "my model.arec", "a b.parquet", "-o", "m d", *options]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + number, done.stderr
    printed = shlex.split(next(x for x in done.stderr.splitlines() if x.strip().startswith("specc ")))
    assert printed == ["specc", *arguments, "--resume"]
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert run(*printed[1:]).exit_code == 0
        whole = run(*[x if x != "m d" else "whole" for x in arguments])
    finally:
        os.chdir(here)
    assert whole.exit_code == 0
    weights = [tmp_path / name / "weights.safetensors" for name in ("m d", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_what_differs_is_said_where_a_training_is_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "s.arec").write_text(SPEC)
    for name, rows in (("one", examples(0, 20)), ("two", examples(20, 40))):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    first = ("train", tmp_path / "s.arec", one, two, "-o", tmp_path / "m")
    assert run(*first, "--epochs", "1").exit_code == 0

    def refused(*arguments: Any) -> str:
        done = run(*arguments, "--resume", "--epochs", "2")
        assert done.exit_code == 1, done.output
        return done.output

    other = ("train", tmp_path / "s.arec", two, one, "-o", tmp_path / "m")
    assert "the training files come in another order; it was one.parquet, two.parquet" in refused(*other)
    assert "the training file two.parquet is gone" in refused(*first[:3], *first[4:])
    assert "trained with batch 8, not 4" in refused(*first, "--batch", "4")
    (tmp_path / "s.arec").write_text(SPEC.replace("mlp([6])", "mlp([9])"))
    said = refused(*first)
    assert "the checkpoint was trained with another spec" in said
    assert "mlp([9])" in said
    assert "mlp([6])" in said
    (tmp_path / "s.arec").write_text(SPEC)
    # Files that were moved are the same; one that was changed is not.
    (tmp_path / "moved").mkdir()
    one.rename(tmp_path / "moved" / "renamed.parquet")
    moved = ("train", tmp_path / "m", tmp_path / "moved" / "renamed.parquet", two)
    assert run(*moved, "--resume", "--epochs", "2").exit_code == 0
    pq.write_table(examples(21, 41), two)
    assert "the training file two.parquet has another content" in refused(*moved)
    state = json.loads((tmp_path / "m" / "checkpoint" / "state.json").read_text())
    assert state["about"]["data"][0]["name"] == "one.parquet"
