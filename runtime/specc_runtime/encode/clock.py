"""Moments, however they are written: one unit a column.

Promises: int64 nanoseconds since 1970-01-01 UTC. What a column's values are is told from all of a part, the
same in every part, and may be printed:

    numbers     20171125 (yyyymmdd) and 2017112513 (yyyymmddhh) where most values are such dates; else
                seconds, milli-, micro- or nanoseconds since 1970, by their range
    texts       those numbers (seconds with a fraction too), dates, and ISO 8601 with an offset or without,
                which is UTC
    timestamps and dates of Arrow are what they say

A value that does not fit is an Unfit, and so is a mixture of units.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.keys import is_text
from specc_runtime.encode.numbers import short

SECOND = 1_000_000_000
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_PER = {"seconds": SECOND, "milliseconds": 1_000_000, "microseconds": 1_000, "nanoseconds": 1}
# The largest number that is still taken for the unit: the year 5138 in seconds, and so on.
_UP_TO = {"seconds": 10**11, "milliseconds": 10**14, "microseconds": 10**17, "nanoseconds": 2**63 - 1}
_LIMIT = 2**63 // SECOND - 1  # seconds that fit into nanoseconds: the year 2262
_HELP = "a column of times has one unit: ISO 8601, dates, yyyymmdd, or a number since 1970"


class Clock:
    """One column's unit, and its values' moments. unit: None until a value has been seen."""

    def __init__(self) -> None:
        self.unit: str | None = None

    def __str__(self) -> str:
        number = self.unit in _PER
        return f"{self.unit} since 1970 (UTC)" if number else f"{self.unit}"

    def read(self, values: pa.Array) -> pa.Array:
        """The nanoseconds of a part of the column. Raises Unfit."""
        kind = values.type
        if pa.types.is_dictionary(kind):
            return self.read(values.dictionary_decode())
        if values.null_count == len(values):
            return pa.nulls(len(values), pa.int64())
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            self._same("timestamps" if pa.types.is_timestamp(kind) else "dates", values)
            try:
                moments = values.cast(pa.timestamp("ns", getattr(kind, "tz", None)))
            except pa.ArrowInvalid:
                raise Unfit(f"the column is {kind}, with a time beyond 1677 to 2262") from None
            return moments.cast(pa.int64())
        if is_text(kind):
            values = pc.ascii_trim_whitespace(values.cast(pa.large_string()))
            values = pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)
            if values.null_count == len(values):
                return pa.nulls(len(values), pa.int64())
            return self._of_texts(values)
        if pa.types.is_integer(kind):
            try:
                return self._of_integers(values.cast(pa.int64()))
            except pa.ArrowInvalid:
                raise Unfit("a time is beyond 64 bits", help=_HELP) from None
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return self._of_floats(values.cast(pa.float64(), safe=False))
        raise Unfit(f"the column is {kind}, and it should hold times", help=_HELP)

    def _of_integers(self, values: pa.Array) -> pa.Array:
        present = np.asarray(values.is_valid())
        numbers: Ints = np.asarray(values.fill_null(0))
        known = numbers[present]
        for unit, digits in (("yyyymmdd", 8), ("yyyymmddhh", 10)):
            if self.unit not in (None, unit):
                continue
            moments = _of_calendar(numbers, digits)
            good = moments[present] != _NONE
            # Seconds are hardly ever such dates, so a few that are none are mistakes in a column of dates.
            if self.unit == unit or 2 * good.sum() > len(known):
                self.unit = unit
                bad = (moments == _NONE) & present
                _refuse(bad, numbers, f"is not a date as {unit}, which the column's others are")
                return pa.array(moments, mask=~present)
        self._settle(np.abs(known), present, numbers)
        by = _PER[self.unit or "seconds"]
        _refuse(present & (np.abs(numbers) > _LIMIT * SECOND // by), numbers, "is a time beyond 1677 to 2262")
        return pa.array(numbers * by, mask=~present)

    def _settle(self, sizes: npt.NDArray[np.number], present: Bools, shown: npt.ArrayLike) -> None:
        """The unit by the range of values; all of them are to have the same."""
        bounds = np.array([*_UP_TO.values()][:3], dtype=np.float64)
        said = sizes > 0  # zero is the same moment in every unit
        units = np.searchsorted(bounds, sizes, side="right")
        names = [*_UP_TO]
        if not said.any() and self.unit in (None, *names):
            return
        unit = self.unit or names[int(np.median(units[said]))]
        wrong = np.zeros(len(present), dtype=bool)
        wrong[present] = said & (units != names.index(unit)) if unit in names else True
        _refuse(wrong, np.asarray(shown), f"is no time in {unit}, which the column's others are")
        self.unit = unit

    def _of_floats(self, values: pa.Array) -> pa.Array:
        numbers = np.asarray(values.fill_null(0.0))
        present = np.asarray(values.is_valid()) & ~np.isnan(numbers)
        numbers = np.where(present, numbers, 0.0)
        _refuse(~np.isfinite(numbers) & present, numbers, "is not a time")
        if (numbers == np.floor(numbers)).all() and (np.abs(numbers) < 2.0**53).all():
            return self._of_integers(pa.array(numbers.astype(np.int64), mask=~present))
        self._settle(np.abs(numbers[present]), present, numbers)
        return pa.array(
            np.round(numbers * float(_PER[self.unit or "seconds"])).astype(np.int64), mask=~present
        )

    def _of_texts(self, values: pa.Array) -> pa.Array:
        first = values.drop_null()[0].as_py()
        if _plain(first):
            bad = ~np.asarray(pc.match_substring_regex(values, _NUMBER).fill_null(True))
            _refuse(bad, values, "is not a number, as the column's other times are")
            if not pc.any(pc.match_substring(values, ".")).as_py():
                try:
                    return self._of_integers(values.cast(pa.int64()))
                except pa.ArrowInvalid:
                    raise Unfit("a time is beyond 64 bits", help=_HELP) from None
            return self._of_fractions(values)
        last: Unfit | None = None
        for unit, kind in (
            ("dates and times without an offset, taken as UTC", pa.timestamp("ns")),
            ("dates and times with an offset", pa.timestamp("ns", "UTC")),
        ):
            try:
                moments = values.cast(kind).cast(pa.int64())
            except pa.ArrowInvalid:
                last = last or self._unreadable(values)
                continue
            self._same(unit, values)
            return moments
        assert last is not None
        raise last

    def _of_fractions(self, values: pa.Array) -> pa.Array:
        """Numbers with a decimal point, to the nanosecond, without the rounding of a double."""
        whole = pc.replace_substring_regex(values, r"\..*\z", "")
        digits = pc.replace_substring_regex(
            pc.replace_substring_regex(values, r"\A[^.]*\.?", ""), r"0*\z", ""
        )
        moments = self._of_integers(whole.cast(pa.int64()))
        if not pc.any(pc.not_equal(digits, "")).as_py():
            return moments  # a data frame's 20200913.0
        if self.unit is not None and self.unit not in _PER:
            raise Unfit(f"a time has a fraction, and the column's others are {self.unit}", help=_HELP)
        places = len(str(_PER[self.unit or "seconds"])) - 1
        padded = pc.utf8_slice_codeunits(pc.utf8_rpad(digits, max(places, 1), "0"), 0, max(places, 1))
        parts = np.asarray(padded.cast(pa.int64()).fill_null(0)) * int(places > 0)
        negative = np.asarray(pc.starts_with(values, "-").fill_null(False))
        found = np.asarray(moments.fill_null(0)) + np.where(negative, -parts, parts)
        return pa.array(found, mask=~np.asarray(values.is_valid()))

    def _same(self, unit: str, values: pa.Array) -> None:
        if self.unit not in (None, unit):
            first = int(np.asarray(values.is_valid()).argmax())
            raise Unfit(f"{values[first]} is none of the {self.unit} that came before", first, help=_HELP)
        self.unit = unit

    def _unreadable(self, values: pa.Array) -> Unfit:
        """The first text that is of another form than most of them, or no time at all."""
        forms: list[Bools] = []
        for kind in (pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
            distinct = values.dictionary_encode()
            good = np.array([_casts(text, kind) for text in distinct.dictionary])
            indices = np.asarray(distinct.indices.fill_null(0))
            forms.append(good[indices] | ~np.asarray(values.is_valid()))
        most = max(forms, key=lambda good: int(good.sum()))
        bad = ~most
        first = int(bad.argmax())
        text = short(values[first].as_py())
        other = any(form[first] for form in forms)
        what = "has (or lacks) an offset, unlike the column's other times" if other else "is not a time"
        return Unfit(f"`{text}` {what}", first, int(bad.sum()) - 1, _HELP)


_NUMBER = r"\A-?[0-9]+(\.[0-9]*)?\z"
_NONE = np.iinfo(np.int64).min


def _plain(text: str) -> bool:
    return text.replace(".", "", 1).removeprefix("-").isdecimal()


def _casts(text: pa.Scalar, kind: pa.DataType) -> bool:
    try:
        text.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _of_calendar(numbers: Ints, digits: int) -> Ints:
    """The moments of yyyymmdd or yyyymmddhh, and _NONE for what is no date."""
    hours = numbers % 100 if digits == 10 else np.zeros_like(numbers)
    days = numbers // 100 if digits == 10 else numbers
    year, month, day = days // 10000, days // 100 % 100, days % 100
    good = (year >= 1900) & (year <= 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (hours < 24)
    year = np.where(good, year, 1970)
    months = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
    dates = months.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")
    good &= dates.astype("datetime64[M]") == months
    seconds = dates.astype("datetime64[s]").astype(np.int64) + hours * 3600
    return np.where(good, seconds * SECOND, _NONE)


def _refuse(bad: Bools, values: npt.ArrayLike | pa.Array, what: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        value = values[first]  # type: ignore[index]
        text = short(value.as_py()) if isinstance(value, pa.Scalar) else str(value)
        raise Unfit(f"`{text}` {what}", first, int(bad.sum()) - 1, _HELP)
