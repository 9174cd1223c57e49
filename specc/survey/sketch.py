"""What is known of a column's values in a fixed amount of memory, however many there are.

Promises: everything is exact up to `KEPT` distinct values (or values, for a `Spread`'s quantiles), and
beyond that estimated from a random part of them: distinct values by the smallest of their hashes (Bar-Yossef
et al. 2002: within 0.4 % at 65,536), quantiles from a sample. The same data gives the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc_runtime.encode.vocabulary import mix

KEPT = 1 << 16
_ALL = 2.0**64
Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(eq=False)
class Distinct:
    """The distinct values of a column: those of the smallest hashes, with what was seen of them.

    hashes: ascending, [n]. counts: how often each occurred. first: the example of each. low, high: the least
    and greatest label of each prediction beside it, [n, predictions], not finite where there is none.
    seen: all occurrences.
    """

    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    names: pa.Array | None = None
    low: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    high: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    seen: int = 0
    full: bool = False  # values with greater hashes were left out

    def add(self, hashes: Hashes, names: pa.Array | None = None, labels: Floats | None = None) -> None:
        """Add values. names: the values themselves, for those that are shown. labels: those beside each
        value, [rows, predictions]."""
        self.seen += len(hashes)
        if not len(hashes):
            return
        given = np.zeros((len(hashes), self.low.shape[1])) * np.nan if labels is None else labels
        order = np.argsort(hashes, kind="stable")
        found, starts, counts = np.unique(hashes[order], return_index=True, return_counts=True)
        part = Distinct(
            found,
            counts.astype(np.int64),
            None if names is None else names.take(pa.array(order[starts])),
            np.fmin.reduceat(given[order], starts) if given.shape[1] else given[starts],
            np.fmax.reduceat(given[order], starts) if given.shape[1] else given[starts],
        )
        self._take(part)

    def merge(self, other: Distinct) -> None:
        """Add what another has seen."""
        self.seen += other.seen
        limits = [x.hashes[-1] for x in (self, other) if x.full]
        self._take(other)
        if limits:
            self._cut(int(np.searchsorted(self.hashes, min(limits), side="right")))
            self.full = True

    def _take(self, part: Distinct) -> None:
        if not len(part.hashes):
            return
        hashes, inverse = np.unique(np.concatenate([self.hashes, part.hashes]), return_inverse=True)
        mine, theirs = inverse[: len(self.hashes)], inverse[len(self.hashes) :]
        counts = np.zeros(len(hashes), np.int64)
        counts[mine] += self.counts
        counts[theirs] += part.counts
        shape = (len(hashes), part.low.shape[1])
        low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
        if self.low.shape[1] == shape[1]:
            low[mine], high[mine] = self.low, self.high
        low[theirs], high[theirs] = np.fmin(low[theirs], part.low), np.fmax(high[theirs], part.high)
        if part.names is not None:
            names = part.names if self.names is None else _joined(self.names, part.names)
            place = np.zeros(len(hashes), np.int64)
            place[theirs] = np.arange(len(part.hashes)) + (0 if self.names is None else len(self.hashes))
            place[mine] = np.arange(len(self.hashes))
            self.names = names.take(pa.array(place))
        self.hashes, self.counts, self.low, self.high = hashes, counts, low, high
        self._cut(KEPT)

    def _cut(self, most: int) -> None:
        if len(self.hashes) > most:
            self.full = True
            self.hashes, self.counts = self.hashes[:most], self.counts[:most]
            self.low, self.high = self.low[:most], self.high[:most]
            self.names = None if self.names is None else self.names.slice(0, most)

    @property
    def number(self) -> int:
        """How many distinct values there are; an estimate where it is `full`."""
        if not self.full or not len(self.hashes):
            return len(self.hashes)
        return round((len(self.hashes) - 1) * _ALL / (float(self.hashes[-1]) + 1))

    def shared(self, other: Distinct) -> tuple[int, int, bool]:
        """Count this one's occurrences that both can tell of: how many there are,
        and how many have a value
        that the other has, too; and whether these are all."""
        limits = [x.hashes[-1] for x in (self, other) if x.full]
        mine = self.hashes <= min(limits) if limits else np.ones(len(self.hashes), np.bool_)
        known = np.isin(self.hashes, other.hashes) & mine
        return int(self.counts[mine].sum()), int(self.counts[known].sum()), not limits

    def common(self, k: int) -> list[tuple[str, int]]:
        """Return the most frequent values, and how often they occur."""
        order = np.lexsort((self.hashes, -self.counts))[:k]
        if self.names is None:
            return []
        return [(str(self.names[i].as_py()), int(self.counts[i])) for i in order.tolist()]


def _joined(a: pa.Array, b: pa.Array) -> pa.Array:
    """Concatenate names of two parts, as texts where they are of two types."""
    if a.type != b.type:
        a, b = a.cast(pa.large_string()), b.cast(pa.large_string())
    return pa.concat_arrays([a, b])


@dataclass(eq=False)
class Spread:
    """Numbers as they come by: how many, least, greatest, mean, and a sample of `KEPT` for quantiles."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")
    sample: Floats = field(default_factory=lambda: np.zeros(0))
    _rank: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))

    def add(self, values: Floats) -> None:
        if not len(values):
            return
        rank = mix(np.arange(self.count, self.count + len(values), dtype=np.uint64) + np.uint64(1))
        self.count += len(values)
        self.total += float(values.sum())
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
        self.sample, self._rank = np.concatenate([self.sample, values]), np.concatenate([self._rank, rank])
        if len(self.sample) > KEPT:
            kept = np.argpartition(self._rank, KEPT)[:KEPT]
            self.sample, self._rank = self.sample[kept], self._rank[kept]

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else float("nan")

    def histogram(self, bins: int = 24) -> tuple[list[float], list[float]]:
        """Return edges and counts, between the lowest and highest hundredth where values lie far beyond
        them."""
        if not self.count:
            return [], []
        low, high = self.least, self.most
        inner = np.quantile(self.sample, [0.01, 0.99])
        if high - low > 4 * (inner[1] - inner[0]) > 0:
            low, high = float(inner[0]), float(inner[1])
        if not high > low:
            low, high = low - 0.5, high + 0.5
        if (self.sample == np.round(self.sample)).all() and high < 2.0**52:
            # Bars of equally many whole numbers each.
            step = max(1, round(np.ceil((high - low + 1) / bins)))
            edges = np.arange(round(low), round(high) + step + 1, step) - 0.5
        else:
            edges = np.linspace(low, high, bins + 1)
        counts, _ = np.histogram(self.sample, edges)
        return edges.tolist(), (counts * (self.count / len(self.sample))).tolist()


def moment(nanoseconds: float) -> str:
    """Return a time, such as 2017-11-25 13:00:00."""
    return str(np.datetime64(round(nanoseconds / 1e9), "s")).replace("T", " ")
