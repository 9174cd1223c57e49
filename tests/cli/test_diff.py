"""`specc diff`: what differs is told, nothing else, and weights carry over as `train --start-from` has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from specc.cli import main
from specc.cli.computed import computed_otherwise
from specc.driver import load
from specc.testing.programs import program_of

SPEC = """model shop

param width = 8 in {4, 8}

table items = vocab(50, 8)

space user from request { id: ids(40, 8) }
space ad   from candidate { item: items, price: number(log1p) }

predict click: binary = concat(user, ad) |> mlp([width], act = relu) |> linear(1)

train { optimizer = adam(lr = 0.01), batch = 32, epochs = 1, seed = 1 }
"""

JOINED = "predict click: binary = concat(user, ad)"
NAMED = "both = concat(user, ad)\npredict click: binary = both"


def diff(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["diff", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "shop.arec"
    file.write_text(SPEC, encoding="utf-8")
    return file


def changed(spec: Path, old: str, new: str) -> Path:
    assert old in SPEC
    file = spec.with_name("changed.arec")
    file.write_text(SPEC.replace(old, new), encoding="utf-8")
    return file


def test_a_model_differs_from_itself_in_nothing(spec: Path) -> None:
    found = diff(spec, spec)
    weights = found.pop("weights")
    assert not any(found.values())
    assert weights["anew"] == {}
    assert weights["gone"] == []


@pytest.mark.parametrize(
    ("old", "new", "section", "name", "before", "after"),
    [
        ("width = 8 in", "width = 4 in", "params", "width", "8", "4"),
        ("number(log1p)", "vector(2)", "inputs", "ad.price", "number(log1p) [1]", "vector(2) [2]"),
        ("log1p)", 'log1p) from "cost"', "inputs", "ad.price", "column ad_price", "column cost"),
        ("lr = 0.01", "lr = 0.1", "recipe", "optimizer.lr", "0.01", "0.1"),
        ("click: binary", "click: real", "predictions", "click", "binary", "real"),
        (JOINED, NAMED, "values", "both", None, "[17]"),
        ("click: binary", "click: binary(positive = 2)", "predictions", "click",
         "positive = 1.0", "positive = 2.0"),
        ("vocab(50, 8)", "vocab(50, 8, init = normal(1))", "initial weights and penalties", "items.weight",
         "normal(0.01)", "normal(1.0)"),
        ("act = relu", "act = dice", "computed otherwise", "click",
         "relu shop.arec:10", "dice changed.arec:10"),
        ("concat(user, ad)", "concat(ad, user)", "computed otherwise", "click",
         "embed shop.arec:7", "concat changed.arec:8"),
    ],
)  # fmt: skip
def test_what_differs_is_told(
    spec: Path, old: str, new: str, section: str, name: str, before: str | None, after: str
) -> None:
    told = diff(spec, changed(spec, old, new))[section]
    assert {"name": name, "before": before, "after": after} in told


@pytest.mark.parametrize("number", range(8))
def test_nothing_is_computed_otherwise_in_the_same_program(tmp_path: Path, number: int) -> None:
    file = tmp_path / "random.arec"
    file.write_text(program_of(number), encoding="utf-8")
    (first, _), (second, _) = load(file), load(file)
    assert first is not None
    assert second is not None
    assert computed_otherwise(first, second) == {}


def test_a_name_for_what_was_there_is_not_computed_otherwise(spec: Path) -> None:
    assert diff(spec, changed(spec, JOINED, NAMED))["computed otherwise"] == []


def test_weights_carry_over_as_a_training_has_it(spec: Path) -> None:
    rows = ["user_id,ad_item,ad_price,click"]
    rows += [f"{i % 30},i{i % 20},{i % 7},{i % 2}" for i in range(200)]
    data = spec.with_name("data.csv")
    data.write_text("\n".join(rows), encoding="utf-8")
    trained = spec.with_name("trained")
    run = CliRunner().invoke(main, ["train", str(spec), str(data), "-o", str(trained), "--lr", "0.02"])
    assert run.exit_code == 0, run.output
    # A recipe is the one that the model was trained by, also where the spec beside it says otherwise.
    assert diff(trained, spec)["recipe"] == [{"name": "optimizer.lr", "before": "0.02", "after": "0.01"}]
    text = SPEC.replace("ids(40, 8)", "ids(60, 8)").replace("[width]", "[width, 4]")
    wider = spec.with_name("wider.arec")
    wider.write_text(text.replace("price: number(log1p)", "price: bucket([1, 2], 3)"), encoding="utf-8")
    weights = diff(trained, wider)["weights"]
    started = CliRunner().invoke(
        main,
        ["train", str(wider), str(data), "-o", str(spec.with_name("more")), "--start-from", str(trained)],
    )
    assert started.exit_code == 0, started.output
    said = started.output
    assert weights["kept"]["by number"] == ["user.id.weight"]
    assert "user.id.weight: 40 rows as they were" in said
    assert weights["kept"]["by key"] == ["items.weight"]
    assert "items.weight: 20 rows by key" in said
    assert weights["anew"]
    for path, why in weights["anew"].items():
        assert f"{path} {why}" in said
    whole = len(weights["kept"].get("whole", [])) + 1  # and the table whose keys are all the same
    assert f"{whole} of {sum(map(len, weights['kept'].values())) + len(weights['anew'])} weights" in said


def test_faults_of_both_are_told(spec: Path) -> None:
    wrong = changed(spec, "vocab(50, 8)", "vocab(50, 8")
    done = CliRunner().invoke(main, ["diff", str(wrong), str(spec.with_name("absent.arec"))])
    assert done.exit_code == 1
    assert "changed.arec" in done.output
    assert "absent.arec" in done.output


def test_a_folder_that_is_no_model_is_refused(spec: Path) -> None:
    done = CliRunner().invoke(main, ["diff", str(spec), str(spec.parent)])
    assert done.exit_code == 1
    assert "is not a compiled model" in done.output
    assert "Traceback" not in done.output


def test_a_new_name_for_the_same_weights_is_told(spec: Path) -> None:
    file = spec.with_name("changed.arec")
    text = SPEC.replace("items", "goods").replace("predict click", "predict bought")
    text = text.replace("id: ids", "number: ids")
    file.write_text(text, encoding="utf-8")
    weights = diff(spec, file)["weights"]
    assert weights["renamed"] == {"goods": "items", "bought": "click", "user.number": "user.id"}
    told = CliRunner().invoke(main, ["diff", str(spec), str(file)]).stdout
    assert "carry over if it stays items" in told
    assert f"--start-from MODEL, where MODEL is {spec}, trained" in told
