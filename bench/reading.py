"""Whether reading keeps up with training: rows a second of both, for each of the seven models.

    python -m bench.reading [--rows 100000] [--batch 512] [--ranks 1] [--only din]

A file of Parquet with the lengths that the bench's tasks have is read by a `Stream`, shuffled, encoded and
cut into batches; beside it a training step of the same model on such batches. Both are processor seconds of
one process with one thread of torch: of the reader those of its threads together, the best of three epochs;
of the step the quickest of some. Of several ranks, rows and steps are those of one: it decodes all rows of a
file, and encodes its part of them.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.contenders.arec import batch_of, build, compiled
from bench.tasks import Task
from specc_runtime import Bag, Batch, Examples, Model, Stream
from specc_runtime.data import columns_of
from specc_runtime.encode import Encoders

TASKS = (
    Task("afm"),
    Task("din"),
    Task("dien"),
    Task("bst", bound=20),
    Task("dsin", sessions=5, bound=20),
    Task("dstn", bound=5),
    Task("atrank"),
)
STEPS = 8


def table_of(model: Model, batch: Batch) -> pa.Table:
    """A batch's examples as columns, the way they would lie in a file: ids are the values."""
    axes = {axis["id"]: axis["parent"] for axis in model.manifest["axes"]}
    columns: dict[str, Any] = {}
    for entry in model.manifest["fields"]:
        values = batch.fields[entry["path"]]
        column = values.values if isinstance(values, Bag) else values.flatten()
        found = pa.array(column.numpy())
        if isinstance(values, Bag):
            found = lists(found, values.lengths)
        axis = entry["axes"][-1] if entry["axes"] else None
        while axis is not None:
            found = lists(found, batch.lengths[axis])
            axis = axes[axis]
        columns[entry["column"]] = found
    for prediction in model.manifest["predictions"]:
        columns[prediction["column"]] = pa.array(batch.labels[prediction["name"]].numpy())
    return pa.table(columns)


def lists(values: pa.Array, lengths: torch.Tensor) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths.numpy())]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def read(model: Model, task: Task, rows: int, ranks: int, folder: Path) -> float:
    """Processor seconds of a rank's epoch of batches of a file with so many rows."""
    path = folder / f"{task.model}.parquet"
    table = table_of(model, batch_of(model, replace(task, batch=rows)))
    pq.write_table(table, path, row_group_size=1 << 16)
    source = Examples([path], columns_of(model.manifest))
    encoders = Encoders.learn(model.manifest, source.tables())
    stream = Stream(source, encoders, task.batch * ranks, ranks=ranks)
    return min(_seconds(stream) for _ in range(3))


def _seconds(stream: Stream) -> float:
    begin = time.process_time()
    for _ in stream:
        pass
    return time.process_time() - begin


def stepped(task: Task) -> float:
    """Processor seconds of a training step."""
    contender, found = build(task), []
    for _ in range(STEPS):
        begin = time.process_time()
        contender.train()
        found.append(time.process_time() - begin)
    return min(found)


@click.command()
@click.option("--rows", default=100_000, show_default=True, help="Examples in a file.")
@click.option("--batch", default=512, show_default=True, help="Examples a step; 512 is a recipe's default.")
@click.option("--ranks", default=1, show_default=True, help="Processes that train together.")
@click.option("--only", multiple=True, help="Only these models.")
def main(rows: int, batch: int, ranks: int, only: tuple[str, ...]) -> None:
    """Rows a second of reading and of training."""
    torch.set_num_threads(1)
    click.echo(f"{'model':<8}{'reading':>12}{'training':>12}{'reading takes of a step':>26}")
    with tempfile.TemporaryDirectory() as name:
        for task in TASKS:
            if only and task.model not in only:
                continue
            task = replace(task, batch=batch)
            torch.manual_seed(0)
            reading = rows / ranks / read(compiled(task), task, rows, ranks, Path(name))
            training = batch / stepped(task)
            share = training / reading
            click.echo(f"{task.model:<8}{reading:>12,.0f}{training:>12,.0f}{share:>26.1%}")


if __name__ == "__main__":
    main()
