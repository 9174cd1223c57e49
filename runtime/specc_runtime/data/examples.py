"""The examples of files as units that can be read in any order, again and again.

Promises: text is parsed once; what it was parsed to is kept in a temporary file (spill), and where that
cannot be it is parsed again whenever it is read, and said. A unit's table is the same each time. Memory: one
part of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from specc_runtime.data.columns import Column, Typing
from specc_runtime.data.dialect import Dialect
from specc_runtime.data.files import PLAIN, Gathered, Part, Reader
from specc_runtime.data.json_lines import with_absent
from specc_runtime.data.parts import find_files
from specc_runtime.data.spill import Place, Spill
from specc_runtime.encode.faults import DataError, Fault, Origin, names_in

ROWS = 1 << 13  # of text, in one unit


@dataclass(frozen=True, eq=False)
class Unit:
    """The smallest part that is read by itself: a row group, a record batch, or some rows of text or of data
    that is in memory (table)."""

    part: Part
    origin: Origin
    rows: int
    place: Place | None = None
    table: pa.Table | None = None

    @property
    def file(self) -> Path:
        return self.part.file


class Examples:
    """The columns of files that something reads. notes: what there is to say of them.

    Raises DataError with every fault: text is looked at whole, of other files that they can be opened.
    """

    def __init__(
        self,
        files: str | Path | Iterable[str | Path],
        columns: Mapping[str, Column],
        dialect: Dialect = PLAIN,
        watch: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """files: folders are the files in them. watch: told how many rows of text have been read so far."""
        paths = [files] if isinstance(files, str | Path) else files
        named = [f for p in map(Path, paths) for f in (find_files([p]) if p.is_dir() else [p])]
        self._begin(named, columns, dialect)
        gathered = Gathered()
        for file in self.files:
            with gathered:
                reader = self._readers[file] = Reader(file, columns, self._typing)
                self.names.update(reader.names or ())
                for part in reader.parts():
                    with gathered:
                        self.units += self._units(reader, part)
                    self.rows += part.rows
                    watch(self.rows)
                    if gathered.enough(part.rows):
                        break
            if gathered.enough(0):
                break
        if not gathered.faults and not self.units:
            where, what = ", ".join(map(str, self.files)), "there is no example in it"
            gathered.faults.append(Fault(where, what) if where else Fault("data", "no file is named"))
        gathered.finish()
        self.notes += self._typing.notes
        self.notes += self._absent()

    def _begin(self, files: Sequence[Path], columns: Mapping[str, Column], dialect: Dialect) -> None:
        self.files, self.columns, self.dialect = tuple(files), dict(columns), dialect
        self.units: list[Unit] = []
        self.rows = 0
        self.names: set[str] = set()  # of all columns
        self.notes: list[str] = []
        self._typing = Typing(dialect)
        self._readers: dict[Path, Reader] = {}
        self._met: dict[Path, dict[str, None]] = {}  # by file of JSON lines, the columns of any of its rows
        self._spill: Spill | None = None
        self._spills = True

    def _absent(self) -> list[str]:
        """What there is to say of columns that no file has, no other stands for, and nobody needs."""
        stood_for = {name for other in self.names for name in self._instead(other)}
        return [
            f"there is no column `{name}`: it is null everywhere"
            for name, column in self.columns.items()
            if not column.needed and not column.instead and name not in self.names and name not in stood_for
            if self.names.isdisjoint(column.beside)
        ]

    def _instead(self, name: str) -> frozenset[str]:
        return self.columns[name].instead if name in self.columns else frozenset()

    @staticmethod
    def of(data: Any, columns: Mapping[str, Column], dialect: Dialect = PLAIN) -> Examples:
        """The examples of data in memory, as `encoded` takes it. Raises DataError with every fault."""
        from specc_runtime.data.frames import table_in

        found = Examples.__new__(Examples)
        found._begin((), columns, dialect)
        table = table_in(data, columns, found._typing)
        found.names.update(names_in(table))
        for at in range(0, len(table), ROWS):
            some = table.slice(at, ROWS)
            origin = Origin("data", 1 + at, given=True)
            found.units.append(Unit(Part(Path("data"), len(some), origin), origin, len(some), table=some))
        found.rows = len(table)
        found.notes += [*found._typing.notes, *found._absent()]
        if not found.units:
            raise DataError([Fault("data", "there is no example in it")])
        return found

    def read(self, unit: Unit) -> pa.Table:
        """Raises DataError."""
        if unit.table is not None:
            return unit.table
        if unit.place is None:
            table = self._readers[unit.file].read(unit.part)
        else:
            assert self._spill is not None
            table = self._spill.read(unit.place)
        return with_absent(table, self._met.get(unit.file, ()), self.columns)

    def tables(self) -> Iterator[tuple[pa.Table, Origin]]:
        """Yield all rows in order, a unit at a time, with where they come from. Raises DataError."""
        for unit in self.units:
            yield self.read(unit), unit.origin

    def _units(self, reader: Reader, part: Part) -> list[Unit]:
        if part.chunk is None:
            return [Unit(part, part.origin, part.rows)]
        table = reader.read(part)
        self.names.update(names_in(table))
        if reader.names is None:
            self._met.setdefault(part.file, {}).update(dict.fromkeys(names_in(table)))
        bare = replace(part, chunk=replace(part.chunk, data=b""))
        if self._spills:
            try:
                self._spill = self._spill or Spill()
                found = []
                for at in range(0, part.rows, ROWS):
                    some = table.slice(at, ROWS)
                    place = self._spill.write(some)
                    found.append(Unit(bare, part.origin.after(at), len(some), place))
                return found
            except OSError as error:
                self._spills = False
                self.notes.append(
                    f"text is parsed again whenever it is read, as there is no place to keep it parsed "
                    f"({error.strerror or error}); AREC_CACHE may name a folder with room"
                )
        return [Unit(bare, part.origin, part.rows)]

    def __reduce__(self) -> tuple[Any, ...]:
        # In a process that is not forked there is no temporary file.
        if not self.files:
            whole = pa.concat_tables([unit.table for unit in self.units], promote_options="default")
            return Examples.of, (whole, self.columns, self.dialect)
        return Examples, (self.files, self.columns, self.dialect)
