"""The emitted source: what a person reads, and what may not be in it.

`AREC_UPDATE_GOLDEN=1 pytest tests/emit` writes the golden text anew.
"""

from __future__ import annotations

import ast
import os
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import specc
from specc.driver import compiled
from specc.emit.names import TAKEN, Names
from specc.report import Report
from specc.testing.batches import random_batch
from specc_runtime import Model

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "specs"
SHIPPED = sorted(SPECS.glob("*.arec"))

HOSTILE = """
model forward

table layers = ids(7, 4)
table self   = ids(7, 4)

space batch  from candidate { values: layers, class: self, train: number(none) }
space ops[t <= 3] from request { torch: layers, None: self }

learned losses[t, 8]
layer place = linear(8)

attention weight(query[e], key[t, d]) -> [d] {
  score  = dot(query |> linear(d), key)
  weight = softmax(score, over t)
  return sum(weight * key, over t)
}

at      = place(ops + losses)
forward = weight(batch, at)

predict state_dict: binary = concat(forward, batch) |> linear(1)
predict type: class(3)     = concat(forward, batch) |> linear(3)
"""


def texts(spec: Path, passes: str = "default") -> dict[str, str]:
    report = Report()
    found = compiled(spec, passes, None, {}, report)
    assert found is not None, list(report)
    return dict(found.texts)


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda p: p.stem)
@pytest.mark.parametrize("passes", ["none", "default"])
def test_the_source_needs_only_torch_and_the_runtime(spec: Path, passes: str) -> None:
    tree = ast.parse(texts(spec, passes)["model.py"])
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {str(m).partition(".")[0] for m in modules} <= {"torch", "specc_runtime", "typing"}


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda p: p.stem)
def test_every_name_is_read_and_every_line_short(spec: Path) -> None:
    source = texts(spec)["model.py"]
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            names = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
            stored = {n.id for n in names if isinstance(n.ctx, ast.Store)} - {"_"}
            assert stored <= {n.id for n in names if isinstance(n.ctx, ast.Load)}, function.name
    assert max(len(line) for line in source.splitlines()) <= 130


def test_the_same_spec_gives_the_same_text() -> None:
    assert texts(SPECS / "dsin.arec") == texts(SPECS / "dsin.arec")


def test_the_source_of_a_small_model() -> None:
    path = HERE / "golden" / "small.py.txt"
    source = texts(HERE / "golden" / "small.arec")["model.py"]
    if os.environ.get("AREC_UPDATE_GOLDEN"):
        path.write_text(source)
    assert source == path.read_text()


def test_many_tables_of_a_lookup_are_read_by_their_paths(tmp_path: Path) -> None:
    fields = ", ".join(f"f{n}: ids(9, 2)" for n in range(7))
    spec = tmp_path / "many.arec"
    spec.write_text(
        f"model many\nspace all from request {{ {fields} }}\npredict click: binary = all |> linear(1)\n"
    )
    text = texts(spec)["model.py"]
    assert text.count('self.part("all.f3.weight")') >= 1
    assert "self.all.f3.weight" not in text
    model = specc.compile(spec).double()
    batch = random_batch(model.manifest, 5, 0)
    columns = [model.part(f"all.f{n}.weight")[batch.column(f"all.f{n}")] for n in range(7)]
    expected = model.part("click.linear")(torch.cat(columns, 1)).squeeze(-1)
    assert torch.allclose(model(batch)["click"], expected)


def test_what_was_compiled_compiles_to_the_same(tmp_path: Path) -> None:
    for spec in (SPECS / "dien_official.arec", SPECS / "dsin.arec"):
        first = texts(spec)
        (tmp_path / "spec.arec").write_text(first["spec.arec"])
        again = texts(tmp_path / "spec.arec")
        one, two = (ast.parse(t["model.py"]).body[1:] for t in (first, again))
        assert [ast.dump(node) for node in one] == [ast.dump(node) for node in two]


@pytest.mark.parametrize("passes", ["none", "default"])
def test_a_spec_may_use_any_name(tmp_path: Path, passes: str) -> None:
    path = tmp_path / "hostile.arec"
    path.write_text(HOSTILE)
    model = specc.compile(path, passes=passes)
    batch = random_batch(model.manifest, 5, 0)
    model.loss(batch).backward()
    found = model(batch)
    assert found["state_dict"].shape == (5,)
    assert found["type"].shape == (5, 3)
    assert all(w.grad is not None for w in model.parameters())
    assert set(model.state_dict()) == {w["path"] for w in model.manifest["weights"]}


def test_attributes_of_modules_are_taken() -> None:
    known = {name for name in dir(Model()) if not name.startswith("_")}
    known |= {name for name in dir(nn.Module()) if not name.startswith("_")}
    assert known <= TAKEN


def test_names_are_identifiers_used_once() -> None:
    names = Names()
    found = [names.take("for"), names.take("x"), names.take("x"), names.take("1 2"), names.take("sum")]
    assert len(set(found)) == 5
    assert all(name.isidentifier() for name in found)
    assert {"for", "sum"}.isdisjoint(found)


def test_a_fault_while_running_cites_the_spec() -> None:
    model = specc.compile(SPECS / "din.arec")
    batch = random_batch(model.manifest, 3, 0)
    fields = {**batch.fields, "ad.item": torch.zeros(2, dtype=torch.int64)}
    with pytest.raises(ValueError, match="have 2 and 3 rows") as fault:
        model(replace(batch, fields=fields))
    shown = "".join(traceback.format_exception(fault.value))
    lines = (SPECS / "din.arec").read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.startswith("space ad "))
    assert f"This is what din.arec:{number} compiled to: ad_rows, " in shown
