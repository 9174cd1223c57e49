"""The files of a log: their columns by place, and their rows as they are written.

Promises: Parquet, Arrow, JSON lines and text in columns, as `specc_runtime.data` reads them; names are names.
A row of text with too many or too few cells is left out, and kept in mind with its line. Files that are read
together have the same columns, in whatever order.
Memory: one part of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from specc.prepare.mapped import Table
from specc.prepare.names import meaning_of
from specc.prepare.settings import PrepareError, Settings
from specc_runtime.data.chunks import Chunk, Quoting, chunks
from specc_runtime.data.columns import Typing
from specc_runtime.data.delimited import Layout, cells_of, rows_of
from specc_runtime.data.dialect import Dialect
from specc_runtime.data.files import Reader, names_of
from specc_runtime.data.json_lines import as_it_is, objects_of
from specc_runtime.data.parts import find_files
from specc_runtime.encode.clock import Clock
from specc_runtime.encode.faults import Origin, Unfit
from specc_runtime.encode.numbers import short

Ints = npt.NDArray[np.int64]
AT_ONCE = 1 << 17  # rows of a row group that are read at once


class Raw:
    """One file. names: of its columns, or None without a header. rejected: rows that were left out, by line.
    order: by place of a column in the first file, its place in this one."""

    def __init__(self, path: Path, settings: Settings, said: Mapping[str, int | str]) -> None:
        self.path = path
        dialect = Dialect(separator=settings.sep, header=True)
        self._reader = Reader(path, {}, Typing(dialect))
        self.format = self._reader.format
        self.blank = self._reader.layout is not None
        self.rejected: list[tuple[int, str]] = []
        self.layout: Layout | None = self._reader.layout
        self.names: list[str] | None = self._reader.names
        if self.names is None:
            self.names = names_of(path)
        self.width = len(self.names)
        self.order: Mapping[int, int] = {place: place for place in range(self.width)}
        if self.layout is not None and not _header(self.names, settings, said):
            self.layout = replace(self.layout, header=False)
            self.names = None

    @property
    def table(self) -> Table:
        return Table(str(self.path), self.names, self.width)

    def like(self, first: Raw) -> list[str]:
        """Take the columns in the order of another file; what is wrong if it has others."""
        if first.names is None or self.names is None:
            if (first.names is None) != (self.names is None) or first.width != self.width:
                return [
                    f"{self.path}: it has {self.width} columns, and {first.path} has {first.width}, with a "
                    "header or without"
                ]
            return []
        lacking = [name for name in first.names if name not in self.names]
        if lacking or len(set(first.names)) != first.width:
            same = first.names == self.names
            return (
                []
                if same
                else [f"{self.path}: it has no column `{', '.join(lacking)}`, and {first.path} has"]
            )
        self.order = {place: self.names.index(name) for place, name in enumerate(first.names)}
        return []

    def pieces(self, places: Sequence[int]) -> Iterator[tuple[list[pa.Array], Ints]]:
        """Yield the columns at some places, and the line (or row, from 1) of each row. Raises DataError."""
        own = [self.order[place] for place in places]
        if self.layout is not None:
            yield from of_text(rows_of(self.layout), self.layout, own, self.rejected)
        elif self.format == "json":
            assert self.names is not None
            yield from of_objects(chunks(self.path, Quoting(None)), self.names, own)
        else:
            yield from self._columns(own)

    def _columns(self, places: Sequence[int]) -> Iterator[tuple[list[pa.Array], Ints]]:
        row = 1
        for batch in self._batches(sorted(set(places))):
            order = {place: number for number, place in enumerate(sorted(set(places)))}
            yield (
                [batch.column(order[place]) for place in places],
                row + np.arange(len(batch), dtype=np.int64),
            )
            row += len(batch)

    def _batches(self, places: list[int]) -> Iterator[pa.RecordBatch]:
        if self.format == "arrow":
            with ipc.open_file(str(self.path)) as file:
                for index in range(file.num_record_batches):
                    batch = file.get_batch(index)
                    batch.validate(full=True)
                    yield batch.select(places)
            return
        with pq.ParquetFile(self.path) as file:
            names = file.schema_arrow.names
            for batch in file.iter_batches(AT_ONCE, columns=[names[p] for p in places], use_threads=False):
                yield batch.select([batch.schema.names.index(names[p]) for p in places])


def of_text(
    parts: Iterable[Chunk], layout: Layout, places: Sequence[int], rejected: list[tuple[int, str]]
) -> Iterator[tuple[list[pa.Array], Ints]]:
    """Yield the columns of parts of a text file at some places, and their lines. rejected: what rows with too
    many or too few cells are added to, by line."""
    named = {f"c{number}": place for number, place in enumerate(dict.fromkeys(places))}
    at = {place: name for name, place in named.items()}
    for chunk in parts:
        wrong: list[int] = []

        def reject(index: int, text: str, wrong: list[int] = wrong, origin: Origin = chunk.origin) -> None:
            wrong.append(index)
            rejected.append((origin.line_of(index) or 0, short(text)))

        table = cells_of(chunk, layout, named, reject)
        lines = np.arange(chunk.rows, dtype=np.int64) if chunk.lines is None else chunk.lines.astype(np.int64)
        lines = np.delete(lines + chunk.line, wrong)
        yield [_whole(table.column(at[place])) for place in places], lines


def of_objects(
    parts: Iterable[Chunk], names: Sequence[str], places: Sequence[int]
) -> Iterator[tuple[list[pa.Array], Ints]]:
    """Yield the columns of parts of JSON lines, and their lines."""
    for chunk in parts:
        rows, origin = objects_of(chunk), chunk.origin
        lines = np.array([origin.line_of(i) or origin.row(i) for i in range(len(rows))], dtype=np.int64)
        yield [as_it_is([row.get(names[place]) for row in rows]) for place in places], lines


def open_files(paths: Sequence[Path], settings: Settings, said: Mapping[str, int | str]) -> list[Raw]:
    """Return the files of some paths, folders included. Raises PrepareError and DataError."""
    found = [Raw(path, settings, said) for path in find_files(paths)]
    faults = [fault for raw in found[1:] for fault in raw.like(found[0])]
    if faults:
        raise PrepareError("\n".join(faults))
    return found


def _header(cells: Sequence[str], settings: Settings, said: Mapping[str, int | str]) -> bool:
    """Return whether a first line is names: it has no time, as every line of events has, or names that are
    known."""
    if settings.header is not None:
        return settings.header
    if any(isinstance(column, str) for column in said.values()):
        return True
    known = sum(meaning_of(cell) is not None for cell in cells)
    return known > 1 or not any(_is_time(cell) for cell in cells)


def _is_time(cell: str) -> bool:
    try:
        return bool(cell.strip()) and not Clock().read(pa.array([cell.strip()])).null_count
    except Unfit:
        return False


def _whole(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found
