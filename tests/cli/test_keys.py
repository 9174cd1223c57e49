"""`specc keys`: from keys to rows and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from specc.cli import main
from specc_runtime.encode import Encoders, Origin, save_encoders

SPEC = """model m
table items = vocab(4, 4)
space user from request { id: vocab(50, 4), city: hash(10, 4) }
space ad from candidate { item: items, both: cross(item, user.id; hash(10, 4)) }
predict click: binary = concat(user, ad) |> linear(1)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with encoders, as training leaves it."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "m.arec").write_text(SPEC)
    done = CliRunner().invoke(main, ["compile", str(folder / "m.arec"), "-o", str(folder / "out")])
    assert done.exit_code == 0, done.output
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    items = pa.array([7, 7, 7, 8, 8, 9, 9, 5])
    table = pa.table({"id": ["a\tb", *"uvuvuvu"], "city": ["x"] * 8, "item": items, "click": [0, 1] * 4})
    save_encoders(Encoders.learn(manifest, [(table, Origin("data"))]), folder / "out")
    return folder / "out"


def keys(model: Path, *arguments: Any, **options: Any) -> Result:
    return CliRunner().invoke(main, ["keys", str(model), *map(str, arguments)], **options)


def test_tables(model: Path) -> None:
    assert keys(model).output == (
        "items    3 keys  of 4  12 % of values unknown\nuser.id  3 keys  of 3  0 % of values unknown\n"
    )
    lines = [json.loads(line) for line in keys(model, "--json").output.splitlines()]
    assert lines[0] == {"table": "items", "keys": 3, "of": 4, "unknown": 0.125}


def test_all_rows_of_a_table(model: Path) -> None:
    assert keys(model, "items").output == "1\t7\t3\n2\t8\t2\n3\t9\t2\n"
    assert keys(model, "user.id").output == '1\tu\t4\n2\tv\t3\n3\t"a\\tb"\t1\n'


def test_keys_to_rows(model: Path) -> None:
    assert keys(model, "items", 9, 5, "007", 7).output == "3\t9\t2\n0\t5\t0\n0\t007\t0\n1\t7\t3\n"
    done = keys(model, "--json", "user.id", "-", input="u\nnobody\n")
    assert [json.loads(line) for line in done.output.splitlines()] == [
        {"row": 1, "key": "u", "count": 4},
        {"row": 0, "key": "nobody", "count": 0},
    ]


def test_rows_to_keys(model: Path) -> None:
    assert keys(model, "items", "--rows", 0, 3, 99).output == "0\t\t0\n3\t9\t2\n99\t\t0\n"
    rows = "\n".join(line.split("\t")[0] for line in keys(model, "items", 8, 7).output.splitlines())
    assert keys(model, "items", "--rows", "-", input=rows).output == "2\t8\t2\n1\t7\t3\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["itms"], 1, "the model has no table `itms`; did you mean `items`?"),
        (["zzzzzzzz"], 1, "the model has no table `zzzzzzzz`; those with one are `items`, `user.id`"),
        (["user.city", "x"], 1, "`user.city` has no vocabulary: `hash` works a row out of the value"),
        (["ad.both"], 1, "`ad.both` has no vocabulary: `cross` works a row out of the value"),
        (["items", "--rows", "-3"], 2, "No such option"),
        (["items", "--rows", "x"], 2, "'x' is not a row: rows are numbers from 0"),
        (["items", "--rows"], 2, "--rows needs the rows"),
        (["--rows"], 2, "--rows needs a TABLE"),
    ],
)
def test_what_cannot_be_looked_up(model: Path, arguments: list[str], code: int, said: str) -> None:
    done = keys(model, *arguments)
    assert (done.exit_code, said in done.output) == (code, True), done.output


def test_a_model_that_is_none(tmp_path: Path, model: Path) -> None:
    done = keys(tmp_path, "items")
    assert (done.exit_code, "is not a compiled model" in done.output) == (1, True)
    (tmp_path / "manifest.json").write_text((model / "manifest.json").read_text())
    done = keys(tmp_path, "items")
    assert (done.exit_code, "the model has not been trained" in done.output) == (1, True)
    (tmp_path / "manifest.json").write_text("{")
    assert "is not JSON" in keys(tmp_path, "items").output
