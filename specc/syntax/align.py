"""What stands below what: `=`, `in` and comments of neighbouring lines in one column.

Promises: cells of neighbours share a column unless one is so much longer than another that the gap would
part what belongs together, or a line would become too long; the answer depends on nothing but the cells.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from specc.syntax.pretty import WIDTH, Line

_WIDEST_GAP = 12
_WIDEST_GAP_OF_REMARKS = 24


def columns(rows: Sequence[Sequence[str]], indent: int) -> list[str]:
    """Return each row's cells joined by blanks, cell below cell."""
    padded = [list(row) for row in rows]
    _align(padded, list(range(len(padded))), 0, indent)
    return [" ".join(row).rstrip() for row in padded]


def _align(rows: list[list[str]], members: list[int], column: int, indent: int) -> None:
    more = [i for i in members if len(rows[i]) > column + 1]
    for run in _runs([len(rows[i][column]) for i in more], _WIDEST_GAP):
        some = [more[i] for i in run]
        among = members[bisect_left(members, some[0]) : bisect_right(members, some[-1])]
        width = 0
        while some:
            width = _width(rows, some, among, column)
            too_long = {i for i in some if _length(rows[i], column, width) > WIDTH - indent}
            # What is too long by itself is not helped by standing apart.
            too_long &= {i for i in some if len(rows[i][column]) < width}
            if not too_long:
                break
            some = [i for i in some if i not in too_long]
        for i in some:
            rows[i][column] = rows[i][column].ljust(width)
        if some:
            _align(rows, some, column + 1, indent)


def _width(rows: list[list[str]], some: list[int], among: list[int], column: int) -> int:
    """Return the column's width: of its cells, and of last cells among them (a param without a domain)."""
    widths = [len(rows[i][column]) for i in some]
    low = min(widths)
    ended = [len(rows[i][column]) for i in among if len(rows[i]) == column + 1]
    return max(*widths, *(width for width in ended if width - low <= _WIDEST_GAP), 0)


def _length(row: list[str], column: int, width: int) -> int:
    return sum(map(len, row)) + len(row) - 1 + width - len(row[column])


def _runs(widths: list[int], gap: int) -> list[list[int]]:
    """Return runs of neighbours in which the longest is not too much longer than the shortest."""
    runs: list[list[int]] = []
    low = high = 0
    for index, width in enumerate(widths):
        if runs and max(high, width) - min(low, width) <= gap:
            runs[-1].append(index)
            low, high = min(low, width), max(high, width)
        else:
            runs.append([index])
            low = high = width
    return runs


def remarks(lines: Sequence[Line]) -> list[str]:
    """Return lines as text, with the comments of neighbours aligned."""
    out: list[str] = []
    index = 0
    while index < len(lines):
        if not lines[index].remark:
            out.append(lines[index].code)
            index += 1
            continue
        stop = index
        while stop < len(lines) and lines[stop].remark:
            stop += 1
        some = lines[index:stop]
        for run in _runs([len(line.code) for line in some], _WIDEST_GAP_OF_REMARKS):
            width = max(len(some[i].code) for i in run)
            out += [f"{some[i].code.ljust(width)}  {some[i].remark}" for i in run]
        index = stop
    return out
