"""A table as lines of text, every column as wide as its widest cell."""

from __future__ import annotations

from collections.abc import Container, Iterable


def aligned(rows: Iterable[Iterable[str]], right: Container[int] = ()) -> list[str]:
    """Return a line a row, of rows that have as many cells; columns in `right` are aligned to the right."""
    cells = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(_placed(row, widths, right)).rstrip() for row in cells]


def _placed(row: Iterable[str], widths: Iterable[int], right: Container[int]) -> Iterable[str]:
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if i in right else cell.ljust(width)
