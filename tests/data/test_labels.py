"""Labels: what a column may say of a prediction, and examples that have none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

import specc
from specc_runtime import labelled
from specc_runtime.encode import DataError, Encoders, Origin, load_encoders, save_encoders
from specc_runtime.score import predict
from specc_runtime.train import evaluate
from tests.data.specs import manifest

HERE = Origin("data.parquet")
NONE = None


def spec(kind: str) -> dict[str, Any]:
    ends = {"class(3)": 3}.get(kind, 1)
    return manifest(
        f"model m\nspace s from request {{ x: number }}\npredict y: {kind} = s |> linear({ends})\n"
    )


def labels(kind: str, values: Any, train: Any = None, column: str = "y") -> torch.Tensor:
    of = spec(kind)

    def table(given: Any) -> pa.Table:
        return pa.table({"x": [1.0] * len(given), column: given})

    encoders = Encoders.learn(of, [(table(values if train is None else train), HERE)])
    return encoders.encode(table(values), HERE).labels["y"]


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        ("binary", [0, 1, None], [0, 1, math.nan]),
        ("binary", [0.25, math.nan], [0.25, math.nan]),
        ("binary", [-1, 1, None, -1], [0, 1, math.nan, 0]),
        ("binary", [True, False, None], [1, 0, math.nan]),
        ("binary", ["true", "False", None], [1, 0, math.nan]),
        ("binary", ["1", "0", "0.5"], [1, 0, 0.5]),
        ("real", [2.5, None, -3], [2.5, math.nan, -3]),
        ("class(3)", [2, None, 0], [2, -1, 0]),
        ("class(3)", ["2", "0"], [2, 0]),
        ("class(3)", ["sad", None, "glad", "sad"], [1, -1, 0, 1]),
        ("class(3)", ["10", "9", "none"], [0, 1, 2]),  # names, in the order of the texts
    ],
)
def test_labels(kind: str, values: list[Any], found: list[float]) -> None:
    assert labels(kind, values).tolist() == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize(
    ("condition", "values", "found"),
    [
        (">= 4", [4, 3.5, None, 5], [1, 0, math.nan, 1]),
        ("> 4", ["4", "4.5"], [0, 1]),
        ("<= -1", [-1, 0], [1, 0]),
        ("< 2", [1, 2], [1, 0]),
        ("!= 0", [0, 7, None], [0, 1, math.nan]),
        ('== "buy"', ["buy", "view", None], [1, 0, math.nan]),
        ('!= "view"', ["buy", "view"], [1, 0]),
        ('== "7"', [7, 8], [1, 0]),
        ("== true", [True, False], [1, 0]),
        ("== false", ["true", "false"], [0, 1]),
    ],
)
def test_labels_that_are_made(condition: str, values: list[Any], found: list[float]) -> None:
    made = labels(f'binary from "rating" {condition}', values, column="rating")
    assert made.tolist() == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize(
    ("kind", "values", "train", "said"),
    [
        ("binary", [1, 2], NONE, "row 2, column `y`: 2.0 is not a label from 0 to 1"),
        ("binary", [-1, 0, 1], NONE, "row 2, column `y`: 0.0 is a label among others of -1 and 1"),
        ("binary", ["yes"], NONE, "row 1, column `y`: `yes` is not a number"),
        ("binary", [None, None], NONE, "column `y`: no example has a label"),
        ("class(3)", [3], [0], "row 1, column `y`: 3 is not one of the classes 0 to 2"),
        (
            "class(3)",
            ["a"],
            ["b", "c"],
            "row 1, column `y`: `a` is not one of the classes of the training data",
        ),
        ("class(3)", list("abcd"), NONE, "there are 4 labels or more, and `class(3)` has 3 classes"),
    ],
)
def test_labels_that_cannot_be(kind: str, values: list[Any], train: Any, said: str) -> None:
    with pytest.raises(DataError) as found:
        labels(kind, values, train)
    assert said in str(found.value)


def test_signs_and_zeros_in_two_parts_of_the_data() -> None:
    parts = [(pa.table({"x": [1.0], "y": [label]}), HERE) for label in (-1, 0)]
    with pytest.raises(DataError, match=r"0\.0 is a label among others of -1 and 1"):
        Encoders.learn(spec("binary"), parts)


def test_names_of_classes_are_kept(tmp_path: Any) -> None:
    of = spec("class(3)")
    encoders = Encoders.learn(of, [(pa.table({"x": [1.0] * 2, "y": ["b", "a"]}), HERE)])
    assert encoders.classes == {"y": ("a", "b")}
    save_encoders(encoders, tmp_path)
    assert load_encoders(tmp_path, of).classes == {"y": ("a", "b")}


@pytest.mark.parametrize("kind", ["binary", "real", "class(3)"])
def test_an_example_without_a_label_is_left_out(kind: str, tmp_path: Any) -> None:
    """Of one task only: what the others learn from it stays."""
    ends = 3 if kind == "class(3)" else 1
    path = tmp_path / "two.arec"
    path.write_text(
        "model two\nspace s from request { x: number }\nhidden = s |> linear(2)\n"
        f"predict y: {kind} = hidden |> linear({ends})\npredict z: real = hidden |> linear(1)\n"
    )
    model = specc.compile(str(path))
    encoders = Encoders.learn(
        model.manifest, [(pa.table({"x": [1.0, 2.0], "y": [0, 1], "z": [1.0, 2.0]}), HERE)]
    )

    def losses(y: list[Any], z: list[Any]) -> dict[str, torch.Tensor]:
        table = pa.table(
            {"x": [1.0, -2.0, 3.0], "y": pa.array(y, pa.int64()), "z": pa.array(z, pa.float64())}
        )
        batch = encoders.encode(table, HERE)
        assert labelled(batch.labels["y"]).tolist() == [label is not None for label in y]
        return model.losses(batch)

    whole, some = losses([1, 0, 1], [1, 2, 3]), losses([1, None, None], [1, 2, 3])
    torch.testing.assert_close(whole["z"], some["z"])
    alone = [losses([1, None, None], [1, 2, 3])["y"], losses([None, 0, None], [1, 2, 3])["y"]]
    torch.testing.assert_close(losses([1, 0, None], [1, 2, 3])["y"], torch.stack(alone).mean())
    none = losses([None] * 3, [None] * 3)
    assert {name: float(loss.detach()) for name, loss in none.items()} == {"y": 0.0, "z": 0.0}
    torch.stack(list(none.values())).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_real_labels_have_a_range() -> None:
    assert labels("real(range = [1, 5])", [1, 4.5, None]).tolist() == pytest.approx(
        [1, 4.5, math.nan], nan_ok=True
    )
    with pytest.raises(DataError, match=r"row 2, column `y`: 6\.0 is not a label from 1 to 5"):
        labels("real(range = [1, 5])", [1, 6, 7])
    for wrong in ("[5, 1]", "[1]", "3", "[1, 2, 3]"):
        with pytest.raises(AssertionError, match="`range` is two numbers"):
            spec(f"real(range = {wrong})")


def test_what_is_predicted_beyond_the_range_counts_as_its_end(tmp_path: Path) -> None:
    text = "model m\nspace s from request {{ x: number }}\npredict y: real{} = sum(s)\n"
    table = pa.table({"x": [-9.0, 0.5, 9.0], "y": [-1.0, 0.5, 1.0]})
    errors, scores = {}, {}
    for name, said in (("free", ""), ("bound", "(range = [-1, 1])")):
        (tmp_path / f"{name}.arec").write_text(text.format(said))
        model = specc.compile(tmp_path / f"{name}.arec")
        encoders = Encoders.learn(model.manifest, [(table, HERE)])
        errors[name] = evaluate(model, [encoders.encode(table, HERE)]).results["y"]["model"]["rmse"]
        (found,) = predict(model, encoders, [(table, HERE)])
        scores[name] = found.column("y").to_pylist()
    assert errors["bound"] == 0
    assert errors["free"] > 5
    assert scores == {"free": [-9.0, 0.5, 9.0], "bound": [-1.0, 0.5, 1.0]}
