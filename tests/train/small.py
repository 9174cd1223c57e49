"""A small model, and examples from which it can learn."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SPEC = """model small
table items = vocab(50, 4, l2 = by_frequency(0.01))
space user from request { id: vocab(50, 4) }
space ad from candidate { item: items }
space history[t <= 5] from request { item: items }
attention interest(query[d], key[t, d]) -> [d] {
  score  = concat(query, key, query * key) |> mlp([8], act = dice, dropout = 0.1) |> linear(1)
  weight = softmax(score, over t)
  return sum(weight * key, over t)
}
predict click: binary = concat(user, ad, interest(ad, history)) |> mlp([8]) |> linear(1)
train { optimizer = adam(lr = 0.02), batch = 32, epochs = 3, metric = auc, group = user.id }
"""
ITEMS = 20


def interrupting(at: int | None) -> Callable[[object], None]:
    """What interrupts this process, as Ctrl-C does, as a training tells its step `at`."""
    steps = itertools.count(1)

    def watch(progress: object) -> None:
        if next(steps) == at:
            os.kill(os.getpid(), signal.SIGINT)

    return watch


def write_spec(folder: Path, text: str = SPEC) -> Path:
    (folder / "small.arec").write_text(text)
    return folder / "small.arec"


def write_examples(folder: Path, rows: int = 400, seed: int = 0, groups: int = 128) -> Path:
    """train.parquet and test.parquet: a click where the candidate's item is in the history."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for name, count in (("train", rows), ("test", rows // 2)):
        histories = [random.integers(0, ITEMS, random.integers(0, 7)).tolist() for _ in range(count)]
        known = [bool(h) and random.random() < 0.5 for h in histories]
        items = [
            int(random.choice(h)) if seen else int(random.integers(ITEMS))
            for h, seen in zip(histories, known, strict=True)
        ]
        table = pa.table(
            {
                "user_id": [f"u{i}" for i in random.integers(0, 12, count)],
                "ad_item": items,
                "history_item": pa.array(histories, pa.list_(pa.int64())),
                "click": [float(i in h[-5:]) for i, h in zip(items, histories, strict=True)],
            }
        )
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=groups)
    return folder
