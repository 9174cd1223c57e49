"""From a log to examples: who took what when, what else was there, and what had come before.

Promises: every positive event is an example, followed by its negatives; request fields are the same for all
of them. Train, validation and test examples follow one another in time. The same log, settings and spec give
the same files.
Leaves to others: how values are encoded (the runtime).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from specc.prepare.log import Log, of_behaviours
from specc.prepare.mapping import Sources
from specc.prepare.negatives import draw
from specc.prepare.ranges import Past, Selection
from specc.prepare.settings import UNITS, FieldSource, PrepareError, Settings, moment

Ints = npt.NDArray[np.int64]
CHUNK = 16_384  # positives that are built at once
ROW_GROUP = 8_192
# Columns that no field is, for whoever evaluates: whose example it is, when it was, which belong together.
USER, TIME, REQUEST = "example_user", "example_time", "example_request"


@dataclass(frozen=True, eq=False)
class Split:
    """The positive events of one part of the time, ascending, and the last moment of what may be drawn."""

    name: str
    events: Ints
    negatives: Ints  # codes of items, [len(events), n], -1 for none


@dataclass(frozen=True)
class Written:
    """What was written, by file: positives, examples, and the times between which they lie."""

    name: str
    path: Path
    positives: int
    examples: int
    begin: int
    end: int


def splits(log: Log, settings: Settings) -> list[Split]:
    """Raises PrepareError if a part of the time has no example."""
    positive = of_behaviours(log, settings.positive)
    if settings.history_min:
        positive = positive & (_earlier(log) >= settings.history_min)
    events = np.flatnonzero(positive)
    events = events[np.argsort(log.time[events], kind="stable")]
    if not len(events):
        of = f" of {', '.join(settings.positive)}" if settings.positive else ""
        raise PrepareError(f"the log has no positive event{of} to make an example of")
    times = log.time[events]
    test = _cut(settings.test, times, int(times.max()), settings)
    valid = test if settings.valid is None else _cut(settings.valid, times[times < test], test - 1, settings)
    bounds = [("train", -np.inf, valid), ("valid", valid, test), ("test", test, np.inf)]
    taken = np.unique(log.session[positive] * len(log.items) + log.item[positive])
    found = []
    for place, (name, begin, end) in enumerate(bounds):
        chosen = events[(times >= begin) & (times < end)]
        if name == "valid" and settings.valid is None:
            continue
        if not len(chosen):
            raise PrepareError(f"no positive event is left for the {name} examples; set --test or --valid")
        random = np.random.default_rng([settings.seed, place])
        # Drawn from what was on offer then: an item that comes up later, or is gone, would be told by that.
        pool = log.item[(log.time >= begin) & (log.time < end)]
        drawn = draw(
            random, pool, settings.sampling, log.session[chosen], settings.negatives, taken, len(log.items)
        )
        found.append(Split(name, chosen, drawn))
    return found


def _earlier(log: Log) -> Ints:
    """How many events of the same user come before each."""
    past = Past.of(log, np.ones(len(log), dtype=bool))
    start, stop = past.range(np.arange(len(log)), current=False)
    return stop - start


def _cut(text: str, times: Ints, last: int, settings: Settings) -> int:
    """The first moment of the part that `last-day`, a share or a time asks for."""
    if text == "last-day":
        offset = round(settings.utc_offset * 3600)
        return (last + offset) // 86400 * 86400 - offset
    try:
        share = float(text)
    except ValueError:
        return moment(text, settings.utc_offset)
    if not 0 < share < 1:
        return moment(text, settings.utc_offset)
    return int(np.quantile(times, 1 - share, method="higher")) if len(times) else last


class Builder:
    """Makes the columns of examples."""

    def __init__(self, manifest: Mapping[str, Any], log: Log, sources: Sources, settings: Settings) -> None:
        self.manifest, self.log, self.sources, self.settings = manifest, log, sources, settings
        self.bounds = {axis["id"]: axis["bound"] for axis in manifest["axes"]}
        self._pasts: dict[tuple[str, ...] | None, Past] = {}
        self._noise: Ints | None = None
        self._interval: Ints | None = None
        kinds = {id: space for space in manifest["spaces"] for id in space["axes"]
                 if id.partition(".")[0] == space["name"]}  # fmt: skip
        self._owner = {id: space["name"] for id, space in kinds.items()}

    def table(self, events: Ints, negatives: Ints) -> pa.Table:
        """The examples of positive events: each, then its negatives that were found."""
        items = np.concatenate([self.log.item[events][:, None], negatives], axis=1)
        kept = items >= 0
        request = np.repeat(np.arange(len(events)), kept.sum(1))
        columns = {name: column.take(pa.array(request)) for name, column in self._requests(events).items()}
        first = (
            np.concatenate([[True], request[1:] != request[:-1]]) if len(request) else request.astype(bool)
        )
        for field in self._fields("candidate"):
            values = self._value(field, items[kept], events[request], None)
            columns[field["column"]] = _cell(field, values)
        for prediction in self.manifest["predictions"]:
            source = self.sources.labels[prediction["name"]]
            own = of_behaviours(self.log, source.behaviours)[events][request]
            columns[prediction["column"]] = pa.array(
                np.where(first & own, source.positive, source.negative).astype(np.float32)
            )
        columns[USER] = self.log.users.take(pa.array(self.log.user[events][request]))
        columns[TIME] = pa.array(self.log.time[events][request])
        columns[REQUEST] = pa.array(events[request])
        return pa.table(columns)

    def requests(self, events: Ints, negatives: Ints) -> pa.Table:
        """One row a positive event, with its candidates as lists; the one that was taken comes first."""
        items = np.concatenate([self.log.item[events][:, None], negatives], axis=1)
        kept = items >= 0
        columns = self._requests(events)
        owner = np.repeat(np.arange(len(events)), kept.sum(1))
        for field in self._fields("candidate"):
            values = _cell(field, self._value(field, items[kept], events[owner], None))
            columns[field["column"]] = _lists(values, kept.sum(1))
        columns[USER] = self.log.users.take(pa.array(self.log.user[events]))
        columns[TIME] = pa.array(self.log.time[events])
        return pa.table(columns)

    def _fields(self, role: str) -> Iterator[Mapping[str, Any]]:
        return (f for f in self.manifest["fields"] if f["role"] == role)

    def _requests(self, events: Ints) -> dict[str, pa.Array]:
        selections: dict[str, Selection] = {}
        columns: dict[str, pa.Array] = {}
        for field in self._fields("request"):
            if not field["axes"]:
                columns[field["column"]] = _cell(
                    field, self._value(field, self.log.item[events], events, None)
                )
                continue
            owner = self._owner[field["axes"][-1]]
            if owner not in selections:
                selections[owner] = self._selection(owner, field["axes"], events)
            chosen = selections[owner]
            noise = self.sources.spaces[field["space"]].events == "noise"
            items = self._sampled()[chosen.events] if noise else self.log.item[chosen.events]
            values = _cell(field, self._value(field, items, chosen.events, events[chosen.example]))
            for lengths in reversed(chosen.lengths):
                values = _lists(values, lengths)
            columns[field["column"]] = values
        return columns

    def _selection(self, space: str, axes: list[str], examples: Ints) -> Selection:
        source = self.sources.spaces[space]
        past = self._pasts.get(source.behaviours)
        if past is None:
            past = self._pasts[source.behaviours] = Past.of(
                self.log, of_behaviours(self.log, source.behaviours)
            )
        bounds = [self.bounds[axis] for axis in axes]
        if len(bounds) == 1:
            return past.flat(examples, bounds[0], source.events == "session")
        return past.sessions(examples, bounds, source.events == "session", source.sessions)

    def _sampled(self) -> Ints:
        """For every event an item that was not taken then, for auxiliary losses."""
        if self._noise is None:
            log = self.log
            positive = of_behaviours(log, self.settings.positive)
            taken = np.unique(log.session[positive] * len(log.items) + log.item[positive])
            random = np.random.default_rng([self.settings.seed, 3])
            drawn = draw(random, log.item, self.settings.sampling, log.session, 1, taken, len(log.items))[
                :, 0
            ]
            # Where everything is taken, an event stands for itself: lists keep their lengths.
            self._noise = np.where(drawn < 0, log.item, drawn)
        return self._noise

    def _value(self, field: Mapping[str, Any], items: Ints, events: Ints, now: Ints | None) -> pa.Array:
        """One value for each event (or candidate). now: the examples' events, for fields of a sequence."""
        source: FieldSource = self.sources.fields[field["path"]]
        log = self.log
        if source.constant is not None:
            return pa.array([source.constant] * len(items))
        if source.column is not None:
            of_event = source.column in log.extra and field["role"] == "request"
            return (
                log.extra[source.column].take(pa.array(events))
                if of_event
                else log.item_attributes[source.column].take(pa.array(items))
            )
        match source.attribute:
            case "user":
                return log.users.take(pa.array(log.user[events]))
            case "item":
                return log.items.take(pa.array(items))
            case "category":
                return log.item_attributes["category"].take(pa.array(items))
            case "behaviour":
                assert log.behaviour is not None
                return log.behaviour.take(pa.array(events))
            case "hour" | "weekday":
                local = log.time[events] + round(self.settings.utc_offset * 3600)
                # 1970 began on a Thursday.
                return pa.array(
                    local // 3600 % 24 if source.attribute == "hour" else (local // 86400 + 3) % 7
                )
            case "age":
                passed = (
                    log.time[events] - log.time[events] if now is None else log.time[now] - log.time[events]
                )
            case _:
                passed = self._intervals()[events]
        unit = UNITS[source.unit or "seconds"]
        whole = unit == 1 or field["encoding"] in ("ids", "vocab", "hash")
        return pa.array(passed // unit if whole else passed / unit)

    def _intervals(self) -> Ints:
        if self._interval is None:
            log = self.log
            same = np.concatenate([[False], log.user[1:] == log.user[:-1]])
            self._interval = np.where(same, np.diff(log.time, prepend=log.time[:1]), 0)
        return self._interval


def _cell(field: Mapping[str, Any], values: pa.Array) -> pa.Array:
    """A value as the field's column holds it: a bag is a list, even of one."""
    if field["encoding"] != "bag" or pa.types.is_list(values.type):
        return values
    present = ~values.is_null().to_numpy(zero_copy_only=False)
    return _lists(values.drop_null(), present.astype(np.int64))


def _lists(values: pa.Array, lengths: Ints) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


def write(builder: Builder, split: Split, directory: Path) -> Written:
    path = directory / f"{split.name}.parquet"
    examples = 0
    writer: pq.ParquetWriter | None = None
    try:
        for at in range(0, len(split.events), CHUNK):
            table = builder.table(split.events[at : at + CHUNK], split.negatives[at : at + CHUNK])
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema), row_group_size=ROW_GROUP)
            examples += len(table)
    finally:
        if writer is not None:
            writer.close()
    times = builder.log.time[split.events]
    return Written(split.name, path, len(split.events), examples, int(times.min()), int(times.max()))
