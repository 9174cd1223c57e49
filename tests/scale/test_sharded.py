"""Tables that TorchRec divides between the processes of a training learn what one process would."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import specc
from specc_runtime import ArtefactError, save
from specc_runtime.packages import torchrec_from
from specc_runtime.score import Scorer
from specc_runtime.train import Division, Recipe, TrainingError, divide, planned
from specc_runtime.train import sharded as shards_of
from specc_runtime.train.divided import check
from specc_runtime.train.sharded import sharded
from specc_runtime.weights import read_weights, write_pieces
from tests.scale.killed import one_is_killed
from tests.scale.pair import learn
from tests.scale.processes import ended, free_port, started
from tests.scale.test_ranks import NESTED, REQUESTS, SHIPPED, SLOW, same, weights, write_broken
from tests.train.small import SPEC, write_examples

with_torchrec = pytest.mark.skipif(find_spec("torchrec") is None, reason="torchrec is not installed")

# Tables that are called like something of a module, of widths that 4 does not divide, of few rows, frozen,
# read by a bag with max and by a cross.
ODD = """model odd
table train = vocab(60, 256)
table state_dict = vocab(2, 3)
table fixed = vocab(20, 6, frozen = true)
space user from request { id: train, kind: state_dict, likes: bag(vocab(30, 10, l2 = 0.1), sum) }
space ad from candidate { item: fixed, best: bag(train, max), day: ids(7, 2), hour: ids(24, 1),
                          when: cross(day, hour; hash(70, 5)) }
predict click: binary = concat(user, ad) |> linear(4) |> relu |> linear(1)
train { optimizer = adagrad(lr = 0.05) }
"""
# Without what differs: dropout, and a bias before a softmax, of which nothing is learnt but noise.
SMALL = (
    SPEC.replace(", dropout = 0.1", "")
    .replace("linear(1)\n  weight", "linear(1, bias = false)\n  weight")
    .replace("adam(lr = 0.02)", "adagrad(lr = 0.05, eps = 1e-3)")
)
Found = tuple[Path, dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What three processes have found, which were started once: the folder, and what the first two say."""
    folder = tmp_path_factory.mktemp("sharded")
    named = {"requests": REQUESTS, "nested": NESTED, "odd": ODD, "small": SMALL}
    named["placed"] = SMALL.replace("epochs = 3", "epochs = 1") + "place items on sharded\n"
    broken = SMALL.replace("id: vocab(50, 4) }", "id: vocab(50, 4), age: number }")
    named["broken"] = broken.replace("interest(ad, history))", "interest(ad, history), user.age ^ 2)")
    for name, text in named.items():
        (folder / f"{name}.arec").write_text(text)
    write_examples(folder / "data")
    write_broken(folder)
    slow = bool(os.environ.get(SLOW))
    paths = [p for p in SHIPPED if slow or p.stem in ("din", "afm")]
    paths += [folder / "requests.arec", folder / "nested.arec"]
    rules = ("sgd", "adagrad") if slow else ("adagrad",)
    cases = [{"name": f"{p.stem} {rule}", "path": str(p), "rule": rule} for p in paths for rule in rules]
    cases += [
        {"name": f"odd {kind}", "path": str(folder / "odd.arec"), "rule": rule, "kind": kind}
        for kind, rule in (("row_wise", "sgd"), ("table_wise", "adagrad"), ("column_wise", "adagrad"))
    ]
    asked = {"cases": cases, "ports": [free_port(), free_port()]}
    (folder / "asked.json").write_text(json.dumps(asked))
    for code, out, err in ended(started(["-m", "tests.scale.shards", str(folder)], 3), 3000 if slow else 600):
        assert code == 0, out + err
    found = [json.loads((folder / f"found-{number}.json").read_text()) for number in range(2)]
    return folder, found[0], found[1]


@with_torchrec
def test_divided_tables_learn_what_one_process_learns(together: Found) -> None:
    """Of models with counts of candidates, nested axes, two fields on a table, widths 1, 3, 10 and 18, bags
    and crosses, penalties by frequency, statistics of batches, frozen tables, and tables that are read as a
    whole, where a process now and then has no example, and labels lack."""
    _, found, _ = together
    cases = found["cases"].items()
    assert {name: case for name, case in cases if case["losses"] > 1e-5} == {}
    # Of all shipped specs there is one in which Adagrad divides by hardly more than rounding.
    limit = {"adagrad": 1e-3 if os.environ.get(SLOW) else 1e-5}
    assert {n: case for n, case in cases if case["weights"] > limit.get(n.split()[-1], 1e-5)} == {}
    assert len(found["cases"]) >= 7
    for kind in ("row", "table", "column"):
        plan = " ".join(found["cases"][f"odd {kind}_wise"]["plan"])
        assert f"train: {kind}-wise" in plan
        assert "fixed" not in plan


@with_torchrec
def test_a_training_of_two_is_that_of_one_process(together: Found) -> None:
    folder, _, _ = together
    learn(folder / "small.arec", folder / "data", folder / "one")
    assert same(weights(folder / "two"), weights(folder / "one"), 1e-3)
    told = [(folder / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    for one, two in zip(*([json.loads(line) for line in lines] for lines in told), strict=True):
        assert two["step"] == one["step"]
        if one["kind"] == "valid":
            assert two["metrics"]["click"] == pytest.approx(one["metrics"]["click"], abs=1e-4)
    # What is saved is a model as any other.
    Scorer.load(folder / "two")


@with_torchrec
def test_a_spec_says_which_tables_are_divided(together: Found) -> None:
    folder, found, _ = together
    assert [said for said in found["placed"] if "-wise" in said] == ["items: row-wise, processes 0 to 1"]
    assert "items.weight" in weights(folder / "placed")


@with_torchrec
def test_what_two_begin_one_or_three_go_on_with(together: Found) -> None:
    folder, found, other = together
    assert found["interrupted"] == other["interrupted"] == 15
    assert same(weights(folder / "begun-3"), weights(folder / "two"), 1e-4)
    learn(folder / "small.arec", folder / "data", folder / "begun-1", resume=True, tables="sharded")
    assert same(weights(folder / "begun-1"), weights(folder / "two"), 1e-4)


@with_torchrec
def test_a_fault_is_told_by_the_process_that_met_it(together: Found) -> None:
    _, found, other = together
    faults = sorted([found["fault"], other["fault"]])
    assert faults[0] == "RankLost: another process tells why"
    assert faults[1].startswith("TrainingError: the loss (")


@with_torchrec
def test_a_killed_process_ends_the_others_and_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    one_is_killed(tmp_path, SMALL, "--tables", "sharded")


@with_torchrec
def test_what_is_saved_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one process holds several shards of a table, in several files each."""
    monkeypatch.setattr(planned, "_kinds", lambda wide, rowwise: ["column_wise"])
    monkeypatch.setattr(shards_of, "_FILE", 2000)
    monkeypatch.setattr(shards_of, "_PIECE", 300)
    model, twin = specc.compile(ODD), specc.compile(ODD)
    for path, weight in twin.state_dict().items():
        weight.copy_(model.state_dict()[path])
    paths = Division.of(model.manifest, "sharded").paths
    divide(model, paths)
    with sharded(model, Recipe.of(model.manifest)) as source:
        assert source is not None
        source.begin()
        for path in paths:
            assert torch.equal(torch.cat([*source.pieces(path)]), twin.state_dict()[path])
        held = {name: [s.tensor for s in x.local_shards()] for name, x in source.tensors().items()}
        assert len(held["train.weight"]) == 2
        before = {name: [torch.rand_like(x) for x in some] for name, some in held.items()}
        for name, some in held.items():
            for x, value in zip(some, before[name], strict=True):
                x.copy_(value)
        files = source.save(tmp_path / "tables")
        assert {path.name for path in (tmp_path / "tables").iterdir()} == files.keys()
        for x in (x for some in held.values() for x in some):
            x.zero_()
        source.load(tmp_path / "tables", 3)
        for name, some in held.items():
            assert all(torch.equal(x, y) for x, y in zip(some, before[name], strict=True))
    assert model.source is None


MANIFEST = """model small
table items = vocab(50, 4)
table fixed = vocab(50, 4, frozen = true)
space user from request { id: vocab(50, 4) }
space ad from candidate { item: items, kind: fixed }
predict click: binary = concat(user, ad) |> linear(1)
predict next: class(items) = concat(user, ad) |> linear(4)
"""


def test_what_is_divided_and_what_is_not() -> None:
    manifest = specc.compile(MANIFEST).manifest
    found = Division.of(manifest, "sharded")
    assert found.paths == ("user.id.weight",)
    assert [said.partition(" ")[0] for said in found.said] == ["items", "fixed"]
    assert Division.of(manifest, "replicated").paths == Division.of(manifest, None).paths == ()
    assert Division.of(manifest, None, ["user.id.weight"]).paths == ("user.id.weight",)
    only = specc.compile(MANIFEST.replace("id: vocab(50, 4)", "id: vocab(50, 4, frozen = true)")).manifest
    assert Division.of(only, "sharded").said[-1].startswith("no table is divided")


@pytest.mark.parametrize(
    ("recipe", "rowwise", "said"),
    [
        (Recipe(optimizer="sgd", options={"lr": 0.1}, clip=1.0), False, ["`clip`"]),
        (Recipe(optimizer="sgd", options={"lr": 0.1, "momentum": 0.9}), False, ["`momentum`"]),
        (Recipe(optimizer="rmsprop", options={"weight_decay": 0.1}, clip=1.0), True,
         ["`clip`", "rmsprop", "--rowwise"]),
        (Recipe(optimizer="adam"), False, ["no Adam on a CPU"]),
        (Recipe(optimizer="adagrad", options={"weight_decay": 0.1}), False, ["`weight_decay`"]),
    ],
)  # fmt: skip
def test_what_divided_tables_rule_out_is_said_at_once(recipe: Recipe, rowwise: bool, said: list[str]) -> None:
    model = specc.compile(MANIFEST)
    with pytest.raises(TrainingError) as found:
        check(model, ["user.id.weight"], recipe, rowwise)
    lines = str(found.value).splitlines()[1:]
    assert len(lines) == len(said)
    assert all(word in line for word, line in zip(said, lines, strict=True))


def test_a_model_whose_tables_are_apart_has_the_other_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, twin = specc.compile(MANIFEST), specc.compile(MANIFEST)
    divide(model, ["user.id.weight"])
    assert model.state_dict().keys() == twin.state_dict().keys() - {"user.id.weight"}
    assert model.place("cpu") is model
    with pytest.raises(ArtefactError, match=r"has no rows of user\.id\.weight"):
        save(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_torchrec_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchrec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchrec", None)
    (tmp_path / "small.arec").write_text(SMALL)
    data = write_examples(tmp_path / "data", rows=20)
    with pytest.raises(TrainingError, match=re.escape(torchrec_from())):
        learn(tmp_path / "small.arec", data, tmp_path / "out", tables="sharded")
    assert not (tmp_path / "out").exists()


def test_a_table_is_written_as_its_rows_come(tmp_path: Path) -> None:
    rows = torch.rand(7, 3)
    layers = {
        "a": torch.arange(4),
        "b": torch.rand(2, 2).half(),
        "c": torch.tensor(2.0),
        "d": torch.zeros(0, 2),
    }
    write_pieces(tmp_path / "w", layers, {"t": ((7, 3), rows.split(2))})
    found, _ = read_weights(tmp_path / "w")
    assert found.keys() == {*layers, "t"}
    assert all(torch.equal(found[name], value) for name, value in {**layers, "t": rows}.items())
    with pytest.raises(ValueError, match="t is not as large"):
        write_pieces(tmp_path / "w", layers, {"t": ((8, 3), rows.split(2))})
