"""`specc index`, and `specc score --retrieve`: what is found is what the model scores highest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc_runtime.retrieval import Index, Made, RetrievalError, Retriever, recall
from specc_runtime.score import Scorer
from tests.cli.test_predict import lines_of, run
from tests.retrieve.shop import ITEMS, TOWERS, Shop, catalogue, lines, trained

pytest.importorskip("faiss")

REQUESTS: list[dict[str, Any]] = [
    {"user_id": "u1", "user_age": 21.0, "history_item": ["i1", "i2"]},
    {"user_id": "new", "user_age": None, "history_item": []},
    {"user_id": "u7", "user_age": 27.0, "history_item": ["i9", "i3", "i9", "i1", "i0"]},
]


def whole(request: dict[str, Any]) -> dict[str, Any]:
    """A request with the catalogue as its candidates."""
    return {**request, **{name: [row[name] for row in catalogue()] for name in catalogue()[0]}}


def retrieved(model: Path, index: Path, folder: Path, *options: Any) -> list[dict[str, Any]]:
    path = lines(folder / "requests.jsonl", REQUESTS)
    return lines_of(run("score", model, path, "--retrieve", index, *options))


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_is_found_is_what_the_model_scores_highest(shop: Shop, tmp_path: Path, kind: str) -> None:
    done = run("index", shop.vectors, "-o", tmp_path / "items.index", "--kind", kind, "--k", 10, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["rows"], said["product"], said["request"]) == (ITEMS, "inner", "viewer_vector")
    assert said["recall"] == 1.0
    assert said["queries"] == ITEMS
    scorer = Scorer.load(shop.towers)
    found = retrieved(shop.towers, tmp_path / "items.index", tmp_path, "--top", 7, "--keep", "user_id")
    assert [(line["request"], line["user_id"]) for line in found] == [(1, "u1"), (2, "new"), (3, "u7")]
    for line, request in zip(found, REQUESTS, strict=True):
        scores = scorer.score(whole(request))
        assert line["candidate"] == scores.best(7, "click").tolist()
        assert line["ad_item"] == [f"i{row}" for row in line["candidate"]]
        logits = np.log(scores.values["click"] / (1 - scores.values["click"]))
        assert np.allclose(np.array(line["similarity"]) / 2, logits[line["candidate"]], atol=1e-4)


def test_a_second_model_ranks_what_was_found(shop: Shop, index: Path, ranking: Path, tmp_path: Path) -> None:
    near = retrieved(shop.towers, index, tmp_path, "--top", 12)
    found = retrieved(shop.towers, index, tmp_path, "--top", 5, "--nearest", 12, "--rank", ranking)
    scorer = Scorer.load(ranking)
    for line, first, request in zip(found, near, REQUESTS, strict=True):
        scores = scorer.score(whole(request)).values["click"]
        order = sorted(first["candidate"], key=lambda row: -scores[row])
        assert line["candidate"] == order[:5]
        assert np.allclose(line["click"], scores[order[:5]], atol=1e-6)
        assert line["title"] == [f"T{row}" for row in order[:5]]


def test_a_retriever_finds_what_the_command_does(
    shop: Shop, index: Path, ranking: Path, tmp_path: Path
) -> None:
    retriever = Retriever.load(shop.towers, index)
    scorer = Scorer.load(ranking)
    found = retrieved(shop.towers, index, tmp_path, "--top", 6)
    ranked = retrieved(shop.towers, index, tmp_path, "--top", 6, "--rank", ranking)
    for line, other, request in zip(found, ranked, REQUESTS, strict=True):
        own = retriever.retrieve(request, 6)
        assert own.rows.tolist() == line["candidate"]
        assert own.candidates["ad_item"] == line["ad_item"]
        places = scorer.score({**request, **own.candidates}).best()
        assert own.rows[places].tolist() == other["candidate"]
    assert len(retriever.retrieve(REQUESTS[0], 1000).rows) == ITEMS


def test_queries_are_vectors_of_requests(shop: Shop, tmp_path: Path) -> None:
    requests = lines(tmp_path / "requests.jsonl", REQUESTS)
    predict = ("predict", shop.towers, requests, "--only", "viewer_vector")
    assert run(*predict, "-o", tmp_path / "viewers.parquet").exit_code == 0
    index = ("index", shop.vectors, "-o", tmp_path / "items.index", "--queries")
    done = run(*index, tmp_path / "viewers.parquet", "--sample", 2)
    assert done.exit_code == 0, done.output
    assert "recall@40 1.0000 of 2 vectors of requests" in done.stdout
    assert "recall is said of so many" in done.stderr
    done = run(*index, shop.vectors)
    assert done.exit_code == 1
    assert "--only viewer_vector" in done.stderr


def test_an_index_is_used_with_its_own_model_alone(
    shop: Shop, index: Path, ranking: Path, tmp_path: Path
) -> None:
    requests = lines(tmp_path / "requests.jsonl", REQUESTS)
    again = trained(tmp_path / "again", TOWERS, "--seed", 5)
    done = run("score", again, requests, "--retrieve", index, "--top", 3)
    assert done.exit_code == 1
    assert "other weights of `towers`" in done.stderr
    done = run("score", ranking, requests, "--retrieve", index, "--top", 3)
    assert done.exit_code == 1
    assert "of the model `towers`, and this is `ranking`" in done.stderr
    with pytest.raises(RetrievalError, match="other weights"):
        Retriever.load(again, index)


def test_a_column_that_the_ranking_reads_is_asked_for(shop: Shop, ranking: Path, tmp_path: Path) -> None:
    assert run("vectors", shop.towers, shop.catalogue, "-o", tmp_path / "v.parquet").exit_code == 0
    assert run("index", tmp_path / "v.parquet", "-o", tmp_path / "v.index").exit_code == 0
    requests = lines(tmp_path / "requests.jsonl", REQUESTS)
    done = run(
        "score", shop.towers, requests, "--retrieve", tmp_path / "v.index", "--top", 3, "--rank", ranking
    )
    assert done.exit_code == 1
    assert "--keep ad_price" in done.stderr


def test_options_that_would_do_nothing_are_refused(
    shop: Shop, index: Path, ranking: Path, tmp_path: Path
) -> None:
    requests = lines(tmp_path / "requests.jsonl", [whole(request) for request in REQUESTS])
    score = ("score", shop.towers, requests)
    for options, says in (
        (("--retrieve", index), "needs --top"),
        (("--retrieve", index, "--top", 3, "--nearest", 5), "are of the ranking"),
        (("--retrieve", index, "--top", 3, "--nearest", 2, "--rank", ranking), "--top is 3"),
        (("--rank", ranking), "are of --retrieve INDEX"),
        (("--by", "click"), "--by goes with --top"),
    ):
        done = run(*score, *options)
        assert done.exit_code == 2, done.output
        assert says in done.stderr
    done = run("index", shop.vectors, "-o", tmp_path / "i.index", "--links", 8)
    assert done.exit_code == 2
    assert "of --kind hnsw" in done.stderr
    done = run(*score, "--retrieve", index, "--top", 50)
    assert done.exit_code == 0
    assert "`ad_item`, `ad_brand` of the requests is not read" in done.stderr
    assert "the index has 40 rows" in done.stderr


def test_a_damaged_index_is_not_read(shop: Shop, index: Path, tmp_path: Path) -> None:
    requests = lines(tmp_path / "requests.jsonl", REQUESTS)
    for name in ("index.faiss", "items.arrow", "index.json"):
        for how in ("changed", "gone", "cut"):
            folder = tmp_path / f"{name}-{how}"
            Index.load(index).save(folder)
            content = (folder / name).read_bytes()
            if how == "gone":
                (folder / name).unlink()
            elif how == "cut":
                (folder / name).write_bytes(content[: len(content) // 2])
            else:
                middle = len(content) // 2
                (folder / name).write_bytes(content[:middle] + b"{{" + content[middle + 2 :])
            done = run("score", shop.towers, requests, "--retrieve", folder, "--top", 3)
            assert done.exit_code == 1, done.output
            assert str(folder) in done.stderr
            assert done.exception is None or isinstance(done.exception, SystemExit)


def test_an_index_asks_for_an_output_that_the_model_has_of_requests(
    shop: Shop, index: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(index, folder)
    about = json.loads((index / "index.json").read_text())
    for name, value, says in (
        ("request", about["output"], "is not of the request alone"),
        ("request", "nothing", "the model has no output `nothing`"),
        ("request", None, "does not say what its vectors are compared"),
        ("product", None, "does not say what its vectors are compared"),
    ):
        (folder / "index.json").write_text(json.dumps({**about, name: value}))
        with pytest.raises(RetrievalError, match=says):
            Retriever.load(shop.towers, folder)


def test_a_folder_of_something_else_is_not_replaced(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo").touch()
    done = run("index", shop.vectors, "-o", tmp_path / "mine")
    assert done.exit_code == 1
    assert "photo" in done.stderr


def test_without_faiss_the_extra_is_named(shop: Shop, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["faiss"] = None
from specc.cli import main
main(["index", {str(shop.vectors)!r}, "-o", {str(tmp_path / "i.index")!r}])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'arec-runtime[retrieval]'" in done.stderr


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 8),
    st.integers(1, 12),
    st.sampled_from(["inner", "cosine"]),
    st.integers(0, 99),
)
def test_a_flat_index_is_exact(rows: int, width: int, k: int, product: Any, seed: int) -> None:
    import pyarrow as pa

    random = np.random.default_rng(seed)
    vectors = random.normal(size=(rows, width)).astype(np.float32) + np.float32(1e-3)
    asked = random.normal(size=(5, width)).astype(np.float32)
    made = Made("m", "v", "item", width, "click", "viewer", product)
    index = Index.build(made, vectors, pa.table({"row": np.arange(rows)}))
    scores, found = index.nearest(asked, k)
    exact = asked.astype(np.float64) @ vectors.T.astype(np.float64)
    if product == "cosine":
        exact /= np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)[None, :]
    best = -np.sort(-exact, axis=1)[:, :k]
    assert np.allclose(scores, best, atol=1e-4)
    assert np.allclose(np.take_along_axis(exact, found, 1), best, atol=1e-4)
    assert recall(index, vectors, asked, k) == 1.0


def test_recall_is_below_one_where_the_index_misses() -> None:
    """Of a row that the index does not have, and of an index of other vectors."""
    import pyarrow as pa

    random = np.random.default_rng(0)
    vectors = random.normal(size=(200, 8)).astype(np.float32)
    made = Made("m", "v", "item", 8, "click", "viewer", "inner")
    index = Index.build(made, vectors[random.permutation(200)], pa.table({"row": np.arange(200)}))
    assert recall(index, vectors, vectors[:50], 10) < 0.5


def test_a_vector_without_direction_is_located() -> None:
    import pyarrow as pa

    made = Made("m", "v", "item", 2, "click", "viewer", "cosine")
    vectors = np.array([[1, 0], [0, 0]], dtype=np.float32)
    with pytest.raises(RetrievalError, match="row 2 is 0 in all its channels"):
        Index.build(made, vectors, pa.table({"row": [0, 1]}))
