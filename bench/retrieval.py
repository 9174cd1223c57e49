"""What retrieval finds on a log of clicks: an index beside the exact answer, a two-tower model beside
popularity.

    python -m bench.retrieval ../shared/data/taobao/UserBehavior.csv

Examples are clicks, each with the user's 50 clicks before it; the clicks of the last day are the test, and
all earlier ones are trained on. A model and a baseline give each test click 50 items of the catalogue, the
items of the training period; recall@50 is the share of clicks whose item is among them. The baselines are the
items that were clicked most in the training period, and the 50 that the user clicked last.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import specc
from specc_runtime import encoded
from specc_runtime.encode import Encoders, Origin, load_trained
from specc_runtime.retrieval import Index, Lacking, Made, recall, vectors
from specc_runtime.retrieval.vectors import Vectors
from specc_runtime.score.requests import narrowed, output
from specc_runtime.train import Recipe, fit

SPEC = Path(__file__).parents[1] / "specs" / "more" / "two_tower.arec"
HISTORY, K = 50, 50
DAY = 86_400  # seconds
FIRST, LAST = (
    1511539200,
    1512316800,
)  # 2017-11-25 to 12-03, both in Beijing; events outside are no clicks of it

Click = tuple[int, str, str]  # time, item, category


def clicks_of(path: Path) -> dict[str, list[Click]]:
    """By user, the clicks of the period in the order of time."""
    found: dict[str, list[Click]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.reader(file):
            if len(row) == 5 and row[3] == "pv" and row[4].isdigit() and FIRST <= int(row[4]) < LAST:
                found[row[0]].append((int(row[4]), row[1], row[2]))
    return {user: sorted(clicks, key=lambda click: click[0]) for user, clicks in found.items()}


def examples_of(clicks: dict[str, list[Click]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The examples of the training period and those of the last day."""
    train, test = list[dict[str, Any]](), list[dict[str, Any]]()
    for user, own in clicks.items():
        for place, (when, item, category) in enumerate(own):
            before = [click for click in own[max(0, place - HISTORY) : place] if click[0] < when]
            row = {
                "user_id": user,
                "user_age": 0,  # the log has none
                "history_item": [click[1] for click in before],
                "history_category": [click[2] for click in before],
                "ad_item": item,
                "ad_category": category,
                "next": 1,
            }
            (train if when < LAST - DAY else test).append(row)
    return train, test


def share(found: Sequence[Sequence[str]], wanted: Sequence[str]) -> float:
    """The share of clicks whose item is among what was found for them."""
    return sum(item in items for items, item in zip(found, wanted, strict=True)) / len(wanted)


def measure(path: Path, epochs: int, dim: int, clicks: int, seed: int) -> dict[str, Any]:
    train, test = examples_of(clicks_of(path))
    picked = np.random.default_rng(seed).permutation(len(test))[:clicks]
    test = [test[place] for place in sorted(picked.tolist())]
    catalogue = {row["ad_item"]: row["ad_category"] for row in train}
    print(f"{len(train):,} examples, {len(test):,} test clicks", file=sys.stderr, flush=True)
    items = pa.table({"ad_item": list(catalogue), "ad_category": list(catalogue.values())})
    wanted = [row["ad_item"] for row in test]
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.random.default_rng(seed).shuffle(train)  # type: ignore[arg-type]
        pq.write_table(pa.Table.from_pylist(train), place / "train.parquet")
        model = specc.compile(SPEC, dim=dim)
        recipe = Recipe.of(model.manifest).changed(epochs=epochs, seed=seed)
        begin = time.perf_counter()
        fit(model, [place / "train.parquet"], place / "model", recipe)
        seconds = time.perf_counter() - begin
        print(f"trained in {seconds:.0f} s", file=sys.stderr, flush=True)
        model, encoders = load_trained(place / "model")
    made = Made("two_tower", model.saved_as or "", "item_vector", dim, "next", "viewer_vector", "inner")
    tables = vectors(model, encoders, [(items, Origin("catalogue"))], made, {}, Lacking())
    own = np.concatenate([_rows(table, dim) for table in tables])
    asked = _asked(model, encoders, test, dim)
    flat = Index.build(made, own, items)
    names = np.array(list(catalogue))
    _, rows = flat.nearest(asked, K)
    counts = Counter(row["ad_item"] for row in train)
    popular = [item for item, _ in counts.most_common(K)]
    known = set(catalogue)
    result: dict[str, Any] = {
        "examples": len(train),
        "catalogue": len(catalogue),
        "test clicks": len(test),
        "of items that the training period has": sum(item in known for item in wanted) / len(wanted),
        "training seconds": round(seconds, 1),
        "epochs": epochs,
        "dim": dim,
        "recall@50": {
            "two towers": share([names[found].tolist() for found in rows], wanted),
            "popularity": share([popular] * len(wanted), wanted),
            "the user's last 50": share([row["history_item"] for row in test], wanted),
        },
        "index": _indexed(made, own, items, asked),
    }
    fresh = [row["ad_item"] not in row["history_item"] for row in test]
    new = [place for place, is_new in enumerate(fresh) if is_new]
    result["recall@50 of items that the user has not clicked before"] = {
        "two towers": share([names[rows[place]].tolist() for place in new], [wanted[place] for place in new]),
        "popularity": share([popular] * len(new), [wanted[place] for place in new]),
    }
    return result


EFFORTS = (50, 100, 200, 400)


def _indexed(made: Made, own: Vectors, items: pa.Table, asked: Vectors) -> list[dict[str, Any]]:
    """Recall and time of a flat index, and of HNSW at several efforts."""
    flat = Index.build(made, own, items)
    begin = time.perf_counter()
    graph = Index.build(made, own, items, "hnsw")
    built = time.perf_counter() - begin
    print(f"built HNSW in {built:.0f} s", file=sys.stderr, flush=True)
    found = []
    for index in (flat, *(replace(graph, settings={**graph.settings, "effort": e}) for e in EFFORTS)):
        share = recall(index, own, asked, K)
        begin = time.perf_counter()
        for query in asked[:200]:
            index.nearest(query[None], K)
        each = (time.perf_counter() - begin) / min(200, len(asked))
        found.append(
            {
                "kind": index.kind,
                **index.settings,
                "recall@50 beside exact": round(share, 4),
                "ms a request": round(1000 * each, 3),
            }
        )
    return found


def _rows(table: pa.Table, dim: int) -> Vectors:
    found: Vectors = table.column("item_vector").combine_chunks().flatten().to_numpy().reshape(-1, dim)
    return found


def _asked(model: Any, encoders: Encoders, test: list[dict[str, Any]], dim: int) -> Vectors:
    """The vectors of requests."""
    own = replace(encoders, manifest=narrowed(model.manifest, "viewer_vector"))
    parts = [
        output(model, "viewer_vector", encoded(own, test[at : at + 512], labels=False))
        for at in range(0, len(test), 512)
    ]
    return np.concatenate(parts).astype(np.float32).reshape(-1, dim)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--clicks", type=int, default=4000, help="of the test, at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not given.log.is_file():
        sys.exit(f"{given.log} is not there")
    print(json.dumps(measure(given.log, given.epochs, given.dim, given.clicks, given.seed), indent=2))


if __name__ == "__main__":
    main()
