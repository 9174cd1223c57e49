"""The events of some users become requests: who asked when, what had come before, and the candidates.

Promises: `build` is a pure function of its arguments, and knows no files: given the events of whole users, in
any number of parts and on any machine, it gives the same requests. Every positive event is a request, with
the item that was taken first and the sampled ones after it; of a log with labels, events that were shown
together are one.
Leaves to others: keys for codes, examples for requests, the order of all (output).

A table of requests has a row a request. `time`, `rank` (of the user) and `place` (of the event among the
user's) order them; `user` is the user's code, `count` how many candidates there are. `fN` is the N-th field
of the manifest: codes or numbers, in as many lists as the space has axes; of candidates in one list. `yN` are
the labels of the N-th prediction, in one list. A field that is a constant is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.draw import NEGATIVES
from specc.prepare.events import FRACTION, Events, Plan
from specc.prepare.facts import Facts
from specc.prepare.ranges import Selection
from specc.prepare.sequences import IDLE
from specc.prepare.settings import UNITS, FieldSource
from specc_runtime.encode.clock import SECOND

Ints = npt.NDArray[np.int64]
CHUNK = 16_384  # requests that are built at once
WIDEST = 4_000_000  # events before them that are looked at at once
TIME, RANK, PLACE, USER, COUNT = "time", "rank", "place", "user", "count"


def build(rows: npt.NDArray[Any], facts: Facts, plan: Plan) -> Iterator[pa.Table]:
    """Yield the requests of whole users, in tables, by time and then by the users' ranks.

    rows: the users' events, each user's in the order of the log, as a structured array.
    """
    events = Events(rows, facts, plan)
    chosen, members, counts = events.requests
    ends = np.append(0, np.cumsum(counts))
    for at, end in _chunks(chosen, events, plan):
        building = _Building(events, facts, plan)
        yield building.table(chosen[at:end], members[ends[at] : ends[end]], counts[at:end])


def _chunks(chosen: Ints, events: Events, plan: Plan) -> Iterator[tuple[int, int]]:
    if not plan.groups:
        yield from ((at, min(at + CHUNK, len(chosen))) for at in range(0, len(chosen), CHUNK))
        return
    # Groups are made of all that came before.
    before = np.cumsum(events.place[chosen])
    begin = 0
    while begin < len(chosen):
        least = int(before[begin - 1]) if begin else 0
        end = int(np.searchsorted(before, least + WIDEST, side="right"))
        end = min(max(end, begin + 1), begin + CHUNK)
        yield begin, end
        begin = end


class _Building:
    """One table of requests."""

    def __init__(self, events: Events, facts: Facts, plan: Plan) -> None:
        self.events, self.facts, self.plan = events, facts, plan
        self.bounds = {axis["id"]: axis["bound"] for axis in plan.manifest["axes"]}

    def table(self, chosen: Ints, members: Ints, shown: Ints) -> pa.Table:
        """Build one table.

        chosen: the first event of each request. members: the events of all of them, of which each has as
        many as `shown` says."""
        events = self.events
        columns: dict[str, pa.Array] = {
            TIME: pa.array(events.time[chosen]),
            RANK: pa.array(self.facts.user_rank[events.code[chosen]]),
            PLACE: pa.array(events.place[chosen]),
            USER: pa.array(events.code[chosen].astype(np.int32)),
        }
        negatives = events.drawn(members, NEGATIVES, self.plan.labels.negatives)
        items = np.concatenate([events.item[members][:, None], negatives], axis=1)
        kept = items >= 0
        owner = members[np.repeat(np.arange(len(members)), kept.sum(1))]
        # Of requests of several events nothing is sampled.
        counts = kept.sum(1) if self.plan.together is None else shown
        sampled = np.broadcast_to(np.arange(items.shape[1]) > 0, items.shape)[kept]
        selections: dict[str, Selection] = {}
        for number, field in enumerate(self.plan.manifest["fields"]):
            source = self.plan.fields[field["path"]]
            if field["role"] == "candidate":
                values = self._value(field, source, items[kept], owner, sampled, owner)
                columns[f"f{number}"] = _lists(pa.array(values), counts)
            elif not field["axes"]:
                none = np.zeros(len(chosen), dtype=bool)
                columns[f"f{number}"] = pa.array(
                    self._value(field, source, events.item[chosen], chosen, none, chosen)
                )
            else:
                columns[f"f{number}"] = self._sequence(field, source, chosen, selections)
        for number, prediction in enumerate(self.plan.manifest["predictions"]):
            columns[f"y{number}"] = _lists(pa.array(self._label(prediction, owner, sampled)), counts)
        columns[COUNT] = pa.array(counts)
        return pa.table(columns)

    def _sequence(
        self, field: Mapping[str, Any], source: FieldSource, chosen: Ints, selections: dict[str, Selection]
    ) -> pa.Array:
        owner = field["axes"][-1].partition(".")[0]
        if owner not in selections:
            selections[owner] = self._selection(owner, field["axes"], chosen)
        found = selections[owner]
        items = self.events.item[found.events]
        sampled = np.zeros(len(items), dtype=bool)
        if self.plan.spaces[field["space"]].events == "noise":
            # Where no item was on offer, the event's own stands in for a sampled one, so that lists keep
            # their lengths.
            noise = self.events.noise[found.events]
            sampled = noise >= 0
            items = np.where(sampled, noise, items)
        values = pa.array(self._value(field, source, items, found.events, sampled, chosen[found.example]))
        for lengths in reversed(found.lengths):
            values = _lists(values, lengths)
        return values

    def _selection(self, space: str, axes: list[str], chosen: Ints) -> Selection:
        source = self.plan.spaces[space]
        past = self.events.past(source)
        bounds = [self.bounds[axis] for axis in axes]
        current = source.events == "session"
        if len(bounds) == 1:
            return past.flat(chosen, bounds[0], current)
        if source.by == IDLE:
            return past.sessions(chosen, bounds, current, source.sessions)
        if space in self.plan.group_static:
            of = self.facts.static[self.plan.group_static[space]][self.events.item]
        else:
            of = self.events.rows[self.plan.groups[space]]
        return past.groups(chosen, bounds, of, current, source.sessions)

    def _value(
        self,
        field: Mapping[str, Any],
        source: FieldSource,
        items: Ints,
        events: Ints,
        sampled: npt.NDArray[np.bool_],
        now: Ints,
    ) -> npt.NDArray[Any]:
        """Return one value for each of some items at events. sampled: which items are not the events' own.
        now: the event of the request that each is for."""
        of, path = self.events, field["path"]
        if source.constant is not None:
            return np.zeros(len(items), dtype=np.int8)
        if path in self.plan.static:
            return self.facts.static[self.plan.static[path]][items]
        if path in self.plan.columns:
            column = self.plan.columns[path]
            values = of.rows[column][events]
            if sampled.any():
                values = values.copy()
                values[sampled] = self._of_sampled(source, column, items[sampled], of.time[events[sampled]])
            return np.ascontiguousarray(values)
        match source.attribute:
            case "user":
                return of.code[events].astype(np.int32)
            case "item":
                return items.astype(np.int32)
            case "hour" | "weekday":
                local = of.time[events] + round(self.plan.settings.utc_offset * 3600)
                # 1970 began on a Thursday.
                return np.asarray(
                    local // 3600 % 24 if source.attribute == "hour" else (local // 86400 + 3) % 7
                )
            case "moment":
                return np.asarray(of.time[events] * SECOND + of.rows[FRACTION][events])
            case "age":
                passed = of.time[now] - of.time[events]
            case _:
                passed = of.interval[events]
        unit = UNITS[source.unit or "seconds"]
        whole = unit == 1 or field["encoding"] in ("ids", "vocab", "hash")
        return np.asarray(passed // unit if whole else passed / unit)

    def _of_sampled(self, source: FieldSource, column: str, items: Ints, times: Ints) -> npt.NDArray[Any]:
        known = self.facts.known.get(column)
        if known is None or (source.column or source.attribute) in self.plan.settings.impression:
            of = self.events.rows[column].dtype
            return np.full(len(items), np.nan if of.kind == "f" else -1, dtype=of)
        return known.before(items, times)

    def _label(
        self, prediction: Mapping[str, Any], events: Ints, sampled: npt.NDArray[np.bool_]
    ) -> npt.NDArray[Any]:
        """Return the label of each candidate: what was read or made of its event; of a sampled one the
        negative."""
        source = self.plan.labels.sources[prediction["name"]]
        if source.how == "item":
            return np.where(sampled, -1, self.events.item[events]).astype(np.int32)
        if source.how == "read":
            values = self.events.rows[self.plan.label_columns[prediction["name"]]][events]
            if sampled.any():
                values = np.where(
                    sampled, values.dtype.type(np.nan if values.dtype.kind == "f" else -1), values
                )
            return np.ascontiguousarray(values)
        own = self.events.of(source.behaviours)[events] & ~sampled
        return np.where(own, source.positive, source.negative).astype(np.float64)


def _lists(values: pa.Array, lengths: Ints) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), values)
