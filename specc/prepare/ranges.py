"""Which events come before an example: positions among ordered events, without a loop over examples.

Promises: only events whose time is before the example's; of one second none is before the other. Sequences
longer than a bound keep the latest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """events: positions of all examples' events, one example after another.
    lengths: by level of lists, outermost first. example: the example that each event is of."""

    events: Ints
    lengths: tuple[Ints, ...]
    example: Ints


@dataclass(frozen=True, eq=False)
class Past:
    """Some of the events (those of certain behaviours, say), ready to be asked what came before an example.

    session: of all events, which are ordered by user and time; sessions are numbered in that order.
    index: the positions of those that count. first, here, stop: of every event, how many of those lie before
    its user's first event, before the first of its session, and before the first of its user and second.
    """

    session: Ints
    index: Ints
    first: Ints
    here: Ints
    stop: Ints

    @staticmethod
    def of(user: Ints, time: Ints, session: Ints, kept: npt.NDArray[np.bool_]) -> Past:
        before: Ints = np.cumsum(kept) - kept
        another = _changes(user)
        return Past(
            session,
            np.flatnonzero(kept),
            *(_held(before, new) for new in (another, _changes(session), another | _changes(time))),
        )

    def range(self, examples: Ints, current: bool) -> tuple[Ints, Ints]:
        """Return for each example its first event, and the first one after its events. current: only those
        of the session that the example is in."""
        return (self.here if current else self.first)[examples], self.stop[examples]

    def flat(self, examples: Ints, bound: int, current: bool) -> Selection:
        start, stop = self.range(examples, current)
        lengths = np.minimum(stop - start, bound)
        events = self.index[runs(stop - lengths, lengths)]
        return Selection(events, (lengths,), np.repeat(np.arange(len(examples)), lengths))

    def sessions(self, examples: Ints, bounds: Sequence[int], current: bool, least: int) -> Selection:
        """Return the latest sessions, and the latest events of each; sessions of fewer than `least` events
        are left out. The session that the example itself is in counts as far as it has come."""
        start, stop = self.range(examples, current)
        session = self.session[self.index]
        begins = (
            np.flatnonzero(np.concatenate([[True], session[1:] != session[:-1]])) if len(session) else session
        )
        ends = np.append(begins[1:], len(session))
        number = np.repeat(np.arange(len(begins)), ends - begins)
        whole = np.flatnonzero(ends - begins >= least)
        some = stop > start
        last = number[np.maximum(stop - 1, 0)] if len(number) else np.zeros(len(stop), dtype=np.int64)
        first = number[np.minimum(start, max(len(number) - 1, 0))] if len(number) else last
        begun = begins[last] if len(begins) else last
        # The last one may be going on; those before it are over.
        ongoing = some & (stop - np.maximum(begun, start) >= least)
        before_stop = np.searchsorted(whole, np.where(some, last, 0))
        before_start = np.minimum(np.searchsorted(whole, np.where(some, first, 0)), before_stop)
        past = np.minimum(before_stop - before_start, bounds[0] - ongoing)
        count = past + ongoing
        offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        opens, closes = np.empty(offsets[-1], dtype=np.int64), np.empty(offsets[-1], dtype=np.int64)
        at = runs(offsets[:-1], past)
        chosen = whole[runs(before_stop - past, past)]
        opens[at], closes[at] = begins[chosen], ends[chosen]
        at = offsets[1:][ongoing] - 1
        opens[at], closes[at] = np.maximum(begun, start)[ongoing], stop[ongoing]
        lengths = np.minimum(closes - opens, bounds[1])
        events = self.index[runs(closes - lengths, lengths)]
        example = np.repeat(np.repeat(np.arange(len(examples)), count), lengths)
        return Selection(events, (count, lengths), example)

    def groups(self, examples: Ints, bounds: Sequence[int], of: Ints, current: bool, least: int) -> Selection:
        """Return the events before each example by what group they are in (`of`, -1 for none): the groups
        whose latest events are latest, in the order of those, and the latest events of each."""
        start, stop = self.range(examples, current)
        lengths = stop - start
        places = runs(start, lengths)
        example = np.repeat(np.arange(len(examples)), lengths)
        events = self.index[places]
        known = of[events] >= 0
        events, example = events[known], example[known]
        group = of[events]
        order = np.lexsort((np.arange(len(events)), group, example))
        events, example, group = events[order], example[order], group[order]
        new = np.ones(len(events), dtype=bool)
        new[1:] = (example[1:] != example[:-1]) | (group[1:] != group[:-1])
        begins = np.flatnonzero(new)
        sizes = np.diff(np.append(begins, len(events)))
        kept = sizes >= least
        begins, sizes = begins[kept], sizes[kept]
        # Groups by their latest events; of an example the last ones are kept.
        latest = events[begins + sizes - 1] if len(begins) else begins
        owner = example[begins]
        by = np.lexsort((latest, owner))
        begins, sizes, owner = begins[by], sizes[by], owner[by]
        count = np.bincount(owner, minlength=len(examples)).astype(np.int64)
        ends = np.cumsum(count)
        taken = np.minimum(count, bounds[0])
        chosen = runs(ends - taken, taken)
        begins, sizes, owner = begins[chosen], sizes[chosen], owner[chosen]
        inner = np.minimum(sizes, bounds[1])
        places = runs(begins + sizes - inner, inner)
        return Selection(events[places], (taken, inner), np.repeat(owner, inner))


def runs(starts: Ints, lengths: Ints) -> Ints:
    """Return the positions of runs, one run after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def _changes(values: Ints) -> npt.NDArray[np.bool_]:
    """Return which values differ from those before them; the first does."""
    new = np.ones(len(values), dtype=bool)
    new[1:] = values[1:] != values[:-1]
    return new


def _held(values: Ints, new: npt.NDArray[np.bool_]) -> Ints:
    """Return for each place the value at the last new one up to it."""
    return values[np.maximum.accumulate(np.where(new, np.arange(len(values)), 0))]
