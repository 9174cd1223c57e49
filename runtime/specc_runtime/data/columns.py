"""What the values of each column mean, as its reader is told: never guessed from what they look like.

Promises: `typed` gives a column of any Arrow type, texts included, the one form that its kind has; a value
that cannot have it is an Unfit with its row. What is in that form already is not copied.

    key       int64 or large_string (encode.keys); in a text file's column `7.0` too where the user said so
    number    float64; texts exactly as they are written (encode.numbers)
    label     the same, where the texts true and false are 1 and 0
    time      timestamp[ns, UTC] (encode.clock)
    as it is  whatever it is
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.data.dialect import Dialect
from specc_runtime.encode.agree import CANDIDATES
from specc_runtime.encode.clock import Clock
from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.keys import canonical, is_text
from specc_runtime.encode.kinds import doubles
from specc_runtime.encode.labels import of_requests
from specc_runtime.encode.numbers import numbers_in, short
from specc_runtime.encode.reading import refuses_null

Kind = Literal["key", "number", "label", "time", "as it is"]


@dataclass(frozen=True)
class Column:
    """depth: levels of lists around each value. split: for lists that are written as texts, the separators,
    outermost first. instead: it is read only where one of these columns is absent. apart: what stands between
    the candidates of a request, in a column that is read for one candidate a row. needed: who reads it
    refuses data without it. beside: who reads it refuses data without it if one of these is there: they have
    values at the same positions, and it takes no nulls for its own."""

    kind: Kind
    depth: int = 0
    split: tuple[str, ...] = ()
    instead: frozenset[str] = frozenset()
    apart: str | None = None
    needed: bool = False
    beside: frozenset[str] = frozenset()


def columns_of(
    manifest: Mapping[str, Any], *, candidates: bool = False, labels: bool = True
) -> dict[str, Column]:
    """The columns that a model reads, those that a field falls back to among them.

    candidates: the columns of candidates hold one more list, as in requests; so do those of a model whose
        training data are requests, where labels are read too.
    """
    found: dict[str, Column] = {}
    listed = of_requests(manifest)
    candidates = candidates or (labels and listed)
    read = [entry for entry in manifest["fields"] if labels or not entry.get("training")]

    def levels(entry: Mapping[str, Any]) -> list[str]:
        return [*([CANDIDATES] if candidates and entry["role"] == "candidate" else []), *entry["axes"]]

    for entry in read:
        encoding, options = entry["encoding"], entry["options"]
        depth = len(entry["axes"]) + int(encoding in ("bag", "vector"))
        depth += int(candidates and entry["role"] == "candidate")
        split: list[str] = entry.get("split") or []
        apart = split[0] if len(split) > depth else None
        inner = tuple(split if apart is None else split[1:])
        # A list that is not there is empty.
        needed = not depth and refuses_null(entry, labels)
        beside: frozenset[str] = frozenset()
        if depth == len(levels(entry)) and refuses_null(entry, labels):
            there = [e for e in read if levels(e)[:depth] == levels(entry)]
            beside = frozenset(name for e in there for name in (e["column"], e["fallback"]) if name)
        column = Column(_kind_of(encoding, options), depth, inner, apart=apart, needed=needed, beside=beside)
        _add(found, entry["column"], column)
        if entry["fallback"] is not None:
            _add(found, entry["fallback"], replace(column, instead=frozenset([entry["column"]])))
        if options.get("weight") is not None:
            _add(found, options["weight"], replace(column, kind="number"))
    for prediction in manifest["predictions"] if labels else ():
        between = _between(manifest) if listed else ()
        column = Column(_kind_of_label(prediction), int(listed), between, needed=True)
        _add(found, prediction["column"], column)
    return found


def _between(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """What stands between the candidates of a request in columns of texts: what the first field that says so
    says, and so in columns of labels."""
    for entry in manifest["fields"]:
        split = entry.get("split") or []
        inner = len(entry["axes"]) + int(entry["encoding"] in ("bag", "vector"))
        if entry["role"] == "candidate" and len(split) > inner:
            return (split[0],)
    return ()


def _kind_of(encoding: str, options: Mapping[str, Any]) -> Kind:
    if encoding == "bag":
        return _kind_of(options["of"]["encoding"], options["of"])
    if encoding == "time" or options.get("time"):
        return "time"
    return "number" if encoding in ("number", "vector", "bucket") else "key"


def _kind_of_label(prediction: Mapping[str, Any]) -> Kind:
    condition = prediction.get("condition")
    if prediction["kind"] == "class" or (condition and isinstance(condition["value"], str)):
        return "key"
    return "label" if prediction["kind"] in ("binary", "choice") else "number"


def _add(found: dict[str, Column], name: str, column: Column) -> None:
    """Add a column; one that several fields read is kept in every kind that they ask for."""
    before = found.setdefault(name, column)
    kind = before.kind if column.kind != "key" else "key"
    # Columns that are always read are not there instead of any.
    instead = before.instead | column.instead if before.instead and column.instead else frozenset()
    split, needed = before.split or column.split, before.needed or column.needed
    beside = before.beside | column.beside
    found[name] = replace(before, kind=kind, split=split, instead=instead, needed=needed, beside=beside)


def present(columns: Mapping[str, Column], names: Iterable[str]) -> dict[str, Column]:
    """Those of the columns that are read from a file or part that has columns of these names."""
    there = set(names)
    return {n: c for n, c in columns.items() if n in there and not (c.instead and c.instead <= there)}


class Typing:
    """Converts columns to their kinds, part after part; remembers what must be the same in all parts."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.clocks: dict[str, Clock] = {}
        self.texts: set[str] = set()  # columns of keys that were texts
        self.formats: set[str] = set()  # of the files that were opened
        self.keys: set[str] = set()  # columns of keys that files have
        self._decimal: dict[str, bool] = {}

    def typed(
        self, name: str, values: pa.Array | pa.ChunkedArray, column: Column, *, blank: bool
    ) -> pa.Array:
        """blank: whether the empty text is null, as in a text file. Raises Unfit, with the row."""
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
            if isinstance(values, pa.ChunkedArray):
                values = pa.concat_arrays(values.chunks)
        if column.kind == "as it is":
            return values
        return self._level(name, values, column, blank)

    def _level(self, name: str, values: pa.Array, column: Column, blank: bool) -> pa.Array:
        if pa.types.is_string_view(values.type):
            values = values.cast(pa.large_string())  # with which Arrow computes
        kind = values.type
        if is_text(kind) or (pa.types.is_dictionary(kind) and is_text(kind.value_type)):
            values = self._absent(values, blank)
            if column.apart is not None:
                _refuse_several(values, column.apart)
        if not column.depth:
            if is_list(kind):
                raise Unfit(f"the column is {kind}, and it should hold one value a row")
            return self._values(name, values, column)
        if is_text(values.type):
            if not column.split:
                raise _unsplit(values)
            parts = pc.split_pattern(values, column.split[0])
            return self._lists(name, parts, replace(column, split=column.split[1:]), blank)
        if pa.types.is_null(kind):
            inner = pa.null()
            for _ in range(column.depth):
                inner = pa.large_list(inner)
            return pa.nulls(len(values), inner)
        if not is_list(kind):
            raise Unfit(
                f"the column is {kind}, and it should hold lists",
                help="one list for each axis of the space, and one more for a `bag` or `vector`, or for the "
                "candidates of a request",
            )
        return self._lists(name, values, column, blank)

    def _lists(self, name: str, values: pa.Array, column: Column, blank: bool) -> pa.Array:
        if pa.types.is_fixed_size_list(values.type):
            values = values.cast(pa.large_list(values.type.value_type))
        lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        try:
            inner = self._level(name, values.flatten(), replace(column, depth=column.depth - 1), blank)
        except Unfit as unfit:
            unfit.of_lists(lengths)
            raise
        return packed(lengths, inner, values.is_null() if values.null_count else None)

    def _absent(self, values: pa.Array, blank: bool) -> pa.Array:
        """Null for what stands for it."""
        nulls = [*self.dialect.nulls, *([""] if blank else [])]
        if not nulls:
            return values
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if len(nulls) == 1:
            absent = pc.equal(values, pa.scalar(nulls[0], values.type))
        else:
            absent = pc.is_in(values, value_set=pa.array(nulls, values.type))
        return pc.if_else(absent, pa.scalar(None, values.type), values)

    def _values(self, name: str, values: pa.Array, column: Column) -> pa.Array:
        kind = values.type
        text = is_text(kind)
        match column.kind:
            case "key":
                if name in self.dialect.integral and text:
                    values = _integral(values)
                keys = canonical(values)
                if text or (pa.types.is_dictionary(kind) and is_text(kind.value_type)):
                    self.texts.add(name)
                if text:
                    self._note(name, keys)
                return keys
            case "time":
                return self.clocks.setdefault(name, Clock()).read(values).cast(pa.timestamp("ns", "UTC"))
            case "label" if text:
                truth = pc.utf8_lower(values)
                values = pc.if_else(pc.equal(truth, "true"), pa.scalar("1", kind), values)
                values = pc.if_else(pc.equal(truth, "false"), pa.scalar("0", kind), values)
        return _numbers(values)

    def _note(self, name: str, keys: pa.Array) -> None:
        """Remember whether all texts of a column look like 7.0."""
        if self._decimal.get(name, True) and keys.null_count < len(keys):
            all_of = pa.types.is_large_string(keys.type) and pc.all(pc.match_substring_regex(keys, _DECIMAL))
            self._decimal[name] = bool(all_of and all_of.as_py())

    def remembered(self) -> tuple[dict[str, str], dict[str, bool]]:
        """By column of times its unit; by column of keys whether all of its texts look like 7.0."""
        return {name: clock.unit for name, clock in self.clocks.items() if clock.unit}, dict(self._decimal)

    def restore(self, units: Mapping[str, str], decimal: Mapping[str, bool]) -> None:
        """Go on from what was remembered of other parts."""
        for name, unit in units.items():
            self.clocks.setdefault(name, Clock()).unit = unit
        self._decimal.update(decimal)

    @property
    def notes(self) -> list[str]:
        """What there is to say of all parts."""
        found = [f"times in `{name}` are {clock}" for name, clock in self.clocks.items() if clock.unit]
        found += [
            f"every value of `{name}` is written as `7.0` is, and taken as that text; "
            f"if they are integers, say so: --integral {name}"
            for name, decimal in self._decimal.items()
            if decimal
        ]
        return [*found, *self._idle()]

    def _idle(self) -> list[str]:
        """What there is to say of a dialect's settings that had nothing to act on."""
        of_text = {
            "--sep": self.dialect.separator,
            "--columns": self.dialect.columns,
            "--no-header": self.dialect.header is False,
        }
        given = [name for name, setting in of_text.items() if setting]
        found = []
        if given and self.formats and "text" not in self.formats:
            names, verb = " and ".join(given), "say" if len(given) > 1 else "says"
            found.append(f"{names} {verb} nothing here: there is no file of separated text")
        return found + [
            f"--integral {name} says nothing here: no column of keys is called `{name}`"
            for name in sorted(self.dialect.integral - self.keys)
            if self.formats
        ]


_DECIMAL = r"\A-?[0-9]+\.0+\z"


def packed(lengths: np.ndarray[Any, Any], values: pa.Array, absent: pa.Array | None) -> pa.Array:
    """Lists of values, one after another."""
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return pa.LargeListArray.from_arrays(pa.array(offsets), values, mask=absent)


def is_list(kind: pa.DataType) -> bool:
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    is_fixed = pa.types.is_fixed_size_list(kind)
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or is_view or is_fixed)


def _integral(values: pa.Array) -> pa.Array:
    whole = pc.replace_substring_regex(values, r"\A(-?[0-9]+)\.0*\z", r"\1")
    bad = ~np.asarray(pc.match_substring_regex(whole, r"\A-?[0-9]+\z").fill_null(True))
    if bad.any():
        first = int(bad.argmax())
        text = short(values[first].as_py())
        raise Unfit(f"`{text}` is not an integer, as --integral says", first, int(bad.sum()) - 1)
    return whole


def _numbers(values: pa.Array) -> pa.Array:
    """A column's numbers as float64; times stay, as a field may read their seconds."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _numbers(values.dictionary_decode())
    if is_text(kind):
        return numbers_in(values)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return values
    return doubles(values)


def _refuse_several(values: pa.Array, separator: str) -> None:
    """Raise Unfit for texts of several candidates."""
    texts = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    several = np.asarray(pc.match_substring(texts, separator).fill_null(False))
    if several.any():
        raise Unfit(
            f"there are several candidates, with `{separator}` between them, and a row has one here",
            int(several.argmax()),
            int(several.sum()) - 1,
            "`specc predict` without --only, and `specc score`, take requests",
        )


def _unsplit(values: pa.Array) -> Unfit:
    present = values.drop_null()
    example = short(present[0].as_py()) if len(present) else ""
    marks = [mark for mark in "|,; " if mark in example]
    index = int(np.asarray(values.is_valid()).argmax()) if len(present) else None
    return Unfit(
        f"there is the text `{example}` where a list should be",
        index,
        help="if it is a list, say what separates its values in the field's encoding in the spec: "
        f'`split = "{marks[0] if marks else "|"}"`',
        of_given="give a list, or say in the field's encoding in the spec what separates a text's values: "
        f'`split = "{marks[0] if marks else "|"}"`',
    )
