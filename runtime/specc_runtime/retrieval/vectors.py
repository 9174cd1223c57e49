"""Vectors of a catalogue: one output of the candidate alone, for each row.

Promises: the order of the rows; single precision, as the model computes. A vector that is not finite is a
fault with its row. Memory: `ROWS` rows at once; of `read_vectors` all vectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from specc_runtime.batch import Bag, Batch
from specc_runtime.data.files import by_rows, of_parts
from specc_runtime.encode import Encoders, Origin
from specc_runtime.model import Model
from specc_runtime.retrieval.about import KEY, Made, RetrievalError
from specc_runtime.score.requests import check_finite, narrowed, output
from specc_runtime.score.rows import ROWS

Vectors = npt.NDArray[np.float32]


@dataclass
class Lacking:
    """What the vocabularies lack of a catalogue: by column how many of its rows have no value, or a key that
    is unknown, and the first of them, from 1."""

    rows: int = 0
    empty: dict[str, tuple[int, int]] = field(default_factory=dict)
    unknown: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, manifest: Mapping[str, Any], table: pa.Table, batch: Batch) -> None:
        """Count a part of the rows, which come one part after another."""
        for entry in manifest["fields"]:
            held = batch.fields.get(entry["path"])
            if entry["axes"] or entry["vocabulary"] is None or held is None or isinstance(held, Bag):
                continue
            names = (entry["column"], entry["fallback"])
            name = next((n for n in names if n in table.column_names), entry["column"])
            nothing = np.ones(len(table), dtype=bool)
            if name in table.column_names:
                nothing = table.column(name).is_null().to_numpy()
            unknown = held.cpu().numpy() == 0
            for found, of in ((self.empty, unknown & nothing), (self.unknown, unknown & ~nothing)):
                if of.any():
                    before, first = found.get(name, (0, self.rows + int(of.argmax()) + 1))
                    found[name] = (before + int(of.sum()), first)
        self.rows += len(table)


def vectors(
    model: Model,
    encoders: Encoders,
    rows: Iterable[tuple[pa.Table, Origin]],
    made: Made,
    keep: Mapping[str, str],
    lacking: Lacking,
) -> Iterator[pa.Table]:
    """Tables with a vector a row in the column `made.output`, of the columns in `keep`, each by its name
    there.

    lacking: gets what is unknown of the rows.
    Raises DataError with every fault, after what came before the first of them was given.
    """
    encoders = replace(encoders, manifest=narrowed(model.manifest, made.output))

    def computed(part: pa.Table, where: Origin, batch: Batch) -> pa.Table:
        found = output(model, made.output, batch)
        check_finite({made.output: found}, np.ones(len(part), dtype=np.int64), where, False)
        lacking.add(encoders.manifest, part, batch)
        own = {name: part.column(column) for column, name in keep.items()}
        return _table(own, found.reshape(len(part), -1).astype(np.float32), made)

    return of_parts(rows, by_rows(ROWS), partial(encoders.encode, labels=False), computed)


def _table(own: Mapping[str, Any], found: Vectors, made: Made) -> pa.Table:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), made.width)
    return pa.table({**own, made.output: lists}).replace_schema_metadata({KEY: made.text().encode()})


def read_vectors(path: str | Path) -> tuple[Made, Vectors, pa.Table]:
    """What `specc vectors` wrote: what the vectors are, they themselves [rows, width], and the other columns.

    Raises RetrievalError.
    """
    path = Path(path)
    table = _read(path)
    said = (table.schema.metadata or {}).get(KEY)
    if said is None:
        raise RetrievalError(
            f"{path} does not say which model made it: it is no file of `specc vectors`, or another "
            f"program has "
            "written it since; make it with `specc vectors MODEL CATALOGUE -o FILE.parquet`"
        )
    try:
        raw = json.loads(said)
    except ValueError:
        raw = {}
    made = Made.of(raw, str(path))
    if made.output not in table.column_names:
        raise RetrievalError(f"{path} has no column `{made.output}` any more: make it anew (`specc vectors`)")
    found = rows_of(table.column(made.output), made.width, f"{path}, column `{made.output}`")
    others = table.drop_columns([made.output]).replace_schema_metadata(None)
    return made, found, others


def read_queries(path: str | Path, made: Made) -> Vectors:
    """Vectors of requests [rows, width], from the file of `specc predict --only OUTPUT`. Raises
    RetrievalError."""
    table = _read(Path(path))
    if made.request not in table.column_names:
        raise RetrievalError(
            f"{path} has no column `{made.request}`: make it with `specc predict MODEL ROWS --only "
            f"{made.request}`"
        )
    return rows_of(table.column(made.request), made.width, f"{path}, column `{made.request}`")


def rows_of(column: pa.ChunkedArray, width: int, where: str) -> Vectors:
    """Lists of numbers as single precision [rows, width]. Raises RetrievalError with the first row at
    fault."""
    try:
        lists = column.cast(pa.large_list(pa.float64())).combine_chunks()
        lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
    except pa.ArrowException:
        raise RetrievalError(f"{where} is {column.type}, and it should hold lists of numbers") from None
    lengths = lists.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    if (lengths != width).any():
        row = int((lengths != width).argmax())
        has = "has no vector" if lengths[row] < 0 else f"has {lengths[row]} numbers"
        raise RetrievalError(f"{where}: row {row + 1} {has}, and the model's have {width}")
    values = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), width)
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise RetrievalError(f"{where}: row {int(bad.argmax()) + 1} has a number that is not finite")
    found: Vectors = values.astype(np.float32)
    return found


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() in (".arrow", ".feather"):
            with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as file:
                return file.read_all()
        with pq.ParquetFile(path) as parquet:
            return parquet.read()
    except FileNotFoundError:
        raise RetrievalError(f"{path} is not there") from None
    except (OSError, pa.ArrowException) as error:
        raise RetrievalError(f"{path} cannot be read as a Parquet or Arrow file: {error}") from None
