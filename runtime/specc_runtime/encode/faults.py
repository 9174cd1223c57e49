"""What is wrong with data, as data.

Promises: every fault names the file, and the column and row where there are; in a text file the line, also
where cells go over several; in a list the item. A `DataError` lists all that were found. Rows, lines and
items count from 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SHOWN = 20  # faults that a message spells out


@dataclass(frozen=True)
class Origin:
    """Where a table's rows come from: a file, and the number there of the first of them.

    line: in a text file, that row's line. lines: how many lines after it each row begins, where that is not
    just one line a row. given: whether no file has the rows, but a program gives them.
    """

    file: str
    first: int = 1
    line: int | None = None
    lines: npt.NDArray[np.int32] | None = field(default=None, compare=False, repr=False)
    given: bool = False

    def row(self, index: int) -> int:
        """The number of a row, by its place in the table."""
        return self.first + index

    def line_of(self, index: int) -> int | None:
        """The line that a row begins in, or None where there are no lines."""
        if self.line is None:
            return None
        return self.line + (index if self.lines is None else int(self.lines[index]))

    def after(self, rows: int) -> Origin:
        """Where the rows from a place in the table on come from."""
        if self.line is None:
            return replace(self, first=self.first + rows)
        if self.lines is None:
            return Origin(self.file, self.first + rows, self.line + rows)
        return Origin(self.file, self.first + rows, self.line, self.lines[rows:])


@dataclass(frozen=True)
class Fault:
    """One fault. what: what is there, and what should be. help: what to do.

    row: the first row that has it (line: in a text file its line), and more: in how many other values it is,
    in the part that was read. items: where in the lists of that row, outermost first.
    """

    file: str
    what: str
    column: str | None = None
    row: int | None = None
    help: str = ""
    more: int = 0
    line: int | None = None
    items: tuple[int, ...] = ()

    def __str__(self) -> str:
        row = None if self.row is None else f"row {self.row:,}"
        if self.line is not None:
            row = f"line {self.line:,}"
        column = None if self.column is None else f"column `{self.column}`"
        place = ", ".join(part for part in (self.file, row, column, self._item) if part)
        others = f" (and {self.more:,} more)" if self.more else ""
        return f"{place}: {self.what}{others}" + (f"\n    help: {self.help}" if self.help else "")

    @property
    def _item(self) -> str:
        """Where in its lists it is."""
        *outer, last = self.items or (0,)
        of = "".join(f" of list {number:,}" for number in reversed(outer))
        return f"item {last:,}{of}" if self.items else ""


class DataError(ValueError):
    """Data that a model cannot read. `faults` has all of them, the message the first ones."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults[:SHOWN]]
        if len(self.faults) > SHOWN:
            lines.append(f"and {len(self.faults) - SHOWN} more faults")
        super().__init__("\n".join(lines))


class PartlyRead(DataError):
    """Of a table some columns cannot be read. table: the others."""

    def __init__(self, faults: Iterable[Fault], table: pa.Table) -> None:
        super().__init__(faults)
        self.table = table


class Unfit(Exception):
    """Values that an encoding cannot take.

    index: the first of them, or None for the whole column; level: by how many levels of lists it is counted,
    None for the innermost values. help: what to do; of_given: what instead, where a program gives the values.
    """

    def __init__(
        self,
        what: str,
        index: int | None = None,
        more: int = 0,
        help: str = "",
        level: int | None = None,
        of_given: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.index, self.more, self.level = what, index, more, level
        self.help, self.of_given = help, help if of_given is None else of_given
        self.items: tuple[int, ...] = ()

    def of_lists(self, lengths: npt.NDArray[np.int64]) -> None:
        """Count `index` by lists from now on, and have where in its list it is in `items`."""
        if self.index is not None:
            ends = np.cumsum(lengths)
            row = int(np.searchsorted(ends, self.index, side="right"))
            self.items = (self.index - int(ends[row] - lengths[row]), *self.items)
            self.index = row


def fault_of(
    unfit: Unfit, origin: Origin, column: str, row: int | None, items: tuple[int, ...] = ()
) -> Fault:
    """The fault of a table's column. row: its place in the table, items: those in its lists, from 0, where
    the Unfit does not have them."""
    numbers = tuple(number + 1 for number in (items or unfit.items))
    at = None if row is None else origin.row(row)
    line = None if row is None else origin.line_of(row)
    help = unfit.of_given if origin.given else unfit.help
    return Fault(origin.file, unfit.what, column, at, help, unfit.more, line, numbers)


def together(faults: Iterable[Fault]) -> list[Fault]:
    """Faults of parts of the same files, those that say the same of a whole column once."""
    found: dict[object, Fault] = {}
    for fault in faults:
        same = fault if fault.row is None else replace(fault, help="")
        found.setdefault(same, fault)
    return list(found.values())


_NAMES, _TEXTS = b"arec.columns", b"arec.texts"


def with_names(table: pa.Table, names: Iterable[str], texts: Iterable[str] = ()) -> pa.Table:
    """A table that knows the names of all columns of its file, for what a fault says of them, and which of
    its columns of keys were texts there."""
    about = {_NAMES: json.dumps(list(names)), _TEXTS: json.dumps(sorted(texts))}
    return table.replace_schema_metadata({name: text.encode() for name, text in about.items()})


def names_in(table: pa.Table) -> list[str]:
    """The names of the columns of a table's file."""
    known = (table.schema.metadata or {}).get(_NAMES)
    return list(table.column_names) if known is None else list(json.loads(known))


def texts_in(table: pa.Table) -> set[str] | None:
    """Which columns of keys were texts in the table's file; None where the table is as it was there."""
    known = (table.schema.metadata or {}).get(_TEXTS)
    return None if known is None else set(json.loads(known))
