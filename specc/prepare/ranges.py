"""Which events come before an example: positions in the ordered log, without a loop over examples.

Promises: only events whose time is before the example's; of one second none is before the other. Sequences
longer than a bound keep the latest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from specc.prepare.log import Log

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """events: positions in the log of all examples' events, one example after another.
    lengths: by level of lists, outermost first."""

    events: Ints
    lengths: tuple[Ints, ...]
    example: Ints


@dataclass(frozen=True, eq=False)
class Past:
    """The events of certain behaviours, ready to be asked what came before an example."""

    log: Log
    index: Ints  # positions in the log
    keys: Ints
    span: int
    since: int

    @staticmethod
    def of(log: Log, kept: npt.NDArray[np.bool_]) -> Past:
        since, span = int(log.time.min()), int(log.time.max() - log.time.min()) + 2
        index = np.flatnonzero(kept)
        return Past(log, index, log.user[index] * span + (log.time[index] - since), span, since)

    def range(self, examples: Ints, current: bool) -> tuple[Ints, Ints]:
        """The first of its events of each example, and the first one after them. current: only those of
        the session that the example is in."""
        first = self.log.user[examples] * self.span
        stop = np.searchsorted(self.keys, first + (self.log.time[examples] - self.since), side="left")
        if current:
            start = np.searchsorted(self.log.session[self.index], self.log.session[examples], side="left")
        else:
            start = np.searchsorted(self.keys, first, side="left")
        return np.minimum(start, stop).astype(np.int64), stop.astype(np.int64)

    def flat(self, examples: Ints, bound: int, current: bool) -> Selection:
        start, stop = self.range(examples, current)
        lengths = np.minimum(stop - start, bound)
        events = self.index[runs(stop - lengths, lengths)]
        return Selection(events, (lengths,), np.repeat(np.arange(len(examples)), lengths))

    def sessions(self, examples: Ints, bounds: Sequence[int], current: bool, least: int) -> Selection:
        """The latest sessions, and the latest events of each; sessions of fewer than `least` events are
        left out. The session that the example itself is in counts as far as it has come."""
        start, stop = self.range(examples, current)
        session = self.log.session[self.index]
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


def runs(starts: Ints, lengths: Ints) -> Ints:
    """The positions of runs, one run after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)
