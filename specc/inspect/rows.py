"""Some rows of examples as one batch, with or without labels, grouped as they are evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from specc_runtime import Batch
from specc_runtime.data import Column, Dialect, Examples, columns_of, names_of
from specc_runtime.data.files import PLAIN
from specc_runtime.data.frames import column_names
from specc_runtime.encode import DataError, Encoders, Fault
from specc_runtime.encode.labels import of_requests
from specc_runtime.train.session import groups_by


@dataclass(frozen=True)
class Rows:
    """Examples to look into. labels: whether they are read. keys: the column that groups examples. where:
    what to call them."""

    examples: Examples
    labels: bool
    keys: str | None
    where: str


def in_files(
    manifest: Mapping[str, Any], files: Sequence[Path], dialect: Dialect = PLAIN, labels: bool = False
) -> Rows:
    """Return the rows of files. labels: whether there have to be some. Raises DataError."""
    there = {name for file in files for name in names_of(file, dialect)}
    labels = labels or _labelled(manifest, there)
    columns = columns_of(manifest, labels=labels)
    keys = groups_by(manifest, files, manifest["train"]["group"], dialect)
    if keys is not None:
        columns.setdefault(keys, Column("key", needed=True))
    return Rows(Examples(files, columns, dialect), labels, keys, ", ".join(map(str, files)))


def in_memory(manifest: Mapping[str, Any], data: Any) -> Rows:
    """Return the rows of data as `encoded` takes it. Raises DataError."""
    labels = _labelled(manifest, set(column_names(data)))
    return Rows(Examples.of(data, columns_of(manifest, labels=labels)), labels, None, "the data")


def _labelled(manifest: Mapping[str, Any], columns: set[str]) -> bool:
    return of_requests(manifest) or any(p["column"] in columns for p in manifest["predictions"])


def read(rows: Rows, encoders: Encoders, begin: int, count: int) -> tuple[Batch, pa.Table]:
    """Return rows from `begin` (from 0) on, as many as there are of `count`, and the last table of them.

    Raises DataError, also where there is none.
    """
    batches, seen = [], 0
    for table, origin in rows.examples.tables():
        first, last = max(begin - seen, 0), min(begin + count - seen, len(table))
        if first < last:
            found = table.slice(first, last - first)
            batches.append(encoders.encode(found, origin.after(first), labels=rows.labels, keys=rows.keys))
        seen += len(table)
        if seen >= begin + count:
            break
    if not batches:
        what = f"there are {seen:,} rows, and row {begin + 1:,} is asked for"
        raise DataError([Fault(rows.where, what)])
    return Batch.collate(batches), found


def said_of(manifest: Mapping[str, Any], table: pa.Table) -> dict[str, str]:
    """Return what the one row of a table says of fields that are one value, by their paths."""
    found = {}
    for field in manifest["fields"]:
        names = [name for name in (field["column"], field["fallback"]) if name in table.column_names]
        value = table.column(names[0])[0].as_py() if names else None
        if names and value is None:
            found[field["path"]] = "none"
        elif isinstance(value, str | int | float):
            found[field["path"]] = f"{value:.6g}" if isinstance(value, float) else str(value)
    return found
