"""What weights start from: biases, second tables, and trained models."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch

import specc
from specc.driver import check
from specc_runtime import Model, save
from specc_runtime.encode import Encoders, Origin, load_pretrained, save_encoders

SPEC = """
model starts
space ad from candidate {{ item: vocab(10, 2), price: number }}
{head}
predict click: binary = {expression}
"""


def compiled(folder: Path, expression: str, head: str = "") -> Model:
    (folder / "starts.arec").write_text(SPEC.format(expression=expression, head=head))
    return specc.compile(folder / "starts.arec")


def faults(folder: Path, expression: str) -> list[str]:
    with pytest.raises(specc.SpecError) as error:
        compiled(folder, expression)
    return [d.message for d in error.value.report]


def test_a_bias_starts_where_it_is_said_to(tmp_path: Path) -> None:
    model = compiled(
        tmp_path, "ad |> linear(3, bias_init = 2) |> mlp([4], bias_init = normal(1)) |> linear(1)"
    )
    weights = model.state_dict()
    assert weights["click.linear.bias"].tolist() == [2.0] * 3
    assert weights["click.mlp.linear.bias"].abs().min() > 0
    assert weights["click.linear_2.bias"].tolist() == [0.0]


def test_a_start_that_has_no_effect_is_told(tmp_path: Path) -> None:
    assert faults(tmp_path, "ad |> linear(1, bias = false, bias_init = 1)") == [
        "`bias_init` starts a bias, and `bias = false` leaves it out"
    ]
    assert faults(tmp_path, "ad |> linear(1, bias_init = identity)") == [
        "`click.linear.bias` is one vector, and `identity` is a matrix"
    ]


def test_gates_start_open(tmp_path: Path) -> None:
    (tmp_path / "gates.arec").write_text(
        """
model gates
space history[t <= 5] from request { item: ids(9, 4) }
states   = history |> gru(gate_bias = 1)
memories = states |> lstm(forget_bias = 2)
predict click: binary = last(memories, over t) |> linear(1)
"""
    )
    weights = specc.compile(tmp_path / "gates.arec").state_dict()
    biases = {path: value.unique().tolist() for path, value in weights.items() if path.endswith("bias")}
    ones = {path for path, value in biases.items() if value == [1.0]}
    assert {path.split(".")[-3] for path in ones} == {"keep", "reset"}
    assert [path for path, value in biases.items() if value == [2.0]] == [
        "memories.lstm.memory.lstm_memory.keep.linear.bias"
    ]


def test_a_second_table_has_a_start_and_a_penalty(tmp_path: Path) -> None:
    model = compiled(tmp_path, "sum(lookup(ad, init = constant(0.5), l2 = 0.25))")
    weights = model.state_dict()
    assert set(weights["click.lookup.ad.item.weight"].flatten().tolist()) == {0.5}
    table = pa.table({"ad_item": ["a", "b", "b"], "ad_price": [0.0, 0.0, 0.0], "click": [1.0, 0.0, 1.0]})
    encoders = Encoders.learn(model.manifest, [(table, Origin(tmp_path / "x"))])
    batch = encoders.encode(table, Origin(tmp_path / "x"), labels=True)
    # Two distinct rows of the table and one weight of the number, each 0.5² · 0.25.
    assert float(model.losses(batch)["l2"].detach()) == pytest.approx(3 * 0.25 * 0.25)


def test_second_tables_start_from_a_trained_model_by_key(tmp_path: Path) -> None:
    first = compiled(tmp_path, "sum(lookup(ad))")
    seen = pa.table({"ad_item": ["a", "a", "b"], "ad_price": [1.0, 2.0, 3.0]})
    theirs = Encoders.learn(first.manifest, [(seen, Origin(tmp_path / "x"))])
    save(first, tmp_path / "fm")
    save_encoders(theirs, tmp_path / "fm")
    with pytest.warns(UserWarning, match="start from files"):
        model = compiled(tmp_path, 'sum(lookup(ad, pretrained = "fm"))')
    seen = pa.table({"ad_item": ["c", "c", "c", "a", "a", "b"], "ad_price": [1.0] * 6})
    ours = Encoders.learn(model.manifest, [(seen, Origin(tmp_path / "x"))])
    found = load_pretrained(model, ours, [tmp_path])
    assert set(found) == {"click.lookup.ad.item.weight", "click.lookup.ad.price.weight"}
    assert ours.vocabularies["ad.item"].keys[0].as_py() == "c"  # so that "a" has another row than before
    for key in "ab":
        row, before = (
            int(e.vocabularies["ad.item"].rows(pa.array([key], pa.large_string()))[0]) for e in (ours, theirs)
        )
        path = "click.lookup.ad.item.weight"
        assert torch.equal(model.state_dict()[path][row], first.state_dict()[path][before])


@pytest.mark.parametrize("start", ["xavier", "xavier()", "zeros()", "normal(0.1)", "identity()", "he()"])
def test_starts_are_written_alike_inside_of_blocks(start: str) -> None:
    """With or without brackets, as outside; whether or not the block is called."""
    text = (
        "model m\nspace user from request { id: vocab(500, 8) }\n"
        f"block own(x[d]) -> [d] {{ return linear(x, d, init = {start}) }}\n"
        f"predict click: binary = {{}} |> linear(8, init = {start}) |> linear(1)\n"
    )
    for called in ("own(user)", "user"):
        assert not check(text.replace("{}", called)).has_errors
