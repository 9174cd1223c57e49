"""JSON lines: one object a row, in columns of the kinds that are wanted.

Promises: arrays are built from the values themselves, never by inference over parts of a file, so that nulls
may stand anywhere. Integers keep all their digits. A line that is no object, names a column twice, or holds
what is no JSON (NaN) is a fault, all of a part at once. A column that an object lacks is null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from specc_runtime.data.chunks import Chunk
from specc_runtime.data.columns import Column, Typing, packed, present
from specc_runtime.encode.faults import (
    SHOWN,
    DataError,
    Fault,
    Origin,
    PartlyRead,
    Unfit,
    fault_of,
    names_in,
    texts_in,
    with_names,
)
from specc_runtime.encode.numbers import short

_NONE: type = type(None)


class _Wrong(ValueError):
    """An object that is JSON and yet no row."""


def objects_of(chunk: Chunk) -> list[dict[str, Any]]:
    """The objects of a part of a file. Raises DataError with every fault."""
    lines = [line for line in chunk.data.decode("utf-8").split("\n") if line and line != "\r"]
    try:
        found = [_quickly(line) for line in lines]
    except (ValueError, RecursionError, StopIteration):
        return _carefully(chunk, lines)
    # A dict keeps the last of equal names. There were none if every name that is written has its place; what
    # only looks like a name, within a text or an inner object, is looked at again.
    if len(_NAMED.findall(chunk.data)) != sum(map(len, found)):
        return _carefully(chunk, lines)
    return found


_NAMED = re.compile(rb'"[ \t\r]*:')


def _constant(text: str) -> NoReturn:
    raise _Wrong(f"{text} is not JSON; null stands for no value")


# What `JSONDecoder.decode` goes by; typeshed leaves it out.
_scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder(parse_constant=_constant))["scan_once"]


def _quickly(line: str) -> dict[str, Any]:
    """The object that a line is. Raises ValueError, RecursionError or StopIteration for some lines that are
    none, or that have blanks around it."""
    row, end = _scan(line, 0)
    if type(row) is not dict or (end != len(line) and line[end:].strip(" \t\r")):
        raise _Wrong
    return row


def _carefully(chunk: Chunk, lines: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of lines, each name of which is looked at. Raises DataError with every fault."""
    found: list[dict[str, Any]] = []
    faults: list[Fault] = []
    decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant).decode
    for at, text in enumerate(lines):
        try:
            row = decode(text)
            if type(row) is not dict:
                raise _Wrong(_not_an_object(row))
        except (ValueError, RecursionError) as error:
            faults.append(_fault(chunk, at, error))
            if len(faults) == SHOWN:
                break
        else:
            found.append(row)
    if faults:
        raise DataError(faults)
    return found


def _fault(chunk: Chunk, index: int, error: Exception) -> Fault:
    origin = chunk.origin
    what = str(error)
    if isinstance(error, json.JSONDecodeError):
        what = f"it is not JSON: {error.msg} at character {error.pos + 1}"
    elif not isinstance(error, _Wrong):
        what = f"it is not JSON that can be read: {what}"
    help = "write one JSON object a line"
    return Fault(origin.file, what, row=origin.row(index), line=origin.line_of(index), help=help)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Wrong(f"column `{short(twice)}` is there twice")
    return found


def _not_an_object(row: Any) -> str:
    if isinstance(row, list):
        return "there is an array, and a line should be one object"
    return f"there is `{short(json.dumps(row))}`, and a line should be one object"


def table_of(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Column],
    others: bool,
    typing: Typing,
    origin: Origin,
) -> pa.Table:
    """The table of some objects. Raises DataError with every fault."""
    arrays: dict[str, pa.Array] = {}
    faults: list[Fault] = []
    names = dict.fromkeys(name for row in rows for name in row)
    columns = present(columns, names)
    for name in names:
        column = columns.get(name, Column("as it is") if others else None)
        if column is None:
            continue
        values = [row.get(name) for row in rows]
        try:
            arrays[name] = (
                as_it_is(values)
                if column.kind == "as it is"
                else typing.typed(name, built(values, column), column, blank=False)
            )
        except Unfit as unfit:
            faults.append(fault_of(unfit, origin, name, unfit.index))
    # A table keeps its number of rows also without columns.
    table = pa.table(arrays) if arrays else pa.table({"": pa.nulls(len(rows))}).select([])
    table = with_names(table, names, typing.texts)
    if faults:
        raise PartlyRead(faults, table)
    return table


def with_absent(table: pa.Table, names: Iterable[str], columns: Mapping[str, Column]) -> pa.Table:
    """The table of a part with nulls in those of the wanted columns that only other rows of its file have.
    names: of all columns of the file."""
    present = set(table.column_names)
    absent = [name for name in names if name in columns and name not in present]
    if not absent:
        return table
    known, texts = names_in(table), texts_in(table) or ()
    for name in absent:
        table = table.append_column(name, pa.nulls(len(table)))
    return with_names(table, dict.fromkeys([*known, *absent]), texts)


def built(values: Sequence[Any], column: Column) -> pa.Array:
    """An array of Python values, of which nothing is lost. Raises Unfit with the place of a value."""
    kinds = set(map(type, values))
    if column.depth:
        return _lists(values, kinds, column)
    if kinds <= {int, float, bool, _NONE} and column.kind in ("number", "label"):
        if bool not in kinds:
            try:
                return pa.array(values, pa.float64())
            except pa.ArrowInvalid:
                pass  # an integer that is no double exactly
        try:
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
        except OverflowError:
            raise Unfit("a number is beyond a double") from None
    if kinds <= {int, _NONE}:
        try:
            return pa.array(values, pa.int64())
        except OverflowError:
            return pa.array([None if v is None else str(v) for v in values], pa.large_string())
    if kinds <= {float, _NONE}:
        return pa.array(values, pa.float64())
    if kinds <= {str, _NONE}:
        return _texts(values)
    for index, value in enumerate(values):
        if isinstance(value, list | tuple | dict):
            what = "an object" if isinstance(value, dict) else "a list"
            raise Unfit(f"there is {what}, and it should be one value", index)
    # Values of several types: each as the text that means the same.
    return _texts([_text(value, index) for index, value in enumerate(values)])


def _text(value: Any, index: int) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        if value != value:
            return None
        if not value.is_integer() or abs(value) >= 2.0**53:
            return repr(value)
    return str(int(value))


def _texts(values: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:
        bad = [isinstance(v, str) and not _encodes(v) for v in values]
        raise Unfit("the text has half of a surrogate pair", bad.index(True), sum(bad) - 1) from None


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _lists(values: Sequence[Any], kinds: set[type], column: Column) -> pa.Array:
    if kinds <= {str, _NONE} and str in kinds:
        return _texts(values)  # to be split
    if not kinds <= {list, tuple, _NONE}:
        index = next(i for i, v in enumerate(values) if not isinstance(v, list | tuple | _NONE))
        text = short(json.dumps(values[index], default=str))
        raise Unfit(f"there is `{text}` where a list should be", index, help="write `[…]`, or null")
    lengths = np.array([0 if v is None else len(v) for v in values], dtype=np.int64)
    flat = list(chain.from_iterable(v for v in values if v is not None))
    try:
        inner = built(flat, replace(column, depth=column.depth - 1))
    except Unfit as unfit:
        unfit.of_lists(lengths)
        raise
    absent = pa.array([v is None for v in values]) if _NONE in kinds else None
    return packed(lengths, inner, absent)


def as_it_is(values: Sequence[Any]) -> pa.Array:
    """Values that are only carried along: of the one type that they have, else as JSON texts."""
    kinds = set(map(type, values)) - {_NONE}
    if len(kinds) <= 1 and not kinds & {list, dict, tuple}:
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            pass
    return pa.array([None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values])
