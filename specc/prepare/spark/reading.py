"""From the lines or rows of a partition to events: the task, and what comes back from all of them.

Promises: what is read, skipped and refused is what one machine reads, skips and refuses (reading, raw), with
the same file, line or row, and column. Faults come back as rows, and no task fails by them.

A piece of a text file begins where a line does. Where a piece ends in a quoted cell, as some have line ends,
that is a fault, and never two rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc.prepare.engines import typed
from specc.prepare.mapped import Mapped, Table, map_all
from specc.prepare.mapping import Input
from specc.prepare.raw import of_objects, of_text
from specc.prepare.reading import Reader, Skipped, listed, notes_of
from specc.prepare.scan import ITEM_KEY, USER_KEY, columns_of
from specc.prepare.settings import Settings
from specc.prepare.settle import inputs_of
from specc.prepare.spark.files import plain
from specc.prepare.totals import Totals
from specc.prepare.users import FILE, PLACE
from specc_runtime.data.chunks import Chunk, Quoting, chunks_of
from specc_runtime.data.columns import Typing
from specc_runtime.data.delimited import Layout, cells_in
from specc_runtime.data.dialect import Dialect
from specc_runtime.encode.clock import Clock
from specc_runtime.encode.faults import SHOWN, DataError, Fault

Ints = npt.NDArray[np.int64]
TOLD = "told"
PATH, START, ROW, LINE = "arec_path", "arec_start", "arec_row", "value"
_ARROW = {"string": pa.string(), "double": pa.float64(), "long": pa.int64(), "int": pa.int32()}


@dataclass(frozen=True)
class Columns:
    """What the columns of events are. kinds: by name, Spark's type."""

    names: Mapping[Input, str]
    kinds: Mapping[str, str]

    @staticmethod
    def of(mapped: Mapped, shapes: Mapping[str, bool]) -> Columns:
        """shapes: by name of an input, whether it is read as lists."""
        names = columns_of(inputs_of(mapped))
        simple = {"key": "string", "time": "long", "number": "double", "label": "double"}
        kinds = {"user": "string", "item": "string", "time": "long", FILE: "int", PLACE: "long"}
        for wanted, name in names.items():
            kind = simple[wanted.kind]
            kinds[name] = f"array<{kind}>" if shapes[wanted.name] else kind
        return Columns(names, kinds)

    @property
    def spark(self) -> str:
        """Return the schema as Spark writes it, with the column for what a task tells."""
        return ", ".join(f"{name} {kind}" for name, kind in {**self.kinds, TOLD: "string"}.items())

    @property
    def arrow(self) -> pa.Schema:
        kinds = {**self.kinds, TOLD: "string"}
        return pa.schema([(name, arrow_of(kind)) for name, kind in kinds.items()])


def arrow_of(kind: str) -> pa.DataType:
    """Return Arrow's type for one of Spark's."""
    inner = kind.removeprefix("array<").removesuffix(">")
    return _ARROW[kind] if inner == kind else pa.list_(_ARROW[inner])


@dataclass
class Told:
    """What tasks tell. pieces: of text files, the file, the first byte, and how many lines it has."""

    totals: Totals = field(default_factory=Totals)
    faults: list[Fault] = field(default_factory=list)
    skipped: Skipped = field(default_factory=Skipped)
    nothing: Counter[tuple[str, str]] = field(default_factory=Counter)
    clocks: dict[str, str] = field(default_factory=dict)
    decimal: dict[str, bool] = field(default_factory=dict)
    pieces: list[tuple[int, int, int]] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    def as_text(self) -> str:
        said = {
            **vars(self),
            "totals": self.totals.as_data(),
            "faults": [asdict(fault) for fault in self.faults],
            "skipped": asdict(self.skipped),
            "nothing": [[*key, count] for key, count in self.nothing.items()],
            "texts": sorted(self.texts),
        }
        return json.dumps(said)

    def merge(self, text: str) -> None:
        """Add what another task tells."""
        said = json.loads(text)
        self.totals.merge(Totals.of_data(said["totals"]))
        self.faults += [Fault(**fault) for fault in said["faults"]]
        self.skipped.count += said["skipped"]["count"]
        self.skipped.shown += [(file, line, what) for file, line, what in said["skipped"]["shown"]]
        for name, value, count in said["nothing"]:
            self.nothing[name, value] += count
        for name, unit in said["clocks"].items():
            if self.clocks.setdefault(name, unit) != unit:
                what = f"some of its times are {self.clocks[name]}, and others {unit}"
                self.faults.append(Fault("the log", what, name, help="a column of times has one unit"))
        for name, all_of in said["decimal"].items():
            self.decimal[name] = self.decimal.get(name, True) and all_of
        self.pieces += [(number, start, count) for number, start, count in said["pieces"]]
        self.texts |= set(said["texts"])

    def settled(self, names: Sequence[str]) -> Told:
        """Return the same in the order of the log, with the files' names and their own lines. Raises
        DataError with all faults."""
        before: dict[tuple[int, int], int] = {}
        lines = 0
        for number, start, count in sorted(self.pieces):
            lines = 0 if start == 0 else lines
            before[number, start] = lines
            lines += count

        divided = {number for number, start in before if start}

        def found(file: str) -> tuple[int, int]:
            number, _, start = file.partition("\n")
            return (int(number), int(start)) if number.isdecimal() else (-1, 0)

        self.faults.sort(key=lambda f: (*found(f.file), f.line or 0, f.row or 0))
        self.faults = [
            replace(
                fault,
                file=names[found(fault.file)[0]] if found(fault.file)[0] >= 0 else fault.file,
                line=None if fault.line is None else fault.line + before.get(found(fault.file), 0),
                help=_IN_PIECES if _cut(fault) and found(fault.file)[0] in divided else fault.help,
            )
            for fault in self.faults
        ]
        if self.faults:
            raise DataError(self.faults[:SHOWN])
        self.skipped.shown.sort(key=lambda row: (*found(row[0]), row[1]))
        self.skipped.shown = [
            (names[found(file)[0]], line + before.get(found(file), 0), what)
            for file, line, what in self.skipped.shown
        ]
        return self

    def notes(self, shown: int) -> list[str]:
        typing = Typing(Dialect())
        typing.restore({name: unit for name, unit in self.clocks.items() if name}, self.decimal)
        self.skipped.shown = self.skipped.shown[:shown]
        return notes_of(self.skipped, self.nothing, typing.notes)


_IN_PIECES = (
    "Spark reads a large file in pieces, by lines: if cells go over several lines, write Parquet, or have "
    "files read as a whole, --spark-conf spark.sql.files.maxPartitionBytes=1TB"
)


def _cut(fault: Fault) -> bool:
    return fault.what.startswith("the quote that opens here is not closed")


@dataclass
class _Piece:
    """Some rows of a file, as `Raw` is one. path: the file's number and the first byte."""

    path: str
    number: int
    start: int
    blank: bool
    names: Sequence[str] | None
    order: Mapping[int, int]
    read: Callable[[list[int], list[tuple[int, str]]], Iterator[tuple[list[pa.Array], Ints]]]
    rejected: list[tuple[int, str]] = field(default_factory=list)

    def pieces(self, places: Sequence[int]) -> Iterator[tuple[list[pa.Array], Ints]]:
        yield from self.read([self.order[place] for place in places], self.rejected)


class _Pieces:
    """The pieces of files in a partition, one after another; `current` is the one that is read."""

    def __init__(self, batches: Iterable[pa.RecordBatch], config: Mapping[str, Any], told: Told) -> None:
        self.batches, self.told, self.config = batches, told, config
        self.current: _Piece | None = None
        self.format, self.table = config["format"], Table(**config["table"])
        layout = config["layout"]
        self.layout = (
            None
            if layout is None
            else Layout(Path(layout["file"]), layout["separator"], tuple(layout["names"]), layout["header"])
        )
        self.orders = [dict(order) for order in config["orders"]]
        self.groups = groupby(self._runs(), key=lambda run: run[0])

    def count_rest(self) -> None:
        """Count the lines of the pieces that are not read, because of a fault: others come after them."""
        for (path, start), runs in self.groups:
            count = sum(len(batch) for _, batch in runs)
            self.told.pieces.append((self.config["files"][plain(path)], start, count))

    def __iter__(self) -> Iterator[_Piece]:
        for (path, start), runs in self.groups:
            number = self.config["files"][plain(path)]
            name = f"{number}\n{start}"
            batches = (batch for _, batch in runs)
            read = self._rows(batches) if self.format == "parquet" else self._lines(number, start, batches)
            order = self.orders[number] if self.format != "parquet" else {p: p for p in self.orders[number]}
            self.current = _Piece(name, number, start, self.layout is not None, self.table.names, order, read)
            yield self.current

    def _runs(self) -> Iterator[tuple[tuple[str, int], pa.RecordBatch]]:
        """Yield neighbouring rows of one piece."""
        for batch in self.batches:
            paths = batch.column(batch.schema.get_field_index(PATH))
            starts = batch.column(batch.schema.get_field_index(START)).to_numpy()
            codes = paths.dictionary_encode()
            index = codes.indices.to_numpy()
            new = np.flatnonzero((np.diff(index) != 0) | (np.diff(starts) != 0)) + 1
            ends = [*new.tolist(), len(batch)]
            for begin, end in zip([0, *new.tolist()], ends, strict=True):
                if end > begin:
                    key = (codes.dictionary[int(index[begin])].as_py(), int(starts[begin]))
                    yield key, batch.slice(begin, end - begin)

    def _rows(self, batches: Iterator[pa.RecordBatch]) -> Any:
        def read(places: list[int], rejected: Any) -> Iterator[tuple[list[pa.Array], Ints]]:
            for batch in batches:
                rows = batch.column(batch.schema.get_field_index(ROW)).to_numpy() + 1
                yield [batch.column(batch.schema.get_field_index(f"p{place}")) for place in places], rows

        return read

    def _lines(self, number: int, start: int, batches: Iterator[pa.RecordBatch]) -> Any:
        name = Path(f"{number}\n{start}")
        count = 0

        def more(size: int) -> bytes:
            nonlocal count
            for batch in batches:
                lines = batch.column(batch.schema.get_field_index(LINE))
                count += len(lines)
                return _joined(lines)
            return b""

        def parts() -> Iterator[Chunk]:
            layout = self.layout
            if layout is None:
                yield from chunks_of(name, more, Quoting(None))
                return
            begins = layout.header and start == 0
            found = chunks_of(name, more, layout.quoting, header=begins)
            first = next(found, None) if begins else None
            if first is not None:
                self._same_header(name, layout, first, number)
            yield from found

        def read(places: list[int], rejected: Any) -> Iterator[tuple[list[pa.Array], Ints]]:
            nonlocal count
            try:
                if self.layout is None:
                    yield from of_objects(parts(), self.table.names or (), places)
                else:
                    yield from of_text(parts(), self.layout, places, rejected)
            finally:
                count += sum(len(batch) for batch in batches)
                self.told.pieces.append((number, start, count))

        return read

    def _same_header(self, name: Path, layout: Layout, first: Chunk, number: int) -> None:
        """Raises DataError for a file whose columns are not those that it should have."""
        order = self.orders[number]
        expected: list[str] = [""] * len(layout.names)
        for place, own in order.items():
            expected[own] = layout.names[place]
        cells = [cell.strip() for cell in cells_in(first, layout.separator)]
        if cells != expected:
            what = (
                f"its columns are {', '.join(cells)}, and those of the log's first file {', '.join(expected)}"
            )
            raise DataError([Fault(str(name), what, help="give all files the same columns, in one order")])


def _joined(lines: pa.Array) -> bytes:
    """Return lines as they stood in their file."""
    empty, end = (pa.scalar(text, pa.large_binary()) for text in (b"", b"\n"))
    whole = pc.binary_join_element_wise(lines.cast(pa.large_binary()), empty, end)
    _, offsets, data = whole.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[whole.offset : whole.offset + len(whole) + 1]
    return bytes(memoryview(data)[int(ends[0]) : int(ends[-1])])


def read(batches: Iterator[pa.RecordBatch], config: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
    """Yield the events of a partition, and at the end a row with what there is to tell."""
    settings = Settings.model_validate(config["settings"])
    mapped = map_all(config["manifest"], Table(**config["table"]), _table(config["catalogue"]), settings)
    columns = Columns.of(mapped, config["shapes"])
    told = Told()
    pieces = _Pieces(batches, config, told)
    reader = Reader(pieces, mapped.places, settings, ("user", "item"), pieces.table.names)
    units = config["units"]
    reader.clock.unit = units.get("")
    reader.typing.restore({name: unit for name, unit in units.items() if name}, {})
    schema = columns.arrow
    try:
        inputs = [USER_KEY, ITEM_KEY, *columns.names]
        for table, lines in typed(reader.pieces(inputs, timed=True), columns.names, settings, told.totals):
            piece = pieces.current
            assert piece is not None
            for name in table.column_names:
                if name not in told.texts and _has_text(table.column(name)):
                    told.texts.add(name)
            place = pa.array(piece.start + lines)
            made = table.append_column(FILE, pa.array(np.full(len(table), piece.number, np.int32)))
            made = made.append_column(PLACE, place).append_column(TOLD, pa.nulls(len(table), pa.string()))
            yield from made.select(schema.names).cast(schema).to_batches()
    except DataError as error:
        told.faults += error.faults
        pieces.count_rest()
    told.skipped, told.nothing = reader.skipped, reader.nothing
    told.clocks, told.decimal = reader.typing.remembered()
    if reader.clock.unit is not None:
        told.clocks[""] = reader.clock.unit
    empty = {name: pa.nulls(1, kind) for name, kind in zip(schema.names, schema.types, strict=True)}
    yield pa.RecordBatch.from_pydict({**empty, TOLD: pa.array([told.as_text()])}, schema=schema)


def _table(data: Mapping[str, Any] | None) -> Table | None:
    return None if data is None else Table(**data)


def _has_text(column: pa.ChunkedArray) -> bool:
    """Return whether a column of keys, or lists of them, has one that is no integer."""
    from specc_runtime.encode.keys import canonical

    for chunk in column.chunks:
        values = chunk.flatten() if pa.types.is_large_list(chunk.type) else chunk
        if pa.types.is_large_string(values.type) and not pa.types.is_int64(canonical(values).type):
            return True
    return False


def look(first: Any, mapped: Mapped, settings: Settings) -> tuple[dict[str, str], dict[str, bool]]:
    """Return what the beginning of a log says: the units of times (of events by the name ""), and which
    inputs are read as lists."""
    names = [wanted.name for wanted in inputs_of(mapped)]
    kinds: dict[str, pa.DataType] = {}
    for raw, _ in first.pieces([mapped.places[name] for name in names]):
        kinds = {name: values.type for name, values in zip(names, raw, strict=True)}
        break
    shapes = {i.name: listed(i, kinds.get(i.name, pa.null())) for i in inputs_of(mapped)}
    reader = Reader([_Head(first)], mapped.places, settings, ("user", "item"), first.names)
    try:
        for _ in reader.pieces([USER_KEY, ITEM_KEY, *inputs_of(mapped)], timed=True):
            break
    except DataError:
        pass  # all faults come from the tasks, in the order of the log
    units, _ = reader.typing.remembered()
    if reader.clock.unit is not None:
        units[""] = reader.clock.unit
    return units, shapes


class _Head:
    """The first piece of a file alone."""

    def __init__(self, whole: Any) -> None:
        self.whole, self.path, self.names = whole, whole.path, whole.names
        self.blank = whole.blank
        self.rejected: list[tuple[int, str]] = []

    def pieces(self, places: Sequence[int]) -> Iterator[Any]:
        for piece in self.whole.pieces(places):
            yield piece
            return


def clock_of(unit: str | None) -> str:
    """Return how times are read, in words."""
    clock = Clock()
    clock.unit = unit
    return str(clock)
