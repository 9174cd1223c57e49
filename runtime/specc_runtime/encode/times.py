"""Times: points in time from whatever a column writes them as, and the parts of a day, week and year.

Promises: a time is a number of microseconds since 1970-01-01T00:00Z. Without an offset of its own it is UTC.
A column of numbers has one unit: seconds, milli-, micro- or nanoseconds, told apart by how large they are (up
to 1e11, 1e14, 1e17 and beyond: until the year 5138 whatever the unit); or it is dates written as yyyymmdd.
What is no time, and a mixture of units, is an Unfit with its place.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.encode.faults import Unfit

Ints = npt.NDArray[np.int64]

PARTS = {"minute": 60, "hour": 24, "weekday": 7, "day": 31, "week": 53, "month": 12, "quarter": 4}
"""By part of a time, how many values it has."""

_SECOND = 10**6
_DAY = 86_400 * _SECOND
_UNITS = {"s": _SECOND, "ms": 1_000, "us": 1}
_WORDS = ("seconds", "milliseconds", "microseconds", "nanoseconds")


def times_of(values: pa.Array) -> pa.Array:
    """The microseconds since 1970 of a column, int64; null and NaN are null. Raises Unfit."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return times_of(values.dictionary_decode())
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.int64())
    if pa.types.is_timestamp(kind):
        counts = values.cast(pa.int64())
        if kind.unit == "ns":
            found = np.floor_divide(counts.fill_null(0).to_numpy(), 1_000)
            return pa.array(found, mask=np.asarray(counts.is_null()))
        return pc.multiply(counts, _UNITS[kind.unit])
    if pa.types.is_date(kind):
        return pc.multiply(values.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), _DAY)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _of_numbers(values)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _of_texts(values)
    raise Unfit(f"the column is {kind}, and it should hold times")


def _of_numbers(values: pa.Array) -> pa.Array:
    floats = values.cast(pa.float64(), safe=False)
    found = floats.fill_null(0).to_numpy(zero_copy_only=False)
    absent = np.asarray(values.is_null()) | np.isnan(found)
    found = np.where(absent, 0.0, found)
    _refuse(~np.isfinite(found), values, "is not a time")
    size = np.abs(found)
    dates = _dates(found)
    if dates is not None:
        return pa.array(dates, mask=absent)
    # Zero is the same in every unit, and says nothing.
    unit = np.where(size < 1e11, 0, np.where(size < 1e14, 1, np.where(size < 1e17, 2, 3)))
    said = unit[size > 0]
    if len(said) and said.min() != said.max():
        other = (unit != said[0]) & (size > 0)
        first = int(other.argmax())
        one, others = _WORDS[unit[first]], _WORDS[said[0]]
        raise Unfit(
            f"{values[first].as_py()} is a time in {one}, and others are in {others}",
            first,
            int(other.sum()) - 1,
            "write a column's times in one unit",
        )
    step = int(said[0]) if len(said) else 0
    if pa.types.is_integer(values.type):
        exact = values.fill_null(0).cast(pa.int64()).to_numpy()
        micros = exact // 1_000 if step == 3 else exact * (_SECOND, 1_000, 1)[step]
    else:
        micros = np.floor(found * (1e6, 1e3, 1.0, 1e-3)[step]).astype(np.int64)
    return pa.array(micros, mask=absent)


def _dates(found: npt.NDArray[np.float64]) -> Ints | None:
    """The days that numbers such as 20171125 say, if all of them are such."""
    given = found != 0
    if not given.any() or ((found[given] < 19_000_101) | (found[given] > 21_991_231)).any():
        return None
    whole = np.where(given, found, 19_700_101).astype(np.int64)
    if (whole != np.where(given, found, 19_700_101)).any():
        return None
    year, month, day = whole // 10_000, whole // 100 % 100, whole % 100
    if ((month < 1) | (month > 12) | (day < 1) | (day > 31)).any():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    if (days.astype("datetime64[M]") != months).any():
        return None
    return days.astype(np.int64) * _DAY


def _of_texts(values: pa.Array) -> pa.Array:
    values = values.cast(pa.large_string())
    trimmed = pc.utf8_trim_whitespace(values)
    trimmed = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        # All without an offset, or all with one: the two forms that Arrow reads by itself.
        try:
            return trimmed.cast(kind).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
    try:
        return _of_numbers(trimmed.cast(pa.float64() if _fractions(trimmed) else pa.int64()))
    except pa.ArrowInvalid:
        pass
    coded = trimmed.dictionary_encode()
    micros = np.zeros(len(coded.dictionary), dtype=np.int64)
    wrong = np.zeros(len(coded.dictionary), dtype=bool)
    for place, text in enumerate(coded.dictionary.to_pylist()):
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            wrong[place] = True
            continue
        since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        micros[place] = (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds
    absent = np.asarray(coded.indices.is_null())
    index = coded.indices.fill_null(0).to_numpy()
    if wrong.any():
        _refuse(wrong[index] & ~absent, values, "is not a time")
    return pa.array(micros[index] if len(micros) else np.zeros(len(values), dtype=np.int64), mask=absent)


def _fractions(texts: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(texts, "."), skip_nulls=True).as_py())


def _refuse(bad: npt.NDArray[np.bool_], values: pa.Array, what: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise Unfit(
            f"{values[first].as_py()} {what}",
            first,
            int(bad.sum()) - 1,
            "times are ISO 8601 (2025-01-31, 2025-01-31T12:00:00+08:00), yyyymmdd, or Unix times",
        )


def part_of(part: str, micros: Ints, offset: float) -> Ints:
    """A part of each time, counted from 0, at an offset from UTC in hours: weekdays from Monday, days, weeks
    (ISO 8601's) and months from the first."""
    local = micros + round(offset * 3600) * _SECOND
    days = local // _DAY
    match part:
        case "minute":
            return local // (60 * _SECOND) % 60
        case "hour":
            return local // (3_600 * _SECOND) % 24
        case "weekday":
            return (days + 3) % 7  # 1970 began on a Thursday
        case "week":
            # A week is of the year that has its Thursday.
            thursday = (days - (days + 3) % 7 + 3).astype("datetime64[D]")
            return _days(thursday - thursday.astype("datetime64[Y]")) // 7
    date = days.astype("datetime64[D]")
    month = date.astype("datetime64[M]")
    match part:
        case "day":
            return _days(date - month)
        case "month":
            return month.astype(np.int64) % 12
        case "quarter":
            return month.astype(np.int64) % 12 // 3
    raise AssertionError(part)


def _days(spans: npt.NDArray[np.timedelta64]) -> Ints:
    found: Ints = spans.astype("timedelta64[D]").astype(np.int64)
    return found
