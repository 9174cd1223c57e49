"""From the events of a partition's users to files of examples: the tasks.

Promises: a task writes to a folder of its own, and returns what it wrote; what a task that failed or was
repeated left behind is in no folder that was returned. The files of a partition are in the order of time.
Memory: the events of a partition.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from specc.prepare.build import build as requests_of
from specc.prepare.events import moments
from specc.prepare.folder import digest
from specc.prepare.output import write_parts
from specc.prepare.users import coded
from specc.prepare.whole import Global

TOKEN = "token"
COUNTED = "second long, count long"
WRITTEN = "written string"


def times(batches: Iterator[pa.RecordBatch], shared: Any) -> Iterator[pa.RecordBatch]:
    """Yield every second in which a partition's users have examples, and how many; how many users there are
    has no second."""
    events = _events(batches)
    if not len(events):
        return
    known = Global.of_files(shared.value)
    users = coded(events, known)
    found, counts = np.unique(moments(users.rows, users.facts, known.plan), return_counts=True)
    yield pa.RecordBatch.from_pydict(
        {
            "second": pa.array([*found.tolist(), None], pa.int64()),
            "count": pa.array([*counts.tolist(), users.number], pa.int64()),
        }
    )


def write(
    batches: Iterator[pa.RecordBatch], shared: Any, work: str, requests: bool
) -> Iterator[pa.RecordBatch]:
    """Write the examples of a partition's users; yield what was written, as JSON."""
    from pyspark import TaskContext

    events = _events(batches)
    if not len(events):
        return
    if not (Path(work) / TOKEN).is_file():
        raise Unshared(work)
    context = TaskContext.get()
    number = context.partitionId() if context is not None else 0
    folder = Path(work) / f"{number:05d}-{secrets.token_hex(4)}"
    folder.mkdir()
    known = Global.of_files(shared.value)
    users = coded(events, known)
    tables = requests_of(users.rows, users.facts, known.plan)
    written = write_parts(folder, known.parts, tables, users.decoding, requests)
    files = [{**asdict(w), "path": w.path.name, "sha256": digest(w.path)} for w in written]
    asked = folder / "requests.parquet"
    if asked.exists():
        shown = {"name": "requests", "path": asked.name, "rows": written[-1].requests}
        files.append({**shown, "sha256": digest(asked)})
    said = {"folder": folder.name, "part": number, "files": files, "nulls": dict(users.decoding.nulls)}
    yield pa.RecordBatch.from_pydict({"written": pa.array([json.dumps(said)])})


def _events(batches: Iterator[pa.RecordBatch]) -> pa.Table:
    found = list(batches)
    return pa.Table.from_batches(found) if found else pa.table({})


class Unshared(RuntimeError):
    """An executor does not see the folder that the examples go to."""
