"""How fast examples are read: rows a second of `Stream` from each format, beside a Dataset of rows.

    python -m bench.data [ROWS]

Prints for each format the first reading (text is parsed, and Parquet's metadata read), learning the encoders,
and an epoch of batches; then the epoch of a torch DataLoader over a Dataset that looks rows up in dicts and
pads them, on the very same examples. Everything is in one process; the best of three epochs counts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyarrow import csv
from torch.utils.data import DataLoader, Dataset

from specc.driver import load_source
from specc.emit.manifest import manifest_of
from specc.report import Report
from specc.source import Source
from specc_runtime import Examples, Stream
from specc_runtime.data import columns_of
from specc_runtime.encode import Encoders

SPEC = """model bench
table items = vocab(200000, 16)
space user from request { id: vocab(200000, 16), age: bucket([18, 30, 50], 4), city: hash(1000, 4) }
space ad from candidate { item: items, price: number(standard) }
space history[t <= 20] from request { item: items(split = "|") }
predict click: binary = concat(user, ad, mean(history, over t)) |> linear(1)
"""
BATCH = 4096


def examples(rows: int) -> pa.Table:
    random = np.random.default_rng(0)
    lengths = random.integers(0, 20, rows)
    items = pa.array(random.integers(0, 100_000, int(lengths.sum())))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    cities = np.array([f"city {i}" for i in range(500)])
    return pa.table(
        {
            "id": random.integers(0, 100_000, rows),
            "age": random.integers(10, 80, rows),
            "city": cities[random.integers(0, 500, rows)],
            "ad_item": random.integers(0, 100_000, rows),
            "price": random.random(rows).round(3),
            "history_item": pa.ListArray.from_arrays(offsets, items),
            "click": random.integers(0, 2, rows),
        }
    )


def texted(table: pa.Table) -> pa.Table:
    """The lists as texts of values with bars between."""
    lists = table.column("history_item").to_pylist()
    texts = pa.array(["|".join(map(str, values)) for values in lists])
    return table.set_column(table.column_names.index("history_item"), "history_item", texts)


def write_json(table: pa.Table, path: Path) -> None:
    import json

    with path.open("w", encoding="utf-8") as file:
        for part in table.to_batches(10_000):
            file.writelines(json.dumps(row) + "\n" for row in part.to_pylist())


def manifest() -> dict[str, Any]:
    graph = load_source(Source("bench.arec", SPEC), Path(), None, Report())
    assert graph is not None
    return manifest_of(graph)


def best(epoch: Callable[[], Iterator[Any]], times: int = 3) -> float:
    """Seconds of the fastest of some epochs."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        for _ in epoch():
            pass
        found.append(time.perf_counter() - begin)
    return min(found)


class Rows(Dataset[Any]):
    """What is often written by hand: a row's values looked up in dicts, and lists padded in the batch."""

    def __init__(self, table: pa.Table) -> None:
        self.rows = table.to_pylist()
        self.items = {v: i + 1 for i, v in enumerate(dict.fromkeys(row["ad_item"] for row in self.rows))}
        self.users = {v: i + 1 for i, v in enumerate(dict.fromkeys(row["id"] for row in self.rows))}
        self.cities = {v: i + 1 for i, v in enumerate(dict.fromkeys(row["city"] for row in self.rows))}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        row = self.rows[index]
        history = [self.items.get(item, 0) for item in row["history_item"]]
        numbers = (self.users[row["id"]], row["age"], self.cities[row["city"]], self.items[row["ad_item"]])
        return (*numbers, row["price"], history, row["click"])


def padded(rows: list[Any]) -> list[torch.Tensor]:
    columns = list(zip(*rows, strict=True))
    history = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(values, dtype=torch.int64) for values in columns[5]], batch_first=True
    )
    return [torch.tensor(values) for values in (*columns[:5], columns[6])] + [history]


def main(rows: int) -> None:
    of, table = manifest(), examples(rows)
    columns = columns_of(of)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table, folder / "a.parquet", row_group_size=1 << 16)
        csv.write_csv(texted(table), folder / "a.csv")
        write_json(table, folder / "a.jsonl")
        epochs: dict[str, float] = {}
        print(f"{rows:,} examples, {torch.get_num_threads()} threads\n")
        print(f"{'format':<10}{'MB':>8}{'open s':>10}{'learn s':>10}{'epoch s':>10}{'rows/s':>14}")
        for file in ("a.parquet", "a.csv", "a.jsonl"):
            begin = time.perf_counter()
            opened = Examples([folder / file], columns)
            parsed = time.perf_counter()
            encoders = Encoders.learn(of, opened.tables())
            learned = time.perf_counter()
            stream = Stream(opened, encoders, BATCH)
            epochs[file] = seconds = best(lambda stream=stream: iter(stream))
            size = (folder / file).stat().st_size / 1e6
            print(f"{file:<10}{size:>8.0f}{parsed - begin:>10.2f}{learned - parsed:>10.2f}{seconds:>10.2f}"
                  f"{rows / seconds:>14,.0f}")  # fmt: skip
    some = table.slice(0, min(rows, 100_000))
    loader = DataLoader(Rows(some), batch_size=BATCH, shuffle=True, collate_fn=padded)
    seconds = best(lambda: iter(loader), 1) * rows / len(some)
    print(f"{'by rows':<10}{'':>28}{seconds:>10.2f}{rows / seconds:>14,.0f}")
    print(f"\nan epoch of CSV takes {epochs['a.csv'] / epochs['a.parquet']:.2f} times that of Parquet,")
    print(f"and that of a Dataset of rows {seconds / epochs['a.parquet']:.1f} times")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
