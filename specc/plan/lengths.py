"""How long sequences are: what the size of every value follows from.

Promises: without data every sequence is at its bound, so that a plan holds for the worst batch. With data
the means over its examples (of the squares too, for pairs of positions).
Leaves to others: what is kept of the values (memory).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from specc.ir.graph import Graph
from specc.types import kinds
from specc.types.axis import Axis, Type


class LengthsError(ValueError):
    """Data from which lengths cannot be taken; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Lengths:
    """By root axis (space, name): the mean over its parent's positions of length^1, length^2, …

    candidates: of data that are requests, how many each has on average.
    """

    moments: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)
    candidates: float = 1.0

    def positions(self, type_: Type) -> float:
        """Return the mean number of positions of a value in one example."""
        copies: dict[tuple[str, str], int] = {}
        number = 1.0
        roots: dict[tuple[str, str], Axis] = {}
        for axis in _whole(type_.axes):
            if axis.size is not None:
                number *= axis.size
                continue
            number *= self._change(axis)
            root = _root(axis)
            key = (str(root.key[1]), str(root.key[2]))
            roots[key] = root
            copies[key] = copies.get(key, 0) + 1
        for key, power in copies.items():
            number *= self._moment(roots[key], key, power)
        return number

    def spread(self, axis: Axis) -> tuple[float, float]:
        """Return the mean of an axis's lengths, and the mean of their squares.

        Lengths of two sequences that are joined are taken to be independent. Of an axis that is cut, the
        ratio of deviation to mean is taken to be that of its source.
        """
        mean = self._length(axis)
        return mean, mean * mean + self._variance(axis)

    def _variance(self, axis: Axis) -> float:
        if axis.size is not None:
            return 0.0
        if not axis.source:
            key = (str(axis.key[1]), str(axis.key[2]))
            return max(self._moment(axis, key, 2) - self._moment(axis, key, 1) ** 2, 0.0)
        whole = max(sum(map(self._length, axis.source)), 1e-9)
        share = min(self._length(axis) / whole, 1.0)
        return share**2 * sum(map(self._variance, axis.source))

    def _moment(self, root: Axis, key: tuple[str, str], power: int) -> float:
        known = self.moments.get(key)
        if known is None:
            return float(root.bound**power)
        return known[power - 1] if power <= len(known) else known[0] ** power

    def _change(self, axis: Axis) -> float:
        """Return the length of a derived axis relative to its root's."""
        root = _root(axis)
        key = (str(root.key[1]), str(root.key[2]))
        length = max(self._moment(root, key, 1), 1e-9)
        return self._length(axis) / length

    def _length(self, axis: Axis) -> float:
        if axis.size is not None:
            return axis.size
        if axis.source:
            return float(kinds.length(axis, *map(self._length, axis.source)))
        return self._moment(axis, (str(axis.key[1]), str(axis.key[2])), 1)


def _whole(axes: Iterable[Axis]) -> list[Axis]:
    """Return axes with what was split in place of its chunks and the positions in them: there are as many."""
    found = list(axes)
    while parts := [a for a in found if a.kind == "part" and a.parent in found]:
        part = parts[-1]
        assert part.parent is not None
        found = [part.source[0] if a == part else a for a in found if a != part.parent]
    return found


def _root(axis: Axis) -> Axis:
    """Return the space's own axis that a ragged axis comes from (the first of joined ones)."""
    while axis.kind != "space":
        ragged = [source for source in axis.source if source.ragged]
        if not ragged:
            return axis
        axis = ragged[0]
    return axis


def from_data(path: Path | str, graph: Graph) -> Lengths:
    """Read the lengths in example files (Parquet: a file or a folder of them), cut at their bounds.

    Raises LengthsError where there is no such data, or a space has no column in it.
    """
    import duckdb

    source = f"{path}/**/*.parquet" if Path(path).is_dir() else str(path)
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    candidates = 1.0
    try:
        with duckdb.connect() as database:
            rows = database.read_parquet(source)
            for space in graph.spaces:
                own = [a for a in space.axes if a.ragged and a.kind == "space" and a.key[1] == space.name]
                listed = graph.of_requests and space.role == "candidate"
                if not (own or listed) or not space.fields:
                    continue
                columns = [c for f in space.fields for c in (f.column, f.fallback) if c in rows.columns]
                if not columns:
                    wanted = ", ".join(f.column for f in space.fields if f.column is not None)
                    raise LengthsError(f"{path} has no column of space `{space.name}` ({wanted})")
                values = f'"{columns[0]}"'.replace("\x00", "")
                if listed:
                    candidates = float(
                        rows.aggregate(f"avg(coalesce(len({values}), 0))").fetchall()[0][0] or 0
                    )
                    rows, values = rows.project(f"unnest({values}) as inner_values"), "inner_values"
                for axis in own:
                    length = f"least(coalesce(len({values}), 0), {axis.bound})"
                    query = rows.aggregate(f"avg({length}), avg({length} * {length})")
                    first, second = query.fetchall()[0]
                    found[space.name, axis.name] = (float(first or 0), float(second or 0))
                    rows = rows.project(f"unnest({values}) as inner_values")
                    values = "inner_values"
                rows = database.read_parquet(source)
    except duckdb.Error as fault:
        raise LengthsError(f"{path}: {fault}") from None
    return Lengths(found, candidates)
