"""The columns of a log's files, or of a file of items, piece by piece, as the spec's encodings ask for them.

Promises: a line without a user, an item or a time that can be read is skipped, counted, and named while
there are few; any other value that cannot be read is a fault with file, line and column, and all of them (up
to a bound) are in one DataError. A null that stands for something else is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc.prepare.mapping import Input
from specc.prepare.settings import Settings
from specc_runtime.data.columns import Column, Typing, is_list
from specc_runtime.data.dialect import Dialect
from specc_runtime.encode import DataError, Fault
from specc_runtime.encode.clock import Clock
from specc_runtime.encode.faults import SHOWN, Unfit
from specc_runtime.encode.keys import is_text
from specc_runtime.encode.numbers import short

Ints = npt.NDArray[np.int64]
LINES = 5  # lines that a note spells out
# What data frames and databases write for no value. As keys these texts are keys like any others.
NOTHING = ("n/a", "na", "#n/a", "nan", "null", "none", "nil", "\\n", "<na>", "-", "?")
SEPARATORS = "|;,^\t"


@dataclass
class Skipped:
    """The lines of a file that were left out."""

    count: int = 0
    shown: list[tuple[str, int, str]] = field(default_factory=list)

    def add(self, file: str, lines: Sequence[tuple[int, str]]) -> None:
        self.count += len(lines)
        self.shown += [(file, line, text) for line, text in lines[: LINES - len(self.shown)]]

    def note(self) -> str:
        more = f"\n  and {self.count - len(self.shown):,} more" if self.count > len(self.shown) else ""
        lines, are = ("line", "is") if self.count == 1 else ("lines", "are")
        shown = "\n".join(f"  {file}:{line}: {text}" for file, line, text in self.shown)
        return f"{self.count:,} {lines} could not be read and {are} skipped:\n{shown}{more}"


class Reader:
    """files: what is read, as `Raw`. places: by name, the column. needed: the names without which a line is
    skipped. names: of all columns, where they have any."""

    def __init__(
        self,
        files: Iterable[Any],
        places: Mapping[str, int],
        settings: Settings,
        needed: Sequence[str],
        names: Sequence[str] | None = None,
    ) -> None:
        self.files, self.places, self.needed = files, places, needed
        # `integral` names columns as the user knows them: by the header, or by what they mean.
        integral = {n for n in settings.integral for n in (n, *_called(n, names or (), places))}
        self.typing = Typing(Dialect(nulls=tuple(settings.null), integral=frozenset(integral)))
        self.nulls = tuple(settings.null)
        self.clock = Clock()
        self.skipped = Skipped()
        self.nothing: Counter[tuple[str, str]] = Counter()
        self.faults: list[Fault] = []

    def pieces(
        self, inputs: Sequence[Input], timed: bool
    ) -> Iterator[tuple[dict[Input, pa.Array], Ints, Ints]]:
        """Yield of every piece the values of the inputs, nanoseconds since 1970 (0 if not timed), and the
        lines. Raises DataError, at the end of what can be read, with the faults of all of it."""
        names = list(dict.fromkeys([*(i.name for i in inputs), *self.needed, *(["time"] if timed else [])]))
        for file in self.files:
            for raw, lines in file.pieces([self.places[name] for name in names]):
                columns = dict(zip(names, raw, strict=True))
                good, times = self._good(file, columns, lines, timed)
                if not good.all():
                    mask = pa.array(good)
                    columns = {name: values.filter(mask) for name, values in columns.items()}
                    lines, times = lines[good], times[good]
                if len(lines):
                    found = self._typed(file, columns, lines, inputs)
                    if not self.faults:
                        yield found, times, lines
                if len(self.faults) >= SHOWN:
                    raise DataError(self.faults)
            self.skipped.add(str(file.path), file.rejected)
        if self.faults:
            raise DataError(self.faults)

    @property
    def notes(self) -> list[str]:
        """What there is to say of what was read."""
        return notes_of(self.skipped, self.nothing, self.typing.notes)

    def _good(
        self, file: Any, columns: Mapping[str, pa.Array], lines: Ints, timed: bool
    ) -> tuple[npt.NDArray[np.bool_], Ints]:
        """Return which lines have all that they need, and the moments of all."""
        good = np.ones(len(lines), dtype=bool)
        lacking = []
        for name in self.needed:
            values = self._blanked(file, columns[name])
            lacks = values.is_null().to_numpy(zero_copy_only=False)
            if lacks.any():
                lacking += [(int(line), f"it has no {name}") for line in lines[lacks & good][:LINES]]
                good &= ~lacks
        times = np.zeros(len(lines), dtype=np.int64)
        if timed:
            try:
                times, broken = self._times(self._blanked(file, columns["time"]))
            except Unfit as unfit:
                self._fault(file, unfit, self._name(file, "time"), lines)
                return np.zeros(len(lines), dtype=bool), times
            for place in np.flatnonzero(broken & good)[:LINES].tolist():
                text = columns["time"][place].as_py()
                lacking.append(
                    (int(lines[place]), "it has no time" if text in (None, "") else f"`{text}` is no time")
                )
            good &= ~broken
        if not good.all():
            self.skipped.count += int((~good).sum()) - len(lacking[:LINES])
            self.skipped.add(str(file.path), lacking[:LINES])
        return good, times

    def _times(self, values: pa.Array) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Return nanoseconds, and which values are none. Raises Unfit for times of another unit."""
        while True:
            try:
                found = self.clock.read(values)
                absent = found.is_null().to_numpy(zero_copy_only=False)
                return found.fill_null(0).to_numpy(zero_copy_only=False), absent
            except Unfit as unfit:
                if unfit.index is None or not _no_time(values.slice(unfit.index, 1)):
                    raise
                # A line whose text is no time at all is skipped, as one that cannot be read.
                same = pc.equal(values, values[unfit.index]) if is_text(values.type) else None
                if same is None:
                    raise
                values = pc.if_else(same, pa.scalar(None, values.type), values)

    def _blanked(self, file: Any, values: pa.Array) -> pa.Array:
        """Make null of the empty text, and of what stands for no value."""
        if not is_text(values.type):
            return values
        nulls = pa.array([*self.nulls, *([""] if file.blank else [])], values.type)
        return pc.if_else(pc.is_in(values, value_set=nulls), pa.scalar(None, values.type), values)

    def _typed(
        self, file: Any, columns: Mapping[str, pa.Array], lines: Ints, inputs: Sequence[Input]
    ) -> dict[Input, pa.Array]:
        found: dict[Input, pa.Array] = {}
        for wanted in inputs:
            try:
                found[wanted] = self._one(file, wanted, columns[wanted.name])
            except Unfit as unfit:
                if wanted.kind == "label" and is_text(columns[wanted.name].type) and unfit.index is not None:
                    text = short(columns[wanted.name][unfit.index].as_py())
                    unfit = Unfit(
                        unfit.what, unfit.index, unfit.more,
                        f'if it is one of the labels, compare in the spec: `binary from "{wanted.name}" == '
                        f'"{text}"`; if it stands for no label, --null \'{text}\'',
                    )  # fmt: skip
                self._fault(file, unfit, self._name(file, wanted.name), lines)
        return found

    def _one(self, file: Any, wanted: Input, values: pa.Array) -> pa.Array:
        split: tuple[str, ...] = ()
        depth = int(listed(wanted, values.type))
        if wanted.many and not is_list(values.type):
            if wanted.split == "json":
                values = _of_json(values)
            elif wanted.split is not None:
                split = (wanted.split,)
            elif is_text(values.type):
                _whole(wanted, values)
        if wanted.kind == "number" and is_text(values.type) and not split:
            values = self._without_nothing(wanted.name, values)
        return self.typing.typed(wanted.name, values, Column(wanted.kind, depth, split), blank=file.blank)

    def _without_nothing(self, name: str, values: pa.Array) -> pa.Array:
        """Make null of the texts that are written for no value, and count them."""
        known = pc.is_in(
            pc.utf8_lower(pc.utf8_trim_whitespace(values)), value_set=pa.array(NOTHING, values.type)
        )
        if pc.any(known).as_py():
            told = values.filter(known.fill_null(False)).value_counts()
            for text, count in zip(
                told.field("values").to_pylist(), told.field("counts").to_pylist(), strict=True
            ):
                if text not in self.nulls:
                    self.nothing[name, text] += count
            values = pc.if_else(known, pa.scalar(None, values.type), values)
        return values

    def _name(self, file: Any, name: str) -> str:
        """Return what the file calls a column."""
        return str(file.names[self.places[name]] if file.names is not None else self.places[name])

    def _fault(self, file: Any, unfit: Unfit, column: str, lines: Ints) -> None:
        at = None if unfit.index is None else int(lines[unfit.index])
        row, line = (None, at) if file.blank else (at, None)
        self.faults.append(Fault(str(file.path), unfit.what, column, row, unfit.help, unfit.more, line))


def notes_of(skipped: Skipped, nothing: Mapping[tuple[str, str], int], of_typing: Sequence[str]) -> list[str]:
    """Return what there is to say of a log that was read. nothing: how often a text of a column was taken
    for no value."""
    found = [skipped.note()] if skipped.count else []
    for (name, text), count in nothing.items():
        values = "value" if count == 1 else "values"
        found.append(
            f"{count:,} {values} `{text}` in column `{name}` taken for no value (say it with --null '{text}')"
        )
    return found + list(of_typing)


def listed(wanted: Input, kind: pa.DataType) -> bool:
    """Return whether a column of that type is read as lists."""
    return is_list(kind) or (wanted.many and wanted.split is not None)


def _called(name: str, names: Sequence[str], places: Mapping[str, int]) -> list[str]:
    return [own for own, place in places.items() if place < len(names) and names[place] == name]


def _no_time(value: pa.Array) -> bool:
    """Return whether a value is a time in no unit."""
    try:
        return bool(Clock().read(value).null_count)
    except Unfit:
        return True


def _whole(wanted: Input, values: pa.Array) -> None:
    """Raise Unfit if texts look like several values, and nothing says what they are split by."""
    for mark in SEPARATORS + (" " if wanted.kind == "number" else ""):
        has = pc.match_substring(values, mark).fill_null(False).to_numpy(zero_copy_only=False)
        if has.any():
            first = int(has.argmax())
            text = values[first].as_py()
            split = "json" if text.lstrip().startswith("[") else mark
            raise Unfit(
                f"the field takes several values, and `{text}` may be several",
                first, int(has.sum()) - 1,
                f"say what they are split by: --split '{wanted.name}={split}' (or what no text has, if it "
                "is one)",
            )  # fmt: skip


def _of_json(values: pa.Array) -> pa.Array:
    """Split texts into lists. Raises Unfit."""
    import json

    found: list[Any] = []
    for place, text in enumerate(values.to_pylist()):
        try:
            value = None if text in (None, "") else json.loads(text)
        except ValueError:
            value = text
        if value is not None and not (
            isinstance(value, list) and all(isinstance(v, str | int | float) for v in value)
        ):
            raise Unfit(f"`{text}` is no JSON list of values", place)
        found.append(value)
    texts = any(isinstance(v, str) for value in found for v in value or ())
    return pa.array([v if v is None or not texts else [str(x) for x in v] for v in found])
