"""Times of a column in one unit, however they are written; a mixture is a fault."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specc_runtime.encode.clock import SECOND, Clock
from specc_runtime.encode.faults import Unfit

NOW = 1_600_000_000


@pytest.mark.parametrize(
    ("values", "seconds", "unit"),
    [
        ([NOW, None, 0], [NOW, None, 0], "seconds"),
        ([NOW * 1000, 0], [NOW, 0], "milliseconds"),
        ([NOW + 0.5, float("nan")], [NOW + 0.5, None], "seconds"),
        ([NOW * 10**6], [NOW], "microseconds"),
        ([NOW * 10**9], [NOW], "nanoseconds"),
        ([str(NOW), " 5 "], [NOW, 5], "seconds"),
        (["1600000000.5", "-1.25", ""], [NOW + 0.5, -1.25, None], "seconds"),
        ([NOW + 0.5], [NOW + 0.5], "seconds"),
        (["20200913", "19691231"], [1_599_955_200, -86400], "yyyymmdd"),
        ([20200913], [1_599_955_200], "yyyymmdd"),
        (["20200913.0", None], [1_599_955_200, None], "yyyymmdd"),
        ([2020091312], [1_599_998_400], "yyyymmddhh"),
        (["2020-09-13"], [1_599_955_200], "without an offset"),
        (["2020-09-13T12:26:40", "2020-09-13"], [NOW, 1_599_955_200], "without an offset"),
        (["2020-09-13T20:26:40+08:00", "2020-09-13T12:26:40Z"], [NOW, NOW], "with an offset"),
        (pa.array([NOW * 1000], pa.timestamp("ms", "Asia/Shanghai")), [NOW], "timestamps"),
        (pa.array([18518], pa.date32()), [1_599_955_200], "dates"),
        (pa.array(["1600000000"]).dictionary_encode(), [NOW], "seconds"),
        ([1, 2, 3], [1, 2, 3], "seconds"),
        ([None, None], [None, None], "None"),
    ],
)
def test_times(values: Any, seconds: list[float | None], unit: str) -> None:
    clock = Clock()
    found = clock.read(values if isinstance(values, pa.Array) else pa.array(values)).to_pylist()
    assert found == [None if s is None else round(s * SECOND) for s in seconds]
    assert unit in str(clock)


@pytest.mark.parametrize(
    ("parts", "index", "said"),
    [
        ([[NOW, NOW * 1000, NOW]], 1, "is no time in seconds"),
        ([[NOW], [NOW * 1000]], 0, "is no time in seconds"),
        ([[20200913, 20200914, 20201340]], 2, "`20201340` is not a date as yyyymmdd"),
        ([[20200913, 20200914, 0]], 2, "`0` is not a date as yyyymmdd"),
        ([[20200913, 20200914, 99991231]], 2, "`99991231` is not a date as yyyymmdd"),
        ([[20200913], [NOW]], 0, "is not a date as yyyymmdd"),
        ([["2020-09-13", "2020-09-13T00:00Z"]], 1, "has (or lacks) an offset"),
        ([["2020-09-13", "never", "2020-09-14"]], 1, "`never` is not a time"),
        ([["1600000000", "NaN"]], 1, "`NaN` is not a number"),
        ([["2020-09-13"], ["1600000000"]], 0, ""),
        ([["1600000000"], ["2020-09-13"]], 0, ""),
        ([[True]], None, "it should hold times"),
        ([["99999999999999999999"]], None, "beyond 64 bits"),
        ([[9 * 10**13]], None, ""),
    ],
)
def test_mixtures_are_faults(parts: list[list[Any]], index: int | None, said: str) -> None:
    clock = Clock()
    if parts == [[9 * 10**13]]:  # the year 4821 in milliseconds
        with pytest.raises(Unfit, match="beyond 1677 to 2262"):
            clock.read(pa.array(parts[0]))
        return
    for part in parts[:-1]:
        clock.read(pa.array(part))
    with pytest.raises(Unfit) as found:
        clock.read(pa.array(parts[-1]))
    assert said in str(found.value)
    assert found.value.index == index


@given(st.lists(st.datetimes(datetime(1971, 1, 1), datetime(2250, 1, 1)), min_size=1, max_size=9))
def test_texts_are_what_python_reads(moments: list[datetime]) -> None:
    texts = [moment.isoformat() for moment in moments]
    known = [moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) for moment in moments]
    micros = [(k.days * 86400 + k.seconds) * 10**6 + k.microseconds for k in known]
    assert Clock().read(pa.array(texts)).to_pylist() == [m * 1000 for m in micros]
