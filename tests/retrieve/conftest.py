"""The shop's models, its catalogue, vectors and an index, made once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.test_predict import run
from tests.retrieve.shop import RANKING, TOWERS, Shop, catalogue, trained


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    towers = trained(folder / "towers", TOWERS)
    pq.write_table(pa.Table.from_pylist(catalogue()), folder / "catalogue.parquet")
    done = run("vectors", towers, folder / "catalogue.parquet", "-o", folder / "items.parquet", "--keep", "*")
    assert done.exit_code == 0, done.output
    return Shop(towers, folder / "catalogue.parquet", folder / "items.parquet")


@pytest.fixture(scope="session")
def index(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("faiss")
    path = tmp_path_factory.mktemp("index") / "items.index"
    done = run("index", shop.vectors, "-o", path)
    assert done.exit_code == 0, done.output
    return path


@pytest.fixture(scope="session")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("ranking"), RANKING)
