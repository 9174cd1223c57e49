"""Parts of times: of an hour, a day, a week, a year.

Promises: a time is a number of microseconds since 1970-01-01T00:00Z, whatever a column writes it as
(`clock`); a part of it is counted from 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc_runtime.encode.clock import Clock

Ints = npt.NDArray[np.int64]

PARTS = {"minute": 60, "hour": 24, "weekday": 7, "day": 31, "week": 53, "month": 12, "quarter": 4}
"""By part of a time, how many values it has."""

_SECOND = 10**6
_DAY = 86_400 * _SECOND


def times_of(values: pa.Array) -> pa.Array:
    """The microseconds since 1970 of a column, int64; null and NaN are null. Raises Unfit."""
    found = Clock().read(values)
    absent = np.asarray(found.is_null())
    return pa.array(np.asarray(found.fill_null(0)) // 1_000, mask=absent)


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
