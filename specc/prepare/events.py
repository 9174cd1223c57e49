"""The events of some users, in order, and which of them are examples.

Promises: ordered by user (by the hash of the key), time and line of the log; whatever other users are there,
the events of one are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from specc.prepare.draw import NOISE, pick
from specc.prepare.facts import Facts
from specc.prepare.labels import Labels, positive
from specc.prepare.ranges import Past, runs
from specc.prepare.settings import LabelSource, Settings, SpaceSource

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
# The columns that every event has, before those that the spec asks for (`c0`, `c1`, …).
# FRACTION: nanoseconds beyond the second. They only order a user's events: of two events in one second
# neither counts as earlier.
USER, ITEM, TIME, FRACTION, BEHAVIOUR = "user", "item", "time", "fraction", "behaviour"


@dataclass(frozen=True, eq=False)
class Plan:
    """What examples are made of, with columns by their names in the rows of events.

    fields, spaces: as the manifest has them. columns: by path of a field, its column of events. static: by
    path, its column of items. groups: by sequence, the column that its outer axis goes by. labels: by
    prediction, the column that its labels are read from. together: the columns that rows of one request
    share, besides user and time; None where every event is one. noise: whether sampled sequences are needed.
    """

    manifest: Mapping[str, Any]
    settings: Settings
    fields: Mapping[str, Any]
    spaces: Mapping[str, SpaceSource]
    labels: Labels
    columns: Mapping[str, str]
    static: Mapping[str, str]
    groups: Mapping[str, str]
    group_static: Mapping[str, str]
    label_columns: Mapping[str, str]
    together: tuple[str, ...] | None = None

    @cached_property
    def predictions(self) -> Mapping[str, Mapping[str, Any]]:
        return {p["name"]: p for p in self.manifest["predictions"]}


class Events:
    """rows: a structured array of some users' events, each user's in the order of the log."""

    def __init__(self, rows: npt.NDArray[Any], facts: Facts, plan: Plan) -> None:
        if rows[FRACTION].any():
            rows = rows[np.argsort(rows[FRACTION], kind="stable")]
        key = facts.user_rank[rows[USER]] * facts.span + (rows[TIME] - facts.since)
        self.rows = rows[np.argsort(key, kind="stable")]
        self.facts, self.plan = facts, plan
        self.code: Ints = self.rows[USER].astype(np.int64)
        self.item: Ints = self.rows[ITEM].astype(np.int64)
        self.time: Ints = np.ascontiguousarray(self.rows[TIME])
        starts = np.concatenate([[True], self.code[1:] != self.code[:-1]])
        self.user: Ints = np.cumsum(starts) - 1
        first = np.flatnonzero(starts)
        self.place: Ints = np.arange(len(self.rows)) - first[self.user]
        gap = np.diff(self.time, prepend=self.time[:1])
        self.interval: Ints = np.where(starts, 0, gap)
        self.session: Ints = np.cumsum(starts | (gap > plan.settings.session_gap)) - 1
        self.hash = facts.users[self.code]
        self._pasts: dict[Any, Past] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, behaviours: Iterable[str] | None) -> Mask:
        """Return which events are of some behaviours: all, where none are named."""
        return of_behaviours(self.rows, behaviours, self.facts)

    @cached_property
    def positive(self) -> Mask:
        """Return which events are taken: their behaviour, or a label that was read, says so."""
        return positives(self.rows, self.plan, self.facts)

    @cached_property
    def examples(self) -> Ints:
        """The positions of those that are examples, by time; of one second by user."""
        chosen = eligible(self.rows, self.plan, self.facts)
        if self.plan.settings.history_min:
            past = self.past(SpaceSource())
            start, stop = past.range(np.arange(len(self)), current=False)
            chosen = chosen & (stop - start >= self.plan.settings.history_min)
        found = np.flatnonzero(chosen)
        return found[np.argsort(self.time[found], kind="stable")]

    @cached_property
    def requests(self) -> tuple[Ints, Ints, Ints]:
        """The first event of every request, by time; the events of all of them, one request after another;
        and how many each has."""
        chosen, names = self.examples, self.plan.together
        if names is None:
            return chosen, chosen, np.ones(len(chosen), dtype=np.int64)
        keys = [self.rows[name][chosen] for name in (*names, FRACTION, TIME)] + [self.user[chosen]]
        keys = [key.view(np.int64) if key.dtype.kind == "f" else key for key in keys]  # NaN is NaN
        order = np.lexsort(keys)
        new = np.ones(len(order), dtype=bool)
        new[1:] = np.logical_or.reduce([key[order][1:] != key[order][:-1] for key in keys])
        begins = np.flatnonzero(new)
        counts = np.diff(np.append(begins, len(order)))
        first = chosen[order[begins]]
        by = np.lexsort((first, self.time[first]))
        return first[by], chosen[order[runs(begins[by], counts[by])]], counts[by]

    @cached_property
    def _taken(self) -> Ints:
        """Session and item of all that is positive, as one number each, ascending."""
        return np.sort((self.session * self.facts.items + self.item)[self.positive])

    def is_taken(self, events: Ints, items: Ints) -> Mask:
        """Return whether an item is taken in the session of an event."""
        if not len(self._taken):
            return np.zeros(len(items), dtype=bool)
        keys = self.session[events] * self.facts.items + items
        place = np.minimum(np.searchsorted(self._taken, keys), len(self._taken) - 1)
        return np.asarray(self._taken[place] == keys)

    def drawn(self, events: Ints, stream: int, count: int) -> Ints:
        """Return items that were on offer at some events, and were not taken in their sessions: codes, or
        -1."""
        pool = self.facts.pool
        return pick(
            self.plan.settings.seed, stream, self.hash[events], self.place[events], count,
            pool.places(self.time[events]), pool.at, lambda row, items: self.is_taken(events[row], items),
        )  # fmt: skip

    @cached_property
    def noise(self) -> Ints:
        """For every event an item that was not taken then, for auxiliary losses; -1 where there is none."""
        return self.drawn(np.arange(len(self)), NOISE, 1)[:, 0]

    def past(self, source: SpaceSource) -> Past:
        """Return the events that a sequence of a source may hold."""
        key = (source.behaviours, source.label)
        if key not in self._pasts:
            kept = self.of(source.behaviours)
            if source.label is not None:
                kept = kept & (self.positive if source.label == "positive" else ~self.positive)
            self._pasts[key] = Past.of(self.user, self.time, self.session, kept)
        return self._pasts[key]


def of_behaviours(rows: npt.NDArray[Any], behaviours: Iterable[str] | None, facts: Facts) -> Mask:
    if behaviours is None or BEHAVIOUR not in (rows.dtype.names or ()):
        return np.ones(len(rows), dtype=bool)
    codes = [facts.behaviours[b] for b in behaviours if b in facts.behaviours]
    return np.asarray(np.isin(rows[BEHAVIOUR], codes))


def positives(rows: npt.NDArray[Any], plan: Plan, facts: Facts) -> Mask:
    """Return which events are positive: any binary label that is read is; without such labels, their
    behaviour."""
    binary = [
        n
        for n in plan.label_columns
        if plan.predictions[n]["kind"] != "real" and plan.predictions[n]["kind"] != "class"
    ]
    if binary:
        found = [
            positive(plan.predictions[n], rows[plan.label_columns[n]], facts.label_codes.get(n))
            for n in binary
        ]
        return np.asarray(np.logical_or.reduce(found))
    return of_behaviours(rows, plan.settings.positive, facts)


def eligible(rows: npt.NDArray[Any], plan: Plan, facts: Facts) -> Mask:
    """Return which events are examples: the positive ones; of a log with labels all that have one."""
    if not plan.label_columns:
        return positives(rows, plan, facts)
    some = np.zeros(len(rows), dtype=bool)
    for column in plan.label_columns.values():
        values = rows[column]
        some |= values == values if values.dtype.kind == "f" else values >= 0
    if any(s.how != "read" for s in plan.labels.sources.values()):
        some[:] = True
    return some & of_behaviours(rows, plan.settings.positive, facts)


def moments(rows: npt.NDArray[Any], facts: Facts, plan: Plan) -> Ints:
    """Return the seconds of the examples of whole users."""
    if plan.settings.history_min:
        events = Events(rows, facts, plan)
        return events.time[events.examples]
    return np.asarray(rows[TIME][eligible(rows, plan, facts)])


def behaviours_named(settings: Settings, spaces: Mapping[str, SpaceSource], labels: Labels) -> Sequence[str]:
    found = [*(settings.positive or ())]
    sources: list[SpaceSource | LabelSource] = [*spaces.values(), *labels.sources.values()]
    for source in sources:
        found += source.behaviours or ()
    return found
