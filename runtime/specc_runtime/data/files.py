"""Parquet files and their row groups.

Promises: what cannot be read is a DataError that names every file with a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from specc_runtime.encode import DataError, Fault, Origin


@dataclass(frozen=True)
class Unit:
    """A row group: the smallest part of a file that is read by itself. first: its first row's number."""

    file: Path
    group: int
    first: int
    rows: int

    @property
    def origin(self) -> Origin:
        return Origin(str(self.file), self.first)


def find_files(paths: Iterable[str | Path]) -> list[Path]:
    """The Parquet files of some paths, folders included, in order of their names."""
    found: list[Path] = []
    faults: list[Fault] = []
    for path in map(Path, paths):
        inside = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not path.exists():
            faults.append(Fault(str(path), "there is no such file", help="check the path"))
        elif not inside:
            faults.append(
                Fault(str(path), "the folder has no Parquet file", help="`specc prepare` makes them")
            )
        found += inside
    if faults:
        raise DataError(faults)
    return found


def units_of(files: Sequence[Path]) -> list[Unit]:
    """The row groups of all files, empty ones left out."""
    found: list[Unit] = []
    faults: list[Fault] = []
    for file in files:
        try:
            metadata = pq.read_metadata(file)
        except (OSError, pa.ArrowException) as error:
            faults.append(Fault(str(file), f"it cannot be read as Parquet: {_first_line(error)}"))
            continue
        first = 1
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if rows:
                found.append(Unit(file, group, first, rows))
            first += rows
    if not faults and not found:
        faults.append(Fault(", ".join(map(str, files)), "there is no example in it"))
    if faults:
        raise DataError(faults)
    return found


def read(unit: Unit, columns: Callable[[Iterable[str]], list[str]] | None = None) -> pa.Table:
    """The rows of a unit. columns: of the file's columns, those that are wanted."""
    try:
        with pq.ParquetFile(unit.file) as file:
            wanted = None if columns is None else columns(file.schema_arrow.names)
            return file.read_row_group(unit.group, columns=wanted, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            [Fault(str(unit.file), f"row group {unit.group} cannot be read: {_first_line(error)}")]
        ) from None


def tables(
    files: Sequence[Path], columns: Callable[[Iterable[str]], list[str]] | None = None
) -> Iterator[tuple[pa.Table, Origin]]:
    """Every row group of some files, with where it comes from."""
    for unit in units_of(files):
        yield read(unit, columns), unit.origin


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
