"""`specc vectors`: an output of the candidate alone, for a catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from specc_runtime import encoded, load
from specc_runtime.retrieval import read_vectors
from tests.cli.test_predict import run
from tests.retrieve.shop import ITEMS, TOWERS, Shop, catalogue, clicks, lines, trained


def test_vectors_are_what_the_model_gives_for_candidates(shop: Shop) -> None:
    made, vectors, others = read_vectors(shop.vectors)
    model = load(shop.towers)
    user = clicks(1)[0]
    asked = encoded(shop.towers, [{**user, **item} for item in catalogue()], labels=False)
    both = model.eval()(asked)
    assert np.allclose(vectors, both["item_vector"].detach().numpy(), atol=1e-6)
    products = vectors @ both["viewer_vector"][0].detach().numpy() / 2
    assert np.allclose(products, both["click"].detach().numpy(), atol=1e-5)
    assert others.column("ad_item").to_pylist() == [f"i{i}" for i in range(ITEMS)]
    assert (made.model, made.version) == ("towers", model.saved_as)
    assert (made.prediction, made.request, made.product) == ("click", "viewer_vector", "inner")


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".arrow"])
def test_a_catalogue_is_read_as_other_rows_are(shop: Shop, tmp_path: Path, kind: str) -> None:
    table = pq.read_table(shop.catalogue)
    path = tmp_path / f"catalogue{kind}"
    match kind:
        case ".csv":
            pa.csv.write_csv(table, path)
        case ".jsonl":
            lines(path, table.to_pylist())
        case _:
            pa.feather.write_feather(table, str(path))
    done = run("vectors", shop.towers, path, "-o", tmp_path / "items.arrow", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["rows"] == ITEMS
    assert said["columns"] == ["ad_item", "ad_brand"]
    assert said["width"] == 4
    assert np.array_equal(read_vectors(tmp_path / "items.arrow")[1], read_vectors(shop.vectors)[1])


def test_what_the_vocabularies_lack_is_told(shop: Shop, tmp_path: Path) -> None:
    rows = [
        {"ad_item": "i1", "ad_brand": 1},
        {"ad_item": None, "ad_brand": 2},
        {"ad_item": "new", "ad_brand": 999},
    ]
    done = run("vectors", shop.towers, lines(tmp_path / "c.jsonl", rows), "-o", tmp_path / "v.parquet")
    assert done.exit_code == 0, done.output
    assert "`ad_item` has no value in 1 of 3 rows, first in row 2" in done.stderr
    assert "`ad_item` has a key that the model does not know in 1 of 3 rows, first in row 3" in done.stderr
    assert "`ad_brand` has a key that the model does not know in 1 of 3 rows, first in row 3" in done.stderr


def test_an_output_that_reads_the_request_is_refused(shop: Shop, tmp_path: Path) -> None:
    for name in ("viewer_vector", "both"):
        done = run("vectors", shop.towers, shop.catalogue, "-o", tmp_path / "v.parquet", "--only", name)
        assert done.exit_code == 1
        assert f"`{name}` reads `user.id`, `history.item` of the request" in done.stderr
    done = run("vectors", shop.towers, shop.catalogue, "-o", tmp_path / "v.parquet", "--only", "item")
    assert done.exit_code == 2
    assert "viewer_vector, item_vector, both; not item" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_faulty_row_is_located_and_nothing_is_written(shop: Shop, tmp_path: Path) -> None:
    bad = lines(tmp_path / "c.jsonl", [{"ad_item": "i1"}, {"ad_item": ["i2"]}])
    done = run("vectors", shop.towers, bad, "-o", tmp_path / "v.parquet")
    assert done.exit_code == 1
    assert "line 2" in done.stderr
    assert "ad_item" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["c.jsonl"]
    done = run("vectors", shop.towers, shop.catalogue, "-o", tmp_path / "v.csv")
    assert done.exit_code == 2
    assert ".parquet or .arrow" in done.stderr


def test_a_score_that_is_no_product_is_told_and_not_indexed(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    spec = TOWERS.replace("dot(viewer, wanted) / 2", "concat(viewer, wanted) |> linear(1)")
    model = trained(tmp_path / "other", spec)
    catalogue = lines(
        tmp_path / "c.jsonl", [{"ad_item": "i1", "ad_brand": 1}, {"ad_item": "i2", "ad_brand": 1}]
    )
    done = run("vectors", model, catalogue, "-o", tmp_path / "v.parquet")
    assert done.exit_code == 0
    assert "`click` is no dot product of two values: it ends in `linear`" in done.stderr
    done = run("index", tmp_path / "v.parquet", "-o", tmp_path / "v.index")
    assert done.exit_code == 1
    assert "--request OUTPUT" in done.stderr
    own = ("--request", "viewer_vector", "--product", "cosine", "--json")
    done = run("index", tmp_path / "v.parquet", "-o", tmp_path / "v.index", *own)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["product"] == "cosine"


def test_a_file_of_another_program_is_no_file_of_vectors(shop: Shop, tmp_path: Path) -> None:
    def refused(table: Any) -> str:
        pq.write_table(table, tmp_path / "v.parquet")
        done = run("index", tmp_path / "v.parquet", "-o", tmp_path / "v.index")
        assert done.exit_code == 1
        assert not (tmp_path / "v.index").exists()
        return done.stderr

    table = pq.read_table(shop.vectors)
    assert "does not say which model made it" in refused(table.replace_schema_metadata(None))
    assert "does not say which model made it" in refused(
        table.replace_schema_metadata({"arec.vectors": "[1"})
    )
    assert "has no column `item_vector` any more" in refused(table.drop_columns(["item_vector"]))
    vectors = [[0.0, 1, 2, 3]] * 3 + [None]
    own = table.slice(0, 4).drop_columns(["item_vector"]).append_column("item_vector", [pa.array(vectors)])
    assert "row 4 has no vector" in refused(own)
    (tmp_path / "v.parquet").write_text("no parquet")
    done = run("index", tmp_path / "v.parquet", "-o", tmp_path / "v.index")
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr
