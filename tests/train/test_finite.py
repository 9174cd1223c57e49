"""Where a number stops being finite: the value of the spec, the weight or the data is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

import specc
from specc.cli import main
from specc.testing.batches import random_batch
from specc_runtime import Model
from specc_runtime.finite import NotFinite, broken_gradients, largest_gradient, where_forward, where_loss
from specc_runtime.train import evaluate
from specc_runtime.train.evaluate import Evaluation

HEAD = """model m
space user from request { id: ids(9, 4) }
space ad from candidate { item: ids(9, 4), price: number }
space history[t <= 5] from request { item: ids(9, 4) }
"""


def compiled(tmp_path: Path, body: str) -> tuple[Model, Any]:
    (tmp_path / "m.arec").write_text(HEAD + body)
    torch.manual_seed(0)
    model = specc.compile(tmp_path / "m.arec")
    return model, random_batch(model.manifest, size=12, seed=1)


def said(lines: list[str]) -> str:
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("body", "name", "line"),
    [
        ("far = log(ad.price - 1_000)\npredict click: binary = concat(user, far) |> linear(1)\n", "far", 5),
        (
            "seen = mean(history, over t)\nodd = sqrt(dot(seen, user) - 100)\n"
            "predict click: binary = concat(user, odd) |> linear(1)\n",
            "odd",
            6,
        ),
        (
            "near = exp(ad.price * 1_000)\npredict click: binary = concat(user, near - near) |> linear(1)\n",
            "near",
            5,
        ),
    ],
)
def test_a_prediction_is_traced_to_its_first_value(tmp_path: Path, body: str, name: str, line: int) -> None:
    model, batch = compiled(tmp_path, body)
    message = said(where_forward(model.eval(), batch))
    assert f"m.arec:{line}" in message
    assert name in message


def test_a_mask_is_not_blamed(tmp_path: Path) -> None:
    """Minus infinity before a softmax is how places are left out."""
    model, batch = compiled(
        tmp_path,
        "score = history |> linear(1)\nweight = softmax(score, over t)\n"
        "seen = sum(weight * history, over t)\n"
        "predict click: binary = concat(seen, log(ad.price - 1_000)) |> linear(1)\n",
    )
    message = said(where_forward(model.eval(), batch))
    assert "m.arec:8" in message
    assert "m.arec:6" not in message


def test_weights_and_data_come_first(tmp_path: Path) -> None:
    body = "predict click: binary = concat(user, ad) |> linear(1)\n"
    model, batch = compiled(tmp_path, body)
    assert where_forward(model, batch) == []
    assert where_loss(model, batch)[0].startswith("every value and loss is finite")
    batch.fields["ad.price"][3] = float("inf")
    assert "ad.price has 1 infinite of 12, first in row 4 of the batch" in said(where_forward(model, batch))
    model.part("click.linear").bias.data[0] = float("nan")
    assert "the weight click.linear.bias is not finite: 1 NaN of 1" in said(where_forward(model, batch))


def test_a_gradient_is_traced_too(tmp_path: Path) -> None:
    """The root of 0 is 0, but its slope is infinite."""
    model, batch = compiled(
        tmp_path,
        "flat = ad.price |> linear(4)\nroot = sqrt(flat * flat)\n"
        "predict click: binary = concat(user, root) |> linear(1)\n",
    )
    model.part("flat.linear").weight.data.zero_()
    model.part("flat.linear").bias.data.zero_()
    model.loss(batch).backward()
    assert not torch.isfinite(largest_gradient(model))
    assert broken_gradients(model)
    message = said(where_loss(model, batch))
    assert "every value and loss is finite, but not the gradient" in message
    assert "weights whose gradient is not finite: flat." in message
    assert "m.arec:6" in message or "m.arec:5" in message


def test_evaluation_names_the_value_and_the_example(tmp_path: Path) -> None:
    body = "far = log(ad.price + 10)\npredict click: binary = concat(user, far) |> linear(1)\n"
    model, batch = compiled(tmp_path, body)
    assert isinstance(evaluate(model, [batch]), Evaluation)
    batch.fields["ad.price"][5] = -1e9
    with pytest.raises(NotFinite) as found:
        evaluate(model, [compiled(tmp_path, body)[1], batch])
    message = str(found.value)
    assert "the prediction click is not a finite number for one example, first for number 18" in message
    assert "`far` (m.arec:5): 1 NaN of 12" in message


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_commands_end_with_the_line_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "m.arec").write_text(
        "model m\nspace user from request { id: ids(9, 4) }\nspace ad from candidate { price: number }\n"
        "root = sqrt(ad.price)\npredict click: binary = concat(user, root) |> linear(1)\n"
    )

    def write(name: str, prices: list[float]) -> Path:
        rows = {"user_id": [1, 2, 3, 4], "ad_price": prices, "click": [0, 1, 0, 1]}
        pq.write_table(pa.table(rows), tmp_path / name)
        return tmp_path / name

    good, bad = write("good.parquet", [1.0, 2.0, 3.0, 4.0]), write("bad.parquet", [1.0, 2.0, -3.0, 4.0])
    assert run("train", tmp_path / "m.arec", good, "-o", tmp_path / "out").exit_code == 0
    done = run("evaluate", tmp_path / "out", bad)
    assert done.exit_code == 1
    assert "first for number 3" in done.output
    assert "`root` (m.arec:4): 1 NaN of 4" in done.output
    done = run("train", tmp_path / "m.arec", bad, "-o", tmp_path / "other")
    assert done.exit_code == 1
    assert "the loss (click is nan) is not a finite number at step 1" in done.output
    assert "`root` (m.arec:4)" in done.output
    zero = write("zero.parquet", [0.0, 0.0, 0.0, 0.0])
    assert run("train", tmp_path / "m.arec", zero, "-o", tmp_path / "zero").exit_code == 0
