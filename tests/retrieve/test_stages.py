"""Two stages over HTTP and in a program: what `specc score --retrieve` gives."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.test_predict import lines_of, run
from tests.retrieve.shop import TOWERS, Shop, lines, trained
from tests.retrieve.test_index import REQUESTS, whole

pytest.importorskip("faiss")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from specc_runtime.retrieval import RetrievalError, Stages
from specc_runtime.serve.schema import found_schema
from specc_runtime.serve.service import BadRequest, Limits, Service, Wish


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    wanted = {name: value for name, value in wanted.items() if name != "request"}
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        if isinstance(values[0], float):
            assert np.allclose(found[name], values, atol=1e-5)
        else:
            assert found[name] == values


def asked(service: Service, request: Any, wish: Wish) -> dict[str, Any]:
    return service.answer(service.scorer, json.dumps(request).encode(), wish).row


def test_a_served_answer_is_a_line_of_the_command(
    shop: Shop, index: Path, ranking: Path, tmp_path: Path
) -> None:
    path = lines(tmp_path / "requests.jsonl", REQUESTS)
    score = ("score", shop.towers, path, "--retrieve", index, "--top", 4)
    for rank, options in ((None, ()), (ranking, ("--rank", ranking, "--nearest", 12))):
        service = Service(lambda rank=rank: Stages.load(shop.towers, index, rank, nearest=12), Limits())  # type: ignore[misc]
        for request, line in zip(REQUESTS, lines_of(run(*score, *options)), strict=True):
            found = asked(service, request, Wish(top=4))
            same(found, line)
            assert found.keys() == found_schema(service.scorer)["properties"].keys()  # type: ignore[arg-type]


def test_a_request_that_cannot_be_answered_says_why(shop: Shop, index: Path, ranking: Path) -> None:
    service = Service(lambda: Stages.load(shop.towers, index, nearest=12), Limits())
    with pytest.raises(BadRequest, match="leave their columns out"):
        asked(service, whole(REQUESTS[0]), Wish())
    with pytest.raises(BadRequest, match="at most 12"):
        asked(service, REQUESTS[0], Wish(top=13))
    with pytest.raises(BadRequest, match="nothing ranks"):
        asked(service, REQUESTS[0], Wish(by="click"))
    with pytest.raises(BadRequest, match="history_item"):
        asked(service, {**REQUESTS[0], "history_item": [["i1"]]}, Wish())
    ranked = Service(lambda: Stages.load(shop.towers, index, ranking), Limits())
    with pytest.raises(BadRequest, match="ranked by click"):
        asked(ranked, REQUESTS[0], Wish(by="stay"))


def test_a_model_that_was_trained_anew_does_not_take_over(shop: Shop, index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(shop.towers, folder)
    service = Service(lambda: Stages.load(folder, index), Limits())
    before = asked(service, REQUESTS[0], Wish(top=3))
    shutil.rmtree(folder)
    shutil.copytree(trained(tmp_path / "again", TOWERS, "--seed", 5), folder)
    with pytest.raises(ValueError, match="other weights"):
        service.reload()
    assert asked(service, REQUESTS[0], Wish(top=3)) == before


def test_a_column_that_is_called_like_a_result_is_refused(shop: Shop, ranking: Path, tmp_path: Path) -> None:
    """One of them would be lost."""
    table = pq.read_table(shop.catalogue)
    pq.write_table(table.append_column("click", pa.nulls(len(table))), tmp_path / "items.parquet")
    done = run(
        "vectors", shop.towers, tmp_path / "items.parquet", "-o", tmp_path / "v.parquet", "--keep", "*"
    )
    assert done.exit_code == 0, done.output
    assert run("index", tmp_path / "v.parquet", "-o", tmp_path / "v.index").exit_code == 0
    says = "the index has a column `click`, and what comes out has another .* --keep click=NAME"
    with pytest.raises(RetrievalError, match=says):
        Stages.load(shop.towers, tmp_path / "v.index", ranking)
    path = lines(tmp_path / "requests.jsonl", REQUESTS)
    done = run("score", shop.towers, path, "--retrieve", tmp_path / "v.index", "--top", 4, "--rank", ranking)
    assert done.exit_code == 1
    assert re.search(says, done.stderr)


def test_the_command_refuses_what_it_cannot_serve(shop: Shop, index: Path, ranking: Path) -> None:
    done = run("serve", shop.towers, "--rank", ranking)
    assert done.exit_code == 2
    assert "of --retrieve INDEX" in done.stderr
    done = run("serve", ranking, "--port", 0, "--retrieve", index)
    assert done.exit_code == 1
    assert "of the model `towers`, and this is `ranking`" in done.stderr
