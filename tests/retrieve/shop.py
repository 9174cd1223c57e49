"""A small shop: two towers that find items, and a model that ranks them, both trained on generated clicks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.cli.test_predict import run

TOWERS = """model towers
table items = vocab(100, 4)
space user from request { id: vocab(50, 4) }
space ad from candidate { item: items, brand: vocab(20, 4) }
space history[t <= 4] from request { item: items }
viewer = concat(user, mean(history, over t)) |> linear(4)
wanted = ad |> linear(4)
output viewer_vector = viewer
output item_vector = wanted
output both = concat(viewer, wanted)
predict click: binary = dot(viewer, wanted) / 2
train { epochs = 2, batch = 64, optimizer = adam(lr = 0.05) }
"""
RANKING = """model ranking
space user from request { id: vocab(50, 4), age: number(none, default = 30) }
space ad from candidate { item: vocab(100, 4), price: number(none) }
predict click: binary = concat(user, ad) |> linear(1)
train { epochs = 1, batch = 64 }
"""
ITEMS = 40


@dataclass(frozen=True)
class Shop:
    """Where its files are."""

    towers: Path
    catalogue: Path
    vectors: Path


def catalogue() -> list[dict[str, Any]]:
    return [
        {"ad_item": f"i{i}", "ad_brand": i % 7, "ad_price": i / 4, "title": f"T{i}"} for i in range(ITEMS)
    ]


def clicks(rows: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(rows)
    found = []
    for _ in range(rows):
        item = int(random.integers(ITEMS))
        user = int(random.integers(12))
        found.append(
            {
                "user_id": f"u{user}",
                "user_age": float(20 + user),
                "history_item": [f"i{i}" for i in random.integers(0, ITEMS, random.integers(0, 6))],
                **catalogue()[item],
                "click": float((item + user) % 3 == 0),
            }
        )
    return found


def trained(folder: Path, spec: str, *options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "spec.arec").write_text(spec)
    pq.write_table(pa.Table.from_pylist(clicks(300)), folder / "train.parquet")
    done = run("train", folder / "spec.arec", folder / "train.parquet", "-o", folder / "model", *options)
    assert done.exit_code == 0, done.output
    return folder / "model"


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
