"""Columns of one axis: lists that are absent in some of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc_runtime.encode.agree import Along, Axes
from specc_runtime.encode.columns import unpack
from specc_runtime.encode.faults import Unfit

KIND = pa.list_(pa.int64())
LENGTHS = st.lists(st.integers(0, 4), max_size=6)


def along(name: str, axes: tuple[str, ...], rows: list[Any], kind: pa.DataType, *inner: None) -> Along:
    return Along(name, axes, unpack(pa.array(rows, kind), [*([9] * len(axes)), *inner]))


def rebuilt(values: list[Any], *levels: list[int]) -> list[Any]:
    """Lists of packed values, the innermost lengths last."""
    for lengths in reversed(levels):
        rest = iter(values)
        values = [[next(rest) for _ in range(n)] for n in lengths]
    return values


@settings(deadline=None)
@given(st.data(), LENGTHS)
def test_an_absent_list_is_as_many_nulls_as_the_others_have_values(data: Any, lengths: list[int]) -> None:
    columns, wanted = [], []
    for name in "abc":
        rows = [list(range(n)) if data.draw(st.booleans()) else None for n in lengths]
        columns.append(along(name, ("t",), rows, KIND))
        wanted.append(rows)
    axes = Axes(columns)
    there = [any(rows[i] is not None for rows in wanted) for i in range(len(lengths))]
    common = [n if known else 0 for n, known in zip(lengths, there, strict=True)]
    for column, rows in zip(columns, wanted, strict=True):
        packed = axes.agreed(column)
        found = rebuilt(packed.values.to_pylist(), packed.lengths[0].tolist())
        assert found == [[None] * n if row is None else row for n, row in zip(common, rows, strict=True)]
    assert axes.lengths(("t",)).tolist() == common


@settings(deadline=None)
@given(st.data(), st.lists(LENGTHS, max_size=4))
def test_so_it_is_of_nested_lists_and_bags(data: Any, lengths: list[list[int]]) -> None:
    kind = pa.list_(KIND)
    rows = [[list(range(n)) for n in steps] for steps in lengths]
    some = [row if data.draw(st.booleans()) else None for row in rows]
    nested = along("nested", ("s", "t"), some, kind)
    whole = along("whole", ("s", "t"), rows, kind)
    bags = along("bags", ("s",), some, kind, None)
    for columns in ([nested, whole, bags], [whole, bags, nested], [bags, nested, whole]):
        axes = Axes(columns)
        packed = axes.agreed(nested)
        levels = [level.tolist() for level in packed.lengths]
        found = rebuilt(packed.values.to_pylist(), *levels)
        assert found == [
            [[None] * n for n in steps] if row is None else row
            for row, steps in zip(some, lengths, strict=True)
        ]
        packed = axes.agreed(bags)
        levels = [level.tolist() for level in packed.lengths]
        found = rebuilt(packed.values.to_pylist(), *levels)
        assert found == [
            [[]] * len(steps) if row is None else row for row, steps in zip(some, lengths, strict=True)
        ]


def test_lists_of_other_lengths_are_named_with_their_row() -> None:
    first = along("a", ("t",), [[1], None, [1, 2]], KIND)
    second = along("b", ("t",), [[1], [1, 2], [1]], KIND)
    axes = Axes([first, second])
    axes.agreed(first)
    with pytest.raises(Unfit, match="there are 1 positions of t, and column `a` has 2") as caught:
        axes.agreed(second)
    assert caught.value.index == 2
