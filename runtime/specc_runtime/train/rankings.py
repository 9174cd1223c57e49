"""How well scores rank the examples of a group: those of a user, of a request.

Promises: exact, and independent of the order of the examples: where scores tie, what any order of the tied
ones would give on average. By slice:
- gauc: the mean of the groups' AUCs, weighted by their examples; groups of one class have none (Zhou et al.
  2018).
- ndcg@k, hit_rate@k, mrr: means over the groups with a positive (a label above 0.5): the discounted gain of
  the first k, by log2 of the place, over the largest possible one; whether a positive is among the first k;
  one over the place of the first positive.
Memory: the budget. Groups may be as many and as large as they like. Disk: 44 bytes an example beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from specc_runtime.train.spill import Column, Sorted
from specc_runtime.train.thresholds import Floats, Ints, Running

_SMALL = 64  # ties of so many are worked out together


class Rankings:
    """Scores with labels from 0 to 1, by slice and group. at: the k of the first k."""

    def __init__(self, budget: int, at: Sequence[int]) -> None:
        self.sorted = Sorted((np.int32, np.int64, np.float64), 3, budget)
        self.at = tuple(at)

    def add(self, slices: Ints, groups: Ints, scores: Floats, labels: Floats) -> None:
        # The best come first.
        self.sorted.add(slices, groups, -scores, labels, labels > 0.5, np.ones(len(labels)))

    def measured(self, slices: int) -> tuple[dict[str, Floats], dict[str, Ints]]:
        """By metric its value in each slice, NaN where it has none; and the numbers of "groups", of those
        of "one_class", and of those "without_positive"."""
        sums = _Sums(slices, self.at)
        ran = [Running() for _ in range(3)]
        open_group: tuple[object, ...] | None = None
        kept = sums.empty(1)
        for slice_, group, _, share, relevant, count in self.sorted.blocks():
            fresh = np.append(True, (slice_[1:] != slice_[:-1]) | (group[1:] != group[:-1]))
            before = [r(slice_, group, fresh, v) for r, v in zip(ran, (share, relevant, count), strict=True)]
            owner = np.cumsum(fresh) - 1
            first = np.flatnonzero(fresh)
            of = slice_[first]
            whole = sums.empty(len(first))
            if open_group is not None:
                if open_group == (slice_[0], group[0]):
                    whole[:, 0] = kept[:, 0]
                else:
                    sums.finish(kept, np.array([open_group[0]]))
            sums.gather(whole, owner, share, relevant, count, before)
            sums.finish(whole[:, :-1], of[:-1])
            kept, open_group = whole[:, -1:], (slice_[-1], group[-1])
        if open_group is not None:
            sums.finish(kept, np.array([open_group[0]]))
        return sums.metrics(), sums.counts()

    def close(self) -> None:
        self.sorted.close()


# The rows of what is known of each group; after these, a row of gains and one of misses for each k.
_SHARE, _RELEVANT, _COUNT, _AREA, _RECIPROCAL, _GAINS = range(6)


class _Sums:
    """What the groups' metrics add up to, by slice."""

    def __init__(self, slices: int, at: Sequence[int]) -> None:
        self.at = at
        self.gauc, self.weight = np.zeros(slices), np.zeros(slices)
        self.groups, self.one, self.without = (np.zeros(slices, np.int64) for _ in range(3))
        self.mrr = np.zeros(slices)
        self.ndcg, self.hits = np.zeros((len(at), slices)), np.zeros((len(at), slices))
        self.discount = np.append(0.0, np.cumsum(1 / np.log2(np.arange(2, max(at, default=0) + 2))))

    def empty(self, groups: int) -> Floats:
        found = np.zeros((_GAINS + 2 * len(self.at), groups))
        found[_GAINS + 1 :: 2] = 1.0
        return found

    def gather(
        self, whole: Floats, owner: Ints, share: Column, relevant: Column, count: Column, before: list[Floats]
    ) -> None:
        """Add rows, each of the examples of a group with one score, the best first."""
        share_above, relevant_above, start = before
        for row, values in ((_SHARE, share), (_RELEVANT, relevant), (_COUNT, count)):
            np.add.at(whole[row], owner, values)
        # A negative loses to the positives above it, and half to those beside it.
        np.add.at(whole[_AREA], owner, (count - share) * (share_above + share / 2))
        first = np.flatnonzero((relevant_above == 0) & (relevant > 0))
        whole[_RECIPROCAL, owner[first]] = _reciprocal(start[first], relevant[first], count[first])
        end = start + count
        for place, k in enumerate(self.at):
            gain, miss = whole[_GAINS + 2 * place], whole[_GAINS + 2 * place + 1]
            inside = np.flatnonzero((start < k) & (relevant > 0))
            held = self._held(k, end[inside]) - self._held(k, start[inside])
            np.add.at(gain, owner[inside], relevant[inside] / count[inside] * held)
            free = np.minimum(k - start[inside], count[inside])
            np.multiply.at(miss, owner[inside], _none(relevant[inside], count[inside], free))

    def _held(self, k: int, places: Floats) -> Floats:
        """The sum of the discounts of the first places, of those up to k."""
        return np.asarray(self.discount[np.minimum(places, k).astype(np.int64)])

    def finish(self, whole: Floats, slices: Column) -> None:
        """Groups that are complete."""
        share, relevant, count = whole[_SHARE], whole[_RELEVANT], whole[_COUNT]
        np.add.at(self.groups, slices, 1)
        both = (share > 0) & (share < count)
        np.add.at(self.one, slices[~both], 1)
        pairs = share[both] * (count[both] - share[both])
        np.add.at(self.gauc, slices[both], count[both] * (whole[_AREA, both] / pairs))
        np.add.at(self.weight, slices[both], count[both])
        some = relevant > 0
        np.add.at(self.without, slices[~some], 1)
        np.add.at(self.mrr, slices[some], whole[_RECIPROCAL, some])
        for place, k in enumerate(self.at):
            gain, miss = whole[_GAINS + 2 * place, some], whole[_GAINS + 2 * place + 1, some]
            np.add.at(self.ndcg[place], slices[some], gain / self._held(k, relevant[some]))
            np.add.at(self.hits[place], slices[some], 1.0 - miss)

    def metrics(self) -> dict[str, Floats]:
        some = (self.groups - self.without).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {"gauc": self.gauc / self.weight}
            for place, k in enumerate(self.at):
                found[f"ndcg@{k}"] = self.ndcg[place] / some
                found[f"hit_rate@{k}"] = self.hits[place] / some
            found["mrr"] = self.mrr / some
        return found

    def counts(self) -> dict[str, Ints]:
        return {"groups": self.groups, "one_class": self.one, "without_positive": self.without}


def _none(relevant: Column, count: Column, free: Column) -> Floats:
    """The chance that none of `free` of `count` tied examples is one of the `relevant`."""
    chance = np.where(free < count, 1.0, 0.0)
    for j in range(int(free[free < count].max(initial=0))):
        drawn = (j < free) & (free < count)
        chance[drawn] *= np.maximum(count[drawn] - relevant[drawn] - j, 0) / (count[drawn] - j)
    return chance


def _reciprocal(start: Column, relevant: Column, count: Column) -> Floats:
    """The mean of one over the place of the first relevant of tied examples, which begin after `start`."""
    found, chance = np.zeros(len(start)), np.ones(len(start))
    small = count <= _SMALL
    for j in range(int(count[small].max(initial=0))):
        # It is the next one, given that it was none of those before.
        here = small & (j < count) & (chance > 0)
        share = np.minimum(relevant[here] / (count[here] - j), 1.0)
        found[here] += chance[here] * share / (start[here] + j + 1)
        chance[here] *= 1.0 - share
    for i in np.flatnonzero(~small):
        found[i] = _reciprocal_of_many(float(start[i]), float(relevant[i]), int(count[i]))
    return found


def _reciprocal_of_many(start: float, relevant: float, count: int) -> float:
    found, chance, block = 0.0, 1.0, 1 << 16
    for at in range(0, count, block):
        j = np.arange(at, min(at + block, count), dtype=np.float64)
        share = np.minimum(relevant / (count - j), 1.0)
        left = chance * np.append(1.0, np.cumprod(1.0 - share))
        found += float((left[:-1] * share / (start + j + 1)).sum())
        chance = float(left[-1])
        if chance < 1e-18:
            break
    return found
