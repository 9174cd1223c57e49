"""Files of examples in every format, as tables of typed columns.

Promises: names are names, nothing is globbed. What cannot be read is a DataError with every fault that was
found, each with its file, line or row, and column, up to a bound. Memory: one part of a file, which is some
megabytes of text, a row group of Parquet, or a record batch of Arrow.

    Parquet, Arrow    told by their first bytes, whatever they are called
    JSON lines        .jsonl .ndjson .json, or a first character `{`
    anything else     is text in columns (delimited)

each text also as .gz, .zst or .bz2, told by its first bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from specc_runtime.data.chunks import (
    Chunk,
    Quoting,
    chunks,
    chunks_of,
    compression_of,
    reread,
    stream,
    unreadable,
)
from specc_runtime.data.columns import Column, Typing, present
from specc_runtime.data.delimited import Layout, cells_of, layout_of, rows_of
from specc_runtime.data.dialect import Dialect
from specc_runtime.data.json_lines import objects_of, table_of
from specc_runtime.encode.faults import (
    SHOWN,
    DataError,
    Fault,
    Origin,
    PartlyRead,
    Unfit,
    fault_of,
    with_names,
)

Format = Literal["parquet", "arrow", "json", "text"]
JSON_NAMES = (".jsonl", ".ndjson", ".json")
MORE = 1 << 20  # rows that are looked at for further faults after the first
PLAIN = Dialect()


def format_of(file: Path) -> Format:
    """Raises DataError if the file cannot be opened."""
    try:
        if not file.exists():
            raise DataError([Fault(str(file), "there is no such file", help="check the path")])
        if file.is_dir():
            raise DataError([Fault(str(file), "it is a folder, and a file is wanted")])
        with file.open("rb") as raw:
            head = raw.read(8)
        if head[:4] == b"PAR1":
            return "parquet"
        if head[:6] == b"ARROW1":
            return "arrow"
        if head[:4] == b"FEA1":
            help = "write it again, as Parquet or Feather 2"
            raise DataError([Fault(str(file), "it is Feather of version 1", help=help)])
        suffixes = [s.lower() for s in file.suffixes]
        if suffixes[-1:] in ([".parquet"], [".pq"]):
            what = "it is empty" if not head else "it is no Parquet file, or its beginning is lost"
            raise DataError([Fault(str(file), what)])
        if any(s in JSON_NAMES for s in suffixes[-2:]):
            return "json"
        with stream(file) as text:
            first = text.read(64).removeprefix(b"\xef\xbb\xbf")
            if first[:4] == b"PAR1":
                help = "unpack it; Parquet is compressed within"
                raise DataError([Fault(str(file), f"it is Parquet within {compression_of(file)}", help=help)])
        return "json" if first.lstrip().startswith(b"{") else "text"
    except (OSError, pa.ArrowException) as error:
        raise DataError([unreadable(file, error)]) from None


def names_of(file: Path, dialect: Dialect = PLAIN) -> list[str]:
    """The names of a file's columns, in order; of JSON lines those of the first part. Raises DataError."""
    reader = Reader(file, {}, Typing(dialect))
    if reader.names is not None:
        return [name for name in reader.names if name]
    rows = [row for part in islice(reader.parts(), 1) for row in objects_of(part.loaded)]
    return list(dict.fromkeys(name for row in rows for name in row))


def read_tables(
    files: Sequence[Path],
    columns: Mapping[str, Column],
    dialect: Dialect = PLAIN,
    *,
    others: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[pa.Table, Origin]]:
    """The rows of files, part by part, in order, with those of the wanted columns that each has, typed.

    others: the other columns come too, as they are. tell: what there is to say, such as the unit of times.
    Raises DataError, after the parts before the first fault.
    """
    typing, gathered = Typing(dialect), Gathered()
    for file in files:
        with gathered:
            reader = Reader(file, columns, typing, others)
            for part in reader.parts():
                with gathered:
                    table = reader.read(part)
                    if not gathered.faults:
                        yield table, part.origin
                if gathered.enough(part.rows):
                    break
        if gathered.enough(0):
            break
    gathered.finish()
    for note in typing.notes:
        tell(note)


class Gathered:
    """The faults of several parts: a block under it may raise a DataError, and what follows goes on."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._more = 0

    def enough(self, rows: int) -> bool:
        """Whether further parts need no reading for more faults. rows: how many were read just now."""
        self._more += rows if self.faults else 0
        return len(self.faults) >= SHOWN or self._more > MORE

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        if not isinstance(error, DataError):
            return False
        self.faults += error.faults
        return True

    def finish(self) -> None:
        if self.faults:
            raise DataError(self.faults)


Read = TypeVar("Read")
Made = TypeVar("Made")


def of_parts(
    tables: Iterable[tuple[pa.Table, Origin]],
    cut: Callable[[pa.Table], Iterable[tuple[int, pa.Table]]],
    read: Callable[[pa.Table, Origin], Read],
    make: Callable[[pa.Table, Origin, Read], Made],
) -> Iterator[Made]:
    """What `make` makes of each part of some tables, in their order, until one has a fault; further parts are
    read for their faults alone.

    cut: gives the parts of a table, each with its first row, from 0. read: what `make` is given of a part.
    Raises DataError with every fault, at the end.
    """
    gathered = Gathered()
    with gathered:
        for table, origin in tables:
            for at, part in cut(table):
                where = origin.after(at)
                with gathered:
                    given = read(part, where)
                    if not gathered.faults:
                        yield make(part, where, given)
            if gathered.enough(len(table)):
                break
    gathered.finish()


def by_rows(most: int) -> Callable[[pa.Table], Iterator[tuple[int, pa.Table]]]:
    """What cuts a table into parts of so many rows at most."""
    return lambda table: ((at, table.slice(at, most)) for at in range(0, len(table), most))


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a file. index: which row group or record batch. chunk: in a text file, its bytes; they may
    have been let go, and are read again then."""

    file: Path
    rows: int
    origin: Origin
    index: int = 0
    chunk: Chunk | None = None

    @property
    def loaded(self) -> Chunk:
        assert self.chunk is not None
        return self.chunk if self.chunk.data else reread(self.chunk)


class Reader:
    """One file, and what is wanted of it. Raises DataError where the file cannot be that.

    names: of the file's columns, None for JSON lines.
    """

    def __init__(
        self, file: Path, columns: Mapping[str, Column], typing: Typing, others: bool = False
    ) -> None:
        self.file, self.columns, self.typing, self.others = file, columns, typing, others
        self.format = format_of(file)
        typing.formats.add(self.format)
        self.layout: Layout | None = None
        self.names: list[str] | None = None
        self._sizes: list[int] = []  # rows of row groups or record batches
        try:
            match self.format:
                case "text":
                    self.layout = layout_of(file, typing.dialect)
                    self.names = list(self.layout.names)
                case "parquet":
                    with pq.ParquetFile(file) as opened:
                        self.names = list(opened.schema_arrow.names)
                        about = opened.metadata
                        self._sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
                case "arrow":
                    with ipc.open_file(str(file)) as opened:
                        self.names = list(opened.schema.names)
                        count = range(opened.num_record_batches)
                        self._sizes = [opened.get_batch(i).num_rows for i in count]
        except (OSError, pa.ArrowException) as error:
            raise DataError([unreadable(file, error)]) from None
        if self.names is not None:
            self.columns = present(columns, self.names)
        typing.keys.update(name for name, column in self.columns.items() if column.kind == "key")
        twice = [n for n, count in Counter(self.names or ()).items() if n and count > 1 and self._wants(n)]
        if twice:
            help = "rename one of them"
            raise DataError([Fault(str(file), "the column is there twice", n, help=help) for n in twice])

    def _wants(self, name: str) -> bool:
        return self.others or name in self.columns

    def parts(self) -> Iterator[Part]:
        """The parts of the file, in order. Raises DataError where it cannot be read on."""
        if self.format in ("parquet", "arrow"):
            first = 1
            for index, rows in enumerate(self._sizes):
                if rows:
                    yield Part(self.file, rows, Origin(str(self.file), first), index)
                first += rows
            return
        for chunk in chunks(self.file, Quoting(None)) if self.layout is None else rows_of(self.layout):
            yield Part(self.file, chunk.rows, chunk.origin, chunk=chunk)

    def read(self, part: Part) -> pa.Table:
        """The table of a part, typed. Raises DataError with every fault."""
        if self.format == "json":
            rows = objects_of(part.loaded)
            return table_of(rows, self.columns, self.others, self.typing, part.origin)
        raw = self._raw(part)
        arrays: dict[str, pa.Array] = {}
        faults: list[Fault] = []
        for name, values in zip(raw.column_names, raw.columns, strict=True):
            try:
                column = self.columns.get(name, Column("as it is"))
                arrays[name] = self.typing.typed(name, values, column, blank=self.layout is not None)
            except Unfit as unfit:
                faults.append(fault_of(unfit, part.origin, name, unfit.index))
        table = with_names(
            pa.table(arrays) if arrays else raw.select([]), self.names or (), self.typing.texts
        )
        if faults:
            raise PartlyRead(faults, table)
        return table

    def _raw(self, part: Part) -> pa.Table:
        if self.layout is not None:
            return cells_of(
                part.loaded, self.layout, self.layout.places(None if self.others else self.columns)
            )
        assert self.names is not None
        wanted = [name for name in self.names if self._wants(name)]
        try:
            if self.format == "parquet":
                with pq.ParquetFile(self.file) as file:
                    return file.read_row_group(part.index, columns=wanted, use_threads=False)
            with ipc.open_file(str(self.file)) as opened:
                batch = opened.get_batch(part.index)
                batch.validate(full=True)
                return pa.Table.from_batches([batch]).select(wanted)
        except (OSError, pa.ArrowException) as error:
            rows = f"rows {part.origin.first:,} to {part.origin.row(part.rows - 1):,}"
            text = str(error).partition("\n")[0]
            raise DataError([Fault(str(self.file), f"{rows} cannot be read: {text}")]) from None


def read_lines(
    raw: Any, columns: Mapping[str, Column], *, others: bool = False, name: str = "stdin"
) -> Iterator[tuple[pa.Table, Origin]]:
    """The rows of JSON lines that come from somewhere, as they come.

    raw: a binary stream, of which what is there is read. others: as in `read_tables`. name: what faults
        call it.
    Raises DataError, after the rows before the first fault.
    """
    typing, gathered = Typing(PLAIN), Gathered()
    with gathered:
        for chunk in chunks_of(Path(name), raw.read1, Quoting(None)):
            with gathered:
                table = table_of(objects_of(chunk), columns, others, typing, chunk.origin)
                if not gathered.faults:
                    yield table, chunk.origin
            if gathered.enough(chunk.rows):
                break
    gathered.finish()
