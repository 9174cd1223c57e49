"""What scores of two classes are worth at every threshold: AUC, its curves, and calibration.

Promises: AUC is exact: the chance that a positive scores above a negative, ties counting half, whatever the
scores are and however close they lie. Calibration is of bins of equally many examples, in the order of their
scores; examples of one score are never parted. One pass over sorted scores gives all of it, by slice.
Memory: the budget, and some kilobytes a slice. Disk: 28 bytes an example beyond the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from specc_runtime.train.spill import Column, Sorted

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
BINS = 20  # of a calibration curve
GRID = 100  # a curve has a point wherever one of its shares passes a multiple of 1 / GRID


@dataclass(frozen=True, eq=False)
class Curve:
    """One slice's curves.

    points: from the highest threshold down, [n, 2]: true positives and false positives. Labels between 0 and
        1 are shares of both.
    bins: by bin of equally many examples, lowest scores first, [bins, 3]: the mean prediction, the share of
        positives, and examples. Empty where scores are no probabilities.
    """

    points: Floats
    bins: Floats


class Thresholds:
    """Scores with labels from 0 to 1, by slice. probability: what a score predicts, if it predicts."""

    def __init__(self, budget: int, probability: Callable[[Floats], Floats] | None) -> None:
        self.sorted = Sorted((np.int32, np.float64), 2, budget)
        self.probability = probability
        self.positives, self.negatives = np.zeros(0), np.zeros(0)

    def add(self, slices: Ints, scores: Floats, labels: Floats) -> None:
        self.sorted.add(slices, scores, labels, 1.0 - labels)
        self.positives = summed(self.positives, slices, labels)
        self.negatives = summed(self.negatives, slices, 1.0 - labels)

    def measured(self, slices: int) -> tuple[dict[str, Floats], list[Curve]]:
        """By metric its value in each slice, NaN where it has none, and each slice's curves."""
        none = np.zeros(0, np.int64), np.zeros(0)
        positives = summed(self.positives, *none, slices)
        negatives = summed(self.negatives, *none, slices)
        area, bins = np.zeros(slices), np.zeros((slices, BINS, 3))
        kept: list[Column] = [np.zeros((0, 3))]
        ran_p, ran_n = Running(), Running()
        for s, scores, p, n in self.sorted.blocks():
            fresh = np.append(True, s[1:] != s[:-1])
            p_below, n_below = ran_p(s, fresh, p), ran_n(s, fresh, n)
            np.add.at(area, s, p * (n_below + n / 2))
            passes = _passes(p_below, p, positives[s]) | _passes(n_below, n, negatives[s])
            kept.append(np.stack([s, p_below, n_below], 1)[passes])
            if self.probability is not None:
                place = np.floor((p_below + n_below) * BINS / (positives + negatives)[s]).astype(np.int64)
                sums = np.stack([self.probability(scores) * (p + n), p, p + n], 1)
                np.add.at(bins, (s, np.minimum(place, BINS - 1)), sums)
        points = np.concatenate(kept)
        found = {"auc": _ratio(area, positives * negatives)}
        if self.probability is not None:
            away = np.abs(bins[..., 0] - bins[..., 1]).sum(1)
            found["ece"] = _ratio(away, positives + negatives)
        curves = []
        for i in range(slices):
            below = points[points[:, 0] == i][::-1, 1:]
            above = np.array([positives[i], negatives[i]]) - below
            whole = np.array([[0.0, 0.0], *above, [positives[i], negatives[i]]])
            full = bins[i][bins[i][:, 2] > 0]
            full[:, :2] /= full[:, 2:]
            curves.append(Curve(whole, full))
        return found, curves

    def close(self) -> None:
        self.sorted.close()


class Running:
    """The sum of what comes before each row in its segment, where segments go on from block to block."""

    def __init__(self) -> None:
        self.key: tuple[object, ...] | None = None
        self.total = 0.0

    def __call__(self, *columns: Column) -> Floats:
        """columns: the segments' keys, whether each row begins a segment, and the values."""
        *keys, fresh, values = columns
        before = np.append(0.0, np.cumsum(values))
        starts = np.flatnonzero(fresh)
        sizes = np.diff(np.append(starts, len(values)))
        below = before[:-1] - np.repeat(before[starts], sizes)
        if self.key == tuple(key[0] for key in keys):
            below[: sizes[0]] += self.total
        self.key, self.total = tuple(key[-1] for key in keys), float(below[-1] + values[-1])
        return np.asarray(below)


def summed(totals: Floats, slices: Ints, values: Floats, least: int = 0) -> Floats:
    """Totals by slice with values added; of more slices where there are more, at least so many."""
    found = np.bincount(slices, values, max(len(totals), least)).astype(np.float64)
    found[: len(totals)] += totals
    return found


def _passes(below: Floats, own: Floats, whole: Floats) -> npt.NDArray[np.bool_]:
    """Whether a share passes a multiple of 1 / GRID with a row."""
    scale = GRID / np.maximum(whole, 1e-300)
    return np.asarray(np.floor(below * scale) != np.floor((below + own) * scale))


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where nothing is below."""
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))
