"""Times: read from whatever writes them, taken apart as a calendar does, and measured in seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specc_runtime.encode import DataError, Encoders, Origin
from specc_runtime.encode.times import PARTS, part_of, times_of
from tests.data.specs import one_field

HERE = Origin("data.parquet")
NOON = 1_577_880_000  # 2020-01-01T12:00Z


@pytest.mark.parametrize(
    "values",
    [
        ["2020-01-01T12:00:00", "2020-01-02", None],
        ["2020-01-01T20:00:00+08:00", "2020-01-02T00:00:00Z", ""],
        [NOON, NOON + 43_200, None],
        [float(NOON), NOON + 43_200.0, float("nan")],
        [str(NOON), str(NOON + 43_200), ""],
        *([NOON * unit, (NOON + 43_200) * unit, None] for unit in (10**3, 10**6, 10**9)),
        *(
            pa.array([NOON * unit, (NOON + 43_200) * unit, None], kind)
            for unit, kind in (
                (1, pa.timestamp("s")),
                (10**3, pa.timestamp("ms", "UTC")),
                (10**6, pa.timestamp("us", "Asia/Shanghai")),
                (10**9, pa.timestamp("ns")),
            )
        ),
    ],
)
def test_times_are_the_same_however_they_are_written(values: Any) -> None:
    found = times_of(values if isinstance(values, pa.Array) else pa.array(values))
    assert found.to_pylist() == [NOON * 10**6, (NOON + 43_200) * 10**6, None]


@pytest.mark.parametrize(
    "values", [["2020-01-02"], [20200102], ["20200102"], pa.array([18263], pa.date32()), [1_577_923_200]]
)
def test_days(values: Any) -> None:
    found = times_of(values if isinstance(values, pa.Array) else pa.array(values))
    assert found.to_pylist() == [(NOON + 43_200) * 10**6]


def test_a_column_has_one_unit() -> None:
    with pytest.raises(DataError, match="`1577880000000` is no time in seconds, which the column's others"):
        encoded("time(hour, 4)", [NOON, NOON * 1000])


@given(st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)), st.sampled_from([0, 8, -3.5, 5.75]))
def test_parts_are_those_of_the_calendar(moment: datetime, offset: float) -> None:
    micros = pa.array([moment], pa.timestamp("us")).cast(pa.int64()).to_numpy()
    local = moment + timedelta(hours=offset)
    wanted = {
        "minute": local.minute, "hour": local.hour, "weekday": local.weekday(), "day": local.day - 1,
        "week": local.isocalendar().week - 1, "month": local.month - 1, "quarter": (local.month - 1) // 3,
    }  # fmt: skip
    assert {part: int(part_of(part, micros, offset)[0]) for part in PARTS} == wanted


def encoded(encoding: str, values: Any) -> list[Any]:
    of = one_field(encoding)
    table = pa.table({"x": values})
    learned = Encoders.learn(of, [(table, HERE)])
    found: list[Any] = learned.encode(table, HERE, labels=False).column("s.x").tolist()
    return found


NULL = pa.array([NOON, None], pa.timestamp("s"))


@pytest.mark.parametrize(
    ("encoding", "values", "found"),
    [
        ("time(hour, 4)", ["2020-01-01T23:30:00", "2020-01-01T23:30:00"], [23, 23]),
        ("time(hour, 4, offset = 8)", ["2020-01-01T23:30:00"], [7]),
        ("time(weekday, 4, default = 6)", NULL, [2, 6]),
        (
            'bucket(["2020-01-01", "2021-01-01"], 4, of = time)',
            ["2019-12-31", "2020-01-01", "2022-05-05"],
            [0, 1, 2],
        ),
        ("number(of = time)", ["1970-01-01T00:01:00.5"], [[60.5]]),
        (
            "number(default = -1)",
            pa.array([64, None], pa.timestamp("s")),
            [[64.0], [-1.0]],
        ),  # a timestamp says what it is
        ("number(minmax, of = time)", ["2020-01-01", "2020-01-03", "2020-01-02"], [[0.0], [1.0], [0.5]]),
    ],
)
def test_encodings_of_times(encoding: str, values: Any, found: list[Any]) -> None:
    assert encoded(encoding, values) == found


@pytest.mark.parametrize(
    ("encoding", "values", "said"),
    [
        ("time(hour, 4)", ["2020-01-01", "then"], "row 2, column `x`: `then` is not a time"),
        ("time(hour, 4)", NULL, "row 2, column `x`: there is no value"),
        ("number", ["2020-01-01"], "row 1, column `x`: `2020-01-01` is not a number"),
    ],
)
def test_what_is_no_time(encoding: str, values: Any, said: str) -> None:
    with pytest.raises(DataError) as found:
        encoded(encoding, values)
    assert said in str(found.value)


def test_now_is_read_as_python_writes_it() -> None:
    now = datetime.now(UTC)
    assert times_of(pa.array([now.isoformat()])).to_pylist() == [int(now.timestamp() * 10**6 + 0.5)]
