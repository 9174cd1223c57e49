"""Scores of one request: what tables of requests get, from values in memory, from many threads."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import specc
from specc_runtime import ArtefactError, Batch, save
from specc_runtime.encode import DataError, Encoders, Origin, load_trained, write_encoders
from specc_runtime.score import Scorer, prebuild, read_requests, score
from specc_runtime.score.engine import Engine

SPEC = """model kinds
table items = vocab(40, 4)
table tags = vocab(30, 4)
space user from request {
  id: vocab(50, 4)
  age: number(standard, default = 30)
  shard: hash(16, 4)
  at: vector(2)
}
space ad from candidate {
  item: items, price: number(log1p), slot: ids(5, 4), cost: bucket([1, 10.5], 4), tags: bag(tags, mean)
}
space visits[session <= 3, step <= 4] from request { item: items, gap: number, ago: bucket(log2, 8, 4) }
space seen[s <= 3] from candidate { item: items }
pooled = mean(mean(visits, over step), over session)
predict click: binary = concat(user, ad, pooled, mean(seen, over s)) |> mlp([8]) |> linear(1)
"""
OF_REQUEST = ("user_id", "user_age", "user_shard", "user_at", "visits_item", "visits_gap", "visits_ago")


def request(draw: random.Random, candidates: int) -> dict[str, Any]:
    """A request, some of whose keys were never seen."""
    visits = [[f"i{draw.randrange(45)}" for _ in range(draw.randrange(6))] for _ in range(draw.randrange(5))]
    return {
        "user_id": draw.choice([f"u{draw.randrange(9)}", None]),
        "user_age": draw.choice([20, 31.5]),
        "user_shard": draw.randrange(-5, 1000),
        "user_at": [draw.random(), 1],
        "visits_item": visits,
        "visits_gap": [[draw.random() for _ in visit] for visit in visits],
        "visits_ago": [[draw.choice([0, 3, 2.5, 900]) for _ in visit] for visit in visits],
        "ad_cost": [draw.choice([0, 1, 10.5, 99]) for _ in range(candidates)],
        "ad_item": [f"i{draw.randrange(45)}" for _ in range(candidates)],
        "ad_price": [draw.randrange(100) for _ in range(candidates)],
        "ad_slot": [draw.randrange(5) for _ in range(candidates)],
        "ad_tags": [[draw.randrange(40) for _ in range(draw.randrange(3))] for _ in range(candidates)],
        "seen_item": [
            [f"i{draw.randrange(45)}" for _ in range(draw.randrange(5))] for _ in range(candidates)
        ],
    }


def example(draw: random.Random) -> dict[str, Any]:
    one = request(draw, 1)
    own = {name: one[name][0] for name in one if name not in OF_REQUEST}
    return {**one, **own, "click": float(draw.randrange(2))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    draw = random.Random(1)
    model = specc.compile(SPEC)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 0.0, 0.5)
    table = pa.Table.from_pylist([example(draw) for _ in range(60)])
    encoders = Encoders.learn(model.manifest, [(table, Origin("train"))])
    path = tmp_path_factory.mktemp("kinds") / "model"
    save(model, path, beside=[lambda place: write_encoders(encoders, place)])
    return path


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return Scorer.load(folder, cache=1)


def wanted(folder: Path, requests: list[dict[str, Any]], at: Path) -> list[np.ndarray]:
    """What `specc score` gives."""
    model, encoders = load_trained(folder)
    file = at / "requests.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in requests))
    found = []
    for scored in score(model, encoders, read_requests(file, model.manifest)):
        found += np.split(scored.scores["click"], np.cumsum(scored.counts)[:-1])
    return found


def test_scores_are_those_of_files_of_requests(scorer: Scorer, folder: Path, tmp_path: Path) -> None:
    draw = random.Random(2)
    requests = [request(draw, number) for number in (0, 1, 4, 1, 7)]
    for one, scores in zip(requests, wanted(folder, requests, tmp_path), strict=True):
        for _ in range(2):  # the second time from the state that is kept
            found = scorer.score(one)
            assert found.number == len(one["ad_item"])
            np.testing.assert_allclose(found.values["click"], scores, rtol=1e-5)


def test_a_record_batch_is_a_request(scorer: Scorer) -> None:
    one = request(random.Random(3), 3)
    batch = pa.RecordBatch.from_pylist([one])
    np.testing.assert_array_equal(scorer.score(batch).values["click"], scorer.score(one).values["click"])
    with pytest.raises(ValueError, match="a request is one row, and there are 2"):
        scorer.score(pa.RecordBatch.from_pylist([one, one]))


def test_the_best_and_their_keys(scorer: Scorer) -> None:
    one = request(random.Random(4), 6)
    scores = scorer.score(one)
    places = scores.best(3)
    assert np.all(np.diff(scores.values["click"][places]) <= 0)
    assert scores.values["click"][places[0]] == scores.values["click"].max()
    assert scores.keys(places)["ad_item"] == [one["ad_item"][place] for place in places]
    assert len(scores.best()) == 6


def test_faults_name_the_column(scorer: Scorer) -> None:
    one = request(random.Random(5), 2)
    with pytest.raises(
        DataError, match="request, row 1, column `ad_slot`, item 2: 9 is not one of the ids 0 to 4"
    ):
        scorer.score({**one, "ad_slot": [1, 9]})
    with pytest.raises(DataError, match="column `ad_price`: there is no such column"):
        scorer.score({name: value for name, value in one.items() if not name.startswith("ad_")})


def test_states_are_kept_within_their_bound(folder: Path) -> None:
    scorer = Scorer.load(folder, cache=0.02)
    draw = random.Random(6)
    requests = [request(draw, 2) for _ in range(60)]
    first = [scorer.score(one).values["click"] for one in requests]
    assert scorer.states.misses == 60
    assert 0 < scorer.states.bytes <= scorer.states.most
    assert 1 < len(scorer.states) < 60
    scorer.score(requests[-1])
    assert scorer.states.hits == 1
    again = [scorer.score(one).values["click"] for one in requests]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert Scorer.load(folder, cache=0).states.most == 0


def test_a_state_serves_other_candidates(scorer: Scorer) -> None:
    one, other = request(random.Random(7), 3), request(random.Random(8), 5)
    mixed = {**one, **{name: value for name, value in other.items() if name not in OF_REQUEST}}
    hits = scorer.states.hits
    scorer.score(one)
    found = scorer.score(mixed).values["click"]
    assert scorer.states.hits > hits
    fresh = Scorer(scorer.model, scorer.encoders, cache=0)
    np.testing.assert_array_equal(found, fresh.score(mixed).values["click"])


def test_threads_share_a_scorer(folder: Path) -> None:
    """Every thread gets what it gets alone, while states come and go."""
    scorer = Scorer.load(folder, cache=0.02)
    draw = random.Random(9)
    requests = [request(draw, 1 + n % 5) for n in range(40)]
    alone = [Scorer(scorer.model, scorer.encoders, 0).score(one).values["click"] for one in requests]
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        order = random.Random(seed).choices(range(len(requests)), k=60)
        start.wait()
        for n in order:
            np.testing.assert_array_equal(scorer.score(requests[n]).values["click"], alone[n])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert not scorer.model.training


def test_another_engine_runs_instead_of_the_model(scorer: Scorer) -> None:
    asked: list[int] = []

    def engine(batch: Batch) -> dict[str, torch.Tensor]:
        asked.append(int(batch.candidates))
        return scorer.model(batch)

    one = request(random.Random(10), 4)
    other = Scorer(scorer.model, scorer.encoders, engine=Engine("other", engine))
    np.testing.assert_allclose(other.score(one).values["click"], scorer.score(one).values["click"], rtol=1e-5)
    assert asked == [4]
    assert not len(other.states)


def test_a_model_with_a_cross_is_warmed() -> None:
    model = specc.compile(
        "model pairs\nspace user from request { id: ids(9, 4) }\n"
        "space past[t <= 4] from request { item: ids(9, 4), by: cross(item, user.id; hash(99, 4)) }\n"
        "predict stay: binary = concat(user, sum(past, over t)) |> linear(1)\n"
    )
    scorer = Scorer(model, Encoders(model.manifest))
    scorer.warm()
    assert scorer.score({"user_id": 3, "past_item": [1, 2]}).values["stay"].shape == (1,)


def test_a_model_without_candidates_has_one_score() -> None:
    model = specc.compile(
        "model solo\nspace user from request { id: ids(9, 4) }\npredict stay: binary = user |> linear(1)\n"
    )
    scorer = Scorer(model, Encoders(model.manifest))
    scorer.warm()
    assert scorer.score({"user_id": 3}).values["stay"].shape == (1,)


def test_what_is_prebuilt_needs_no_compiler_and_changes_nothing(tmp_path: Path) -> None:
    """In a process without a compiler and without a cache: libraries and indices of the folder serve it."""
    model = specc.compile(
        "model walk\ntable items = vocab(40, 4)\n"
        "space history[t <= 64] from request { item: items }\nspace ad from candidate { item: items }\n"
        "predict click: binary = concat(history, ad) |> gru(16) |> last(over t) |> linear(1)\n"
    )
    row = {"history_item": [f"i{n}" for n in range(4)], "ad_item": "i1", "click": 1.0}
    encoders = Encoders.learn(model.manifest, [(pa.Table.from_pylist([row]), Origin("train"))])
    save(model, tmp_path / "model", beside=[lambda place: write_encoders(encoders, place)])
    one = {"history_item": ["i1", "i3", "i9"], "ad_item": ["i2", "i0"]}
    plain = Scorer.load(tmp_path / "model").score(one).values["click"]
    names = prebuild(tmp_path / "model")
    assert "indices/items.npy" in names
    if not any(name.startswith("libraries/") for name in names):
        pytest.skip("no C compiler")
    script = (
        "import json, sys, warnings\nwarnings.simplefilter('error')\n"
        "from specc_runtime import native\nfrom specc_runtime.score import Scorer\n"
        f"scores = Scorer.load('model').score({one!r}).values['click'].tolist()\n"
        "print(json.dumps([scores, [str(p) for p in native.loaded().values()]]))\n"
    )
    env = {**os.environ, "CC": "/nowhere/cc", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    scores, libraries = json.loads(done.stdout)
    np.testing.assert_array_equal(scores, plain)
    assert libraries
    assert all(path.startswith("model/libraries/") for path in libraries)
    library = next(name for name in names if name.startswith("libraries/"))
    (tmp_path / "model" / library).write_bytes(b"another")
    with pytest.raises(ArtefactError, match="is not the file that was saved"):
        Scorer.load(tmp_path / "model")


@pytest.mark.parametrize("keys", [[7, -3, 2**40], ["b", "7", "é", ""], [5], []])
def test_an_index_finds_what_the_vocabulary_finds(keys: list[Any]) -> None:
    from specc_runtime.encode import Vocabulary

    kind = pa.large_string() if any(isinstance(key, str) for key in keys) else pa.int64()
    plain = Vocabulary(pa.array(keys, kind), np.ones(len(keys), np.int64))
    quick = Vocabulary(plain.keys, plain.counts)
    quick.take_index(plain.index)
    for asked in ([*keys, None], [1, 7, -3], ["b", "7", "x"]):
        np.testing.assert_array_equal(quick.row_of(asked), plain.row_of(asked))
    with pytest.raises(ValueError, match="is not of"):
        quick.take_index(np.zeros((2, 99), np.int64))
