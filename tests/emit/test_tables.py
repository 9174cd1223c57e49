"""What a manifest says of tables, and tables without storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import specc
from specc.emit.manifest import manifest_of
from specc.testing.specs import graph_of
from specc_runtime import from_texts
from specc_runtime.unfilled import bare_tables

SPECS = Path(__file__).parents[2] / "specs"
SPEC = """model tables
table items = vocab(90, 10, l2 = by_frequency(0.1), frozen = true, init = uniform(0.1))
space user from request { id: vocab(50, 1), likes: bag(items) }
space ad from candidate { item: items, other: items, of: ids(9, 2), pair: cross(item, of; hash(70, 4)) }
predict next: class(items) = concat(user, ad) |> linear(10)
device dense = "cpu"
place rest on dense
"""


def tables(path: Path) -> dict[str, dict[str, Any]]:
    return {table["path"]: table for table in manifest_of(graph_of(path, {}))["tables"]}


@pytest.mark.parametrize("name", ["afm", "atrank", "more/xdeepfm", "din"])
def test_every_field_with_ids_is_of_some_table(name: str) -> None:
    """Also of models that look up several tables at once."""
    graph = graph_of(SPECS / f"{name}.arec", {})
    manifest = manifest_of(graph)
    read = {path for table in manifest["tables"] for path in table["fields"]}
    assert read == {f["path"] for f in manifest["fields"] if f["table"] is not None}
    assert {t["path"] for t in manifest["tables"]} == {
        w["path"] for w in manifest["weights"] if w["kind"] == "table"
    }


def test_a_table_says_who_reads_it(tmp_path: Path) -> None:
    (tmp_path / "tables.arec").write_text(SPEC)
    found = tables(tmp_path / "tables.arec")
    assert found["items.weight"] == {
        "path": "items.weight", "rows": 90, "width": 10, "dtype": "float32", "init": ["uniform", 0.1],
        "l2": 0.1, "by_frequency": True, "frozen": True, "fields": ["user.likes", "ad.item", "ad.other"],
        "whole": True, "sharded": False,
    }  # fmt: skip
    assert found["user.id.weight"]["fields"] == ["user.id"]
    assert not found["user.id.weight"]["whole"]
    assert found["ad.pair.weight"]["fields"] == ["ad.pair"]


def test_tables_without_storage_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "tables.arec").write_text(SPEC)
    model = specc.compile(tmp_path / "tables.arec")
    with bare_tables():
        bare = from_texts(model.files, "tables")
    bare.place()
    stored = {path: weight for path, weight in bare.named_parameters() if not weight.is_meta}
    assert {*dict(bare.named_parameters())} - {*stored} == {*tables(tmp_path / "tables.arec")}
    assert bare.home == torch.device("cpu")


def test_a_table_says_whether_it_is_sharded(tmp_path: Path) -> None:
    (tmp_path / "tables.arec").write_text(SPEC + "place user.id on sharded\n")
    found = tables(tmp_path / "tables.arec")
    assert {path for path, table in found.items() if table["sharded"]} == {"user.id.weight"}
