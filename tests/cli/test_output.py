"""Tables that come piece by piece, written to one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest

from specc.cli.output import write_tables
from specc_runtime.files import FileError

PIECES = [[None, None], [1, 2], [3, None], ["a", "7"], [None, 4]]
READ = {
    "x.parquet": lambda path: pq.read_table(path)["x"].to_pylist(),
    "x.arrow": lambda path: pf.read_table(path)["x"].to_pylist(),
    "x.csv": lambda path: pc.read_csv(path, convert_options=TEXTS)["x"].to_pylist(),
    "x.jsonl": lambda path: [json.loads(line)["x"] for line in path.read_text().splitlines()],
}
TEXTS = pc.ConvertOptions(column_types={"x": pa.string()}, strings_can_be_null=True)


@pytest.mark.parametrize("name", READ)
def test_a_column_has_the_type_of_all_its_values(tmp_path: Path, name: str) -> None:
    tables = (pa.table({"n": list(range(len(piece))), "x": piece}) for piece in PIECES)
    assert write_tables(tables, tmp_path / name) == 10
    found = READ[name](tmp_path / name)
    wanted = [None, None, 1, 2, 3, None, "a", "7", None, 4]
    assert [None if v is None else str(v) for v in found] == [None if v is None else str(v) for v in wanted]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_integers_then_decimals(tmp_path: Path) -> None:
    write_tables(iter([pa.table({"x": [1, 2]}), pa.table({"x": [0.5, None]})]), tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet")["x"].to_pylist() == [1.0, 2.0, 0.5, None]


@pytest.mark.parametrize("name", READ)
def test_what_fails_on_the_way_leaves_the_old_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")

    def tables() -> Any:
        yield pa.table({"x": [1]})
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_tables(tables(), tmp_path / name)
    assert (tmp_path / name).read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_is_told() -> None:
    with pytest.raises(FileError, match="no space is left"):
        write_tables(iter([pa.table({"x": [1]})]), Path("/dev/full"))
