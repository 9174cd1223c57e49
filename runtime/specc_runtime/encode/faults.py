"""What is wrong with data, as data.

Promises: every fault names the file, and the row and column where there is one; a `DataError` lists all
that were found, and rows count from 1 (in JSON lines they are the lines).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 20  # faults that a message spells out


@dataclass(frozen=True)
class Origin:
    """Where a table's rows come from: a file, and the number there of the first of them."""

    file: str
    first: int = 1


@dataclass(frozen=True)
class Fault:
    """One fault. what: what is there, and what should be. help: what to do.

    row: the first row that has it, and more: in how many other values it is, in the part that was read.
    """

    file: str
    what: str
    column: str | None = None
    row: int | None = None
    help: str = ""
    more: int = 0

    def __str__(self) -> str:
        row = None if self.row is None else f"row {self.row:,}"
        column = None if self.column is None else f"column `{self.column}`"
        place = ", ".join(part for part in (self.file, row, column) if part)
        others = f" (and {self.more:,} more)" if self.more else ""
        return f"{place}: {self.what}{others}" + (f"\n    help: {self.help}" if self.help else "")


class DataError(ValueError):
    """Data that a model cannot read. `faults` has all of them, the message the first ones."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults[:SHOWN]]
        if len(self.faults) > SHOWN:
            lines.append(f"and {len(self.faults) - SHOWN} more faults")
        super().__init__("\n".join(lines))


class Unfit(Exception):
    """Values that an encoding cannot take.

    index: the first of them, or None for the whole column; level: by how many levels of lists it is counted,
    None for the innermost values.
    """

    def __init__(
        self, what: str, index: int | None = None, more: int = 0, help: str = "", level: int | None = None
    ) -> None:
        super().__init__(what)
        self.what, self.index, self.more, self.help, self.level = what, index, more, help, level
