"""What is known of the whole log while the events of some users become examples.

Promises: what is asked of a moment was known before it. An item is on offer from the second after its first
event; its attributes are those of its last event before, as far as that had any. Nothing here depends on the
order of the log's lines but through the events themselves.
Memory: some numbers a user, and an item of each day; 12 bytes an event for draws by popularity,
and 16 bytes for every change of an attribute of an item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
DAY = 86400
LEAST = 20  # places of a day that are filled before draws keep to it


@dataclass(frozen=True, eq=False)
class Pool:
    """Items that may be drawn, as places in the order in which they came.

    items, times: of each place. Of each day all items' first events in it ("uniform"), or all events
    ("popularity"), where frequent items have more places. offset: seconds from UTC to where days begin.

    What is drawn at a moment came before it, and on the same day as soon as that has filled `LEAST` places,
    else on that day or the one before; where these have too few, at any time before. So negatives are as
    recent as positives, in training and in a test alike: older ones would be told by their age, and in a
    test, of which many items are new, by being known.
    """

    items: npt.NDArray[np.int32]
    times: Ints
    offset: int

    @staticmethod
    def of(items: npt.NDArray[Any], times: Ints, offset: int, hashes: Hashes) -> Pool:
        """Return what may be drawn. hashes: by item; they order what came in one second."""
        order = np.lexsort((hashes[items], times))
        return Pool(items[order].astype(np.int32), times[order], offset)

    def places(self, times: Ints) -> tuple[Ints, Ints]:
        """Return for each moment the first place that may be drawn, and how many may."""
        stop = np.searchsorted(self.times, times, side="left").astype(np.int64)
        today = (times + self.offset) // DAY * DAY - self.offset
        first = np.zeros(len(times), dtype=np.int64)
        for begin in (today - DAY, today):
            since = np.searchsorted(self.times, begin, side="left").astype(np.int64)
            first = np.where(stop - since < LEAST, first, since)
        return first, stop - first

    def at(self, places: Ints) -> Ints:
        return self.items[places].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Known:
    """An attribute of items that events tell, as of any moment: at which moments it changed, and to what.

    rank: by item. keys: rank * span + (time - since), ascending. values: codes, or numbers.
    """

    rank: Ints
    keys: Ints
    values: npt.NDArray[Any]
    since: int
    span: int

    def before(self, items: Ints, times: Ints) -> npt.NDArray[Any]:
        """Return the value of each item before a moment: -1 (a number: NaN) where none is known."""
        nothing = np.nan if self.values.dtype.kind == "f" else -1
        if not len(self.keys):
            return np.full(len(items), nothing, dtype=self.values.dtype)
        rank = self.rank[items] * self.span
        place = np.searchsorted(self.keys, rank + (times - self.since), side="left") - 1
        there = (place >= 0) & (self.keys[place] >= rank)
        return np.where(there, self.values[place], self.values.dtype.type(nothing))


def changes(
    rows: Iterable[npt.NDArray[Any]], names: Iterable[str], rank: Ints, since: int, span: int
) -> dict[str, Known]:
    """Return by name of a column what is known of items. rows: all events, in groups of whole items whose
    ranks ascend, the events of each in the order of the log."""
    wanted = list(names)
    keys: dict[str, list[Ints]] = {name: [] for name in wanted}
    values: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in wanted}
    for group in rows:
        if group["fraction"].any():
            group = group[np.argsort(group["fraction"], kind="stable")]
        key = rank[group["item"]] * span + (group["time"] - since)
        order = np.argsort(key, kind="stable")
        for name in wanted:
            value = group[name][order]
            there = value == value if value.dtype.kind == "f" else value >= 0
            own_keys, value = key[order][there], value[there]
            new = np.ones(len(value), dtype=bool)
            new[1:] = (value[1:] != value[:-1]) | (own_keys[1:] // span != own_keys[:-1] // span)
            keys[name].append(own_keys[new])
            values[name].append(value[new])
    return {
        name: Known(rank, np.concatenate(keys[name]), np.concatenate(values[name]), since, span)
        for name in wanted
        if keys[name]
    }


def ranked(hashes: Hashes) -> Ints:
    """Return by code its place in the order of hashes; equal ones stay in the order of codes."""
    rank = np.empty(len(hashes), dtype=np.int64)
    rank[np.argsort(hashes, kind="stable")] = np.arange(len(hashes))
    return rank


@dataclass(frozen=True, eq=False)
class Facts:
    """users, user_rank: by user's code, the key's hash and its place among all. pool: what may be drawn.

    known: by column of the events, of those that sampled items need. static: by column of the item file, a
    value an item. behaviours: by name, its code. label_codes: by prediction, the code of the text that its
    condition compares with. since, span: of all times.
    """

    users: Hashes
    user_rank: Ints
    items: int
    pool: Pool
    since: int
    span: int
    known: Mapping[str, Known] = field(default_factory=dict)
    static: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    behaviours: Mapping[str, int] = field(default_factory=dict)
    label_codes: Mapping[str, int] = field(default_factory=dict)
