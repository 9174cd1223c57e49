"""Rows that a model predicts for: files, folders, or JSON lines on stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.data_options import tell
from specc.cli.keep import kept

if TYPE_CHECKING:
    import pyarrow as pa

    from specc_runtime.data import Column, Dialect
    from specc_runtime.encode import Origin

STDIN = Path("-")


@dataclass
class Rows:
    """keep: the columns that go along, by name the one they have then; of stdin known once a row was read.

    Iterating gives tables of the columns that the model reads, and those kept, each with its origin; it
    raises DataError. Memory: one part of a file.
    """

    paths: Sequence[Path]
    manifest: Mapping[str, Any]
    dialect: Dialect
    wanted: Sequence[str]
    default: Sequence[str]
    taken: Sequence[str]
    candidates: bool = False
    keep: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Open the data. Raises DataError, and click.BadParameter for a column to keep that is not there."""
        from specc_runtime.data import find_files, names_of

        if STDIN in self.paths:
            if len(self.paths) > 1:
                raise click.UsageError("- is JSON lines on stdin, and stands alone")
            return
        self.paths = find_files(self.paths)
        self.keep |= self._kept(names_of(self.paths[0], self.dialect))

    def __iter__(self) -> Iterator[tuple[pa.Table, Origin]]:
        from specc_runtime.data import Column, columns_of, read_lines, read_tables

        columns = columns_of(self.manifest, candidates=self.candidates, labels=False)
        if STDIN in self.paths:
            parts = read_lines(sys.stdin.buffer, columns, others=bool(self.wanted) or bool(self.default))
        else:
            # One that is kept is read, also where the model would read another in its stead.
            own = {name: replace(c, instead=frozenset()) for name, c in columns.items() if name in self.keep}
            columns = {**{name: Column("as it is") for name in self.keep}, **columns, **own}
            parts = read_tables(self.paths, columns, self.dialect, tell=tell)
        first = True
        for table, origin in parts:
            if first and STDIN in self.paths:
                self.keep |= self._kept(table.column_names)
            self._seen.update(table.column_names)
            if first:
                self._refuse_strange(columns, origin.file)
            first = False
            yield self._with_kept(table), origin
        if first:
            from specc_runtime.encode import DataError, Fault

            where = "stdin" if STDIN in self.paths else ", ".join(map(str, self.paths))
            raise DataError([Fault(where, "there is no row in it")])
        self._tell_absent(columns)

    def _kept(self, names: Iterable[str]) -> dict[str, str]:
        return kept(self.wanted, names, self.default, self.taken)

    def _with_kept(self, table: pa.Table) -> pa.Table:
        """Return a table in which a kept column that a part of the data lacks is null."""
        import pyarrow as pa

        for name in self.keep:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table)))
        return table

    def _refuse_strange(self, columns: Mapping[str, Column], file: str) -> None:
        """Raise DataError where there are columns, and none of them is the model's."""
        from specc_runtime.encode import DataError, Fault

        others = self._others(columns) if self._seen.isdisjoint(columns) else []
        if others:
            wanted = dict.fromkeys(field["column"] for field in self.manifest["fields"])
            names, there = (", ".join([*list(of)[:6], *["…"] * (len(of) > 6)]) for of in (wanted, others))
            what, help = f"it has none of the model's columns: {names}", f"what it has is {there}"
            raise DataError([Fault(file, what, help=help)])

    def _tell_absent(self, columns: Mapping[str, Column]) -> None:
        """Say which columns of the model no row had: what is absent is null, or refused when it is read."""
        from specc.report.suggest import nearest

        for entry in self.manifest["fields"]:
            names = [n for n in (entry["column"], entry["fallback"]) if n is not None]
            needed = names[0] in columns and columns[names[0]].needed
            if entry.get("training") or needed or any(name in self._seen for name in names):
                continue
            close = nearest(names[0], self._others(columns))
            also = f" (did you mean `{close}`?)" if close else ""
            default = entry["options"].get("default")
            means = "null" if default in (None, "none") else f"the default {default}"
            tell(f"no row has a column `{names[0]}`{also}: it is {means} everywhere")

    def _others(self, columns: Mapping[str, Column]) -> list[str]:
        """Return columns of the data that the model does not read."""
        from specc_runtime.data import names_of

        names = self._seen if STDIN in self.paths else names_of(self.paths[0], self.dialect)
        return [name for name in names if name not in columns]
