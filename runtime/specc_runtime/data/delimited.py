"""CSV, TSV and their kin: every cell a text, in the columns that are wanted.

Promises: cells are as they are written; a quote that begins a cell ends it, and within is written twice.
Lines with too many or too few cells are faults, all of a part at once. What separates cells is what the user
said, else the one of tab, `::`, comma, semicolon and bar that the first lines agree on.
"""

from __future__ import annotations

import csv as plain
import io
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from specc_runtime.data.chunks import Chunk, Quoting, chunks, stream, unreadable
from specc_runtime.data.dialect import Dialect
from specc_runtime.encode.faults import SHOWN, DataError, Fault
from specc_runtime.encode.numbers import short

SEPARATORS = ("\t", "::", ",", ";", "|")
_SNIFFED, _LINES = 1 << 16, 20
_INNER = "\x1f"  # stands for a separator of several characters


@dataclass(frozen=True)
class Layout:
    """separator: between cells. names: of the file's columns, in order, "" for one that has none.
    header: whether the first record is names."""

    file: Path
    separator: str
    names: tuple[str, ...]
    header: bool

    def places(self, wanted: Container[str] | None) -> dict[str, int]:
        """By name, the places of the wanted columns, or of all that have names."""
        return {n: i for i, n in enumerate(self.names) if n and (wanted is None or n in wanted)}

    @property
    def quoting(self) -> Quoting:
        return Quoting(self.separator.encode() if len(self.separator) == 1 else None)


def layout_of(file: Path, dialect: Dialect) -> Layout:
    """What a file's first lines and the dialect say of its columns. Raises DataError."""
    try:
        with stream(file) as raw:
            head = raw.read(_SNIFFED)
    except (OSError, pa.ArrowException) as error:
        raise DataError([unreadable(file, error)]) from None
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    lines = [line for line in text.split("\n") if line.strip("\r")]
    if not lines:
        raise DataError([Fault(str(file), "it is empty")])
    if "\r" in lines[0].rstrip("\r") and len(lines) == 1:
        help = "write line ends as LF or CRLF: tr '\\r' '\\n'"
        raise DataError([Fault(str(file), "its lines end with CR alone", help=help)])
    separator = dialect.separator or _separator(lines, head)
    _check_separator(separator, file)
    quoting = Quoting(separator.encode() if len(separator) == 1 else None)
    first = next(chunks(file, quoting, _SNIFFED, header=True), None)
    if first is None:
        raise DataError([Fault(str(file), "it is empty")])
    cells = cells_in(first, separator)
    names = tuple(cell.strip() for cell in cells) if dialect.has_header else ("",) * len(cells)
    return Layout(file, separator, _renamed(file, names, dialect), dialect.has_header)


def rows_of(layout: Layout) -> Iterator[Chunk]:
    """The parts of a file after its header. Raises DataError."""
    parts = chunks(layout.file, layout.quoting, header=layout.header)
    if layout.header:
        next(parts, None)
    return parts


def cells_of(
    chunk: Chunk,
    layout: Layout,
    places: Mapping[str, int],
    reject: Callable[[int, str], None] | None = None,
) -> pa.Table:
    """The table of one part. Raises DataError.

    reject: told of every row with too many or too few cells, by its place and text; the table is without it.
    Without `reject` such a row is a fault.
    """
    data, mark = chunk.data, layout.separator
    if len(mark) > 1:
        if _INNER.encode() in data:
            raise DataError([Fault(str(chunk.file), "it holds the control character U+001F")])
        data, mark = data.replace(mark.encode(), _INNER.encode()), _INNER
    faults: list[Fault] = []
    wrong = 0

    def note(row: csv.InvalidRow) -> str:
        nonlocal wrong
        wrong += 1
        if reject is not None:
            reject((row.number or 1) - 1, row.text.strip())
        elif len(faults) < SHOWN:
            index = (row.number or 1) - 1
            cells = f"{row.actual_columns} cell" + "s" * (row.actual_columns != 1)
            faults.append(
                Fault(str(chunk.file), f"there are {cells}, and {row.expected_columns} columns: "
                      f"`{short(row.text.strip())}`", row=chunk.origin.row(index),
                      line=chunk.origin.line_of(index), help="quote cells that hold the separator or a "
                      "line end, or give the file's separator: --sep")
            )  # fmt: skip
        return "skip"

    columns = [f"c{place}" for place in range(len(layout.names))]
    picked = [columns[place] for place in places.values()]
    try:
        found = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=columns),
            csv.ParseOptions(
                delimiter=mark,
                quote_char=False if len(layout.separator) > 1 else '"',
                newlines_in_values=True,
                invalid_row_handler=note,
            ),
            csv.ConvertOptions(
                include_columns=picked or columns[:1],
                column_types=dict.fromkeys(columns, pa.large_string()),
                strings_can_be_null=False,
                null_values=[],
            ),
        )
    except pa.ArrowException as error:
        if faults:
            raise DataError(faults) from None
        text = str(error).partition("\n")[0]
        raise DataError([Fault(str(chunk.file), f"it cannot be read: {text}", line=chunk.line)]) from None
    if faults:
        if wrong > len(faults):
            faults.append(Fault(str(chunk.file), f"{wrong - len(faults):,} more lines are like that"))
        raise DataError(faults)
    if len(found) + (0 if reject is None else wrong) != chunk.rows:
        last = chunk.origin.line_of(chunk.rows - 1)
        what = f"lines {chunk.line:,} to {last:,} cannot be told apart: are there line ends of CR alone?"
        raise DataError([Fault(str(chunk.file), what)])
    return found.select(picked).rename_columns(list(places))


def cells_in(first: Chunk, separator: str) -> list[str]:
    """The cells of the first record."""
    record = first.data.strip(b"\r\n").decode("utf-8")
    if len(separator) > 1:
        return record.split(separator)
    return next(plain.reader(io.StringIO(record, newline=""), delimiter=separator), [record])


def _renamed(file: Path, names: tuple[str, ...], dialect: Dialect) -> tuple[str, ...]:
    """The names that the dialect gives columns. Raises DataError."""
    found = list(names)
    faults = []
    for name, place in dialect.columns.items():
        if isinstance(place, str):
            if place not in names:
                has = ", ".join(n for n in names if n) or "none"
                faults.append(Fault(str(file), f"there is no column `{place}` for `{name}`; it has {has}"))
                continue
            place = names.index(place)
        if not 0 <= place < len(names):
            faults.append(
                Fault(
                    str(file), f"there is no column {place} for `{name}`; it has {len(names)}, counted from 0"
                )
            )
            continue
        # A column of that name that is another one is not meant.
        found = ["" if n == name else n for n in found]
        found[place] = name
    if faults:
        raise DataError(faults)
    return tuple(found)


def _separator(lines: list[str], head: bytes) -> str:
    whole = lines[:-1] if len(head) == _SNIFFED and len(lines) > 1 else lines
    for mark in SEPARATORS:
        counts = {line.count(mark) for line in whole[:_LINES] if '"' not in line}
        counts = counts or {whole[0].count(mark)}
        if len(counts) == 1 and counts != {0}:
            return mark
    # None that all lines agree on: the one that the first line has.
    return max(SEPARATORS, key=lambda mark: (whole[0].count(mark), -SEPARATORS.index(mark)))


def _check_separator(separator: str, file: Path) -> None:
    if separator in ('"', "\n", "\r") or (len(separator) == 1 and not separator.isascii()):
        help = "a character of ASCII but the quote, or several such as ::"
        raise DataError([Fault(str(file), f"`{separator!r}` cannot separate cells", help=help)])
