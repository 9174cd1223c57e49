"""The one pass over a log: its events as numbers, kept by user, and what the whole of it says.

Promises: a line that lacks a user, an item or a time is skipped and counted; any other fault of a value ends
the reading. Nothing is changed: keys are what they are, and numbers are as written.
Memory: a piece of the log, the keys of its columns, and what is asked for of rows that are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.codes import Keys, Lists, Moments, Numbers, Values
from specc.prepare.events import BEHAVIOUR, FRACTION, ITEM, TIME, USER
from specc.prepare.facts import DAY, Known, Pool, changes, ranked
from specc.prepare.mapping import Input
from specc.prepare.settings import PrepareError, Settings, moment
from specc.prepare.spill import Spill
from specc_runtime.encode.clock import SECOND

Ints = npt.NDArray[np.int64]
USER_KEY, ITEM_KEY = Input("log", "user", "key"), Input("log", "item", "key")
BEHAVIOUR_KEY = Input("log", "behaviour", "key")


class Pieces(Protocol):
    """A log that is read piece by piece: of each the values of some inputs, and nanoseconds since 1970; none
    is null in users, items and times."""

    def __iter__(self) -> Iterator[tuple[Mapping[Input, pa.Array], Ints]]: ...


@dataclass(frozen=True, eq=False)
class Scan:
    """What was read. by_user, by_item: all events, kept by those; by_item only where it is needed.

    names: by input, its column in the rows of events. values: by input, what its codes stand for. days: how
    many events each day has. ranges: by input of numbers, the least and the greatest. absent: by
    input, how many events have none. kinds: the behaviours
    of the log, the most frequent first.
    """

    users: Keys
    items: Keys
    behaviours: Keys
    names: Mapping[Input, str]
    values: Mapping[Input, Values]
    by_user: Spill
    by_item: Spill | None
    events: int
    since: int
    until: int
    days: Mapping[int, int]
    left_out: Mapping[str, int]
    ranges: Mapping[Input, tuple[float, float]]
    absent: Mapping[Input, int]
    kinds: list[str]

    def pool(self, sampling: str, offset: int, most: int) -> Pool:
        """Return what may be drawn. offset: seconds from UTC to where days begin. most: bytes read at
        once."""
        hashes = self.items.hashes()
        if sampling != "uniform":
            assert self.by_item is not None
            rows = list(self.by_item.groups(most))
            items, times = (np.concatenate([r[name] for r in rows]) for name in (ITEM, TIME))
            return Pool.of(items, times, offset, hashes)
        found = [_first_of_days(g[ITEM], g[TIME], offset) for g in self.by_user.groups(most)]
        items, times = (np.concatenate(part) for part in zip(*found, strict=True))
        return Pool.of(*_first_of_days(items, times, offset), offset, hashes)

    def known(self, inputs: Sequence[Input], most: int) -> dict[str, Known]:
        """Return of some inputs, by column, what they were for each item at any time."""
        if not inputs:
            return {}
        assert self.by_item is not None
        rank = ranked(self.items.hashes())
        span = self.until - self.since + 2
        return changes(self.by_item.groups(most), [self.names[i] for i in inputs], rank, self.since, span)


def scan(
    pieces: Pieces,
    inputs: Sequence[Input],
    settings: Settings,
    folder: Path,
    memory: int,
    of_items: Sequence[Input] | None,
    told: Callable[[int], None],
) -> Scan:
    """Read a log. inputs: besides users, items and times. of_items: those that are asked for by item, too;
    None if the events by item are not. told: of how many events were read. Raises PrepareError, Unfit."""
    users, items = Keys(), Keys()
    names = {wanted: f"c{number}" for number, wanted in enumerate(inputs)}
    values: dict[Input, Values] = {}
    by_user = Spill(folder / "users", memory // 8)
    by_item = Spill(folder / "items", memory // 16) if of_items is not None else None
    days: Counter[int] = Counter()
    behaviours: Counter[int] = Counter()
    left_out: Counter[str] = Counter()
    ranges: dict[Input, tuple[float, float]] = {}
    absent: Counter[Input] = Counter()
    bounds = _bounds(settings)
    events, since, until = 0, None, None
    for columns, moments in pieces:
        times = moments // SECOND
        kept = np.ones(len(times), dtype=bool)
        for name, at, before in bounds:
            out = (times < at if before else times >= at) & kept
            left_out[name] += int(out.sum())
            kept &= ~out
        if not kept.all():
            mask = pa.array(kept)
            columns = {i: c.filter(mask) for i, c in columns.items()}
            times, moments = times[kept], moments[kept]
        if not len(times):
            continue
        rows: dict[str, npt.NDArray[Any]] = {
            USER: users.codes(columns[USER_KEY]),
            ITEM: items.codes(columns[ITEM_KEY]),
            TIME: times,
            FRACTION: (moments - times * SECOND).astype(np.int32),
        }
        for wanted in inputs:
            if wanted not in values:
                values[wanted] = values_of(wanted, columns[wanted].type)
            rows[names[wanted]] = values[wanted].codes(columns[wanted])
            absent[wanted] += columns[wanted].null_count
            if isinstance(values[wanted], Numbers):
                _widen(ranges, wanted, rows[names[wanted]])
        if BEHAVIOUR_KEY in names:
            rows[BEHAVIOUR] = rows[names[BEHAVIOUR_KEY]]
            behaviours.update(dict(zip(*_counts(rows[BEHAVIOUR]), strict=True)))
        by_user.add((users.hashes()[rows[USER]] >> np.uint64(56)).astype(np.uint8), rows)
        if by_item is not None and of_items is not None:
            wanted_rows = {name: rows[name] for name in (ITEM, TIME, FRACTION, *(names[i] for i in of_items))}
            by_item.add((items.hashes()[rows[ITEM]] >> np.uint64(56)).astype(np.uint8), wanted_rows)
        days.update(dict(zip(*_counts((times + round(settings.utc_offset * 3600)) // 86400), strict=True)))
        events += len(times)
        least, most = int(times.min()), int(times.max())
        since, until = (
            min(least, since if since is not None else least),
            max(most, until if until is not None else most),
        )
        told(events)
    if since is None or until is None:
        raise PrepareError(_none(left_out))
    kinds = values.get(BEHAVIOUR_KEY, Keys())
    assert isinstance(kinds, Keys)
    listed = [str(kinds.values[code].as_py()) for code, _ in behaviours.most_common() if code >= 0]
    return Scan(
        users, items, kinds, names, values, by_user, by_item, events, since, until,
        days, {k: v for k, v in left_out.items() if v}, ranges, absent, listed,
    )  # fmt: skip


def _first_of_days(items: npt.NDArray[Any], times: Ints, offset: int) -> tuple[npt.NDArray[Any], Ints]:
    """Return of every day each item once, and when it first came on it."""
    days = (times + offset) // DAY
    order = np.lexsort((times, items, days))
    items, times, days = items[order], times[order], days[order]
    new = np.ones(len(items), dtype=bool)
    new[1:] = (items[1:] != items[:-1]) | (days[1:] != days[:-1])
    return items[new], times[new]


def values_of(wanted: Input, kind: pa.DataType) -> Values:
    """Return what holds the values of an input whose column has that type."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return Lists(wanted.kind != "key")
    if wanted.kind == "time":
        return Moments()
    return Keys() if wanted.kind == "key" else Numbers()


def _counts(values: npt.NDArray[Any]) -> tuple[list[int], list[int]]:
    found, counts = np.unique(values, return_counts=True)
    return found.tolist(), counts.tolist()


def _widen(ranges: dict[Input, tuple[float, float]], wanted: Input, values: npt.NDArray[Any]) -> None:
    there = values[~np.isnan(values)]
    if len(there):
        least, most = ranges.get(wanted, (np.inf, -np.inf))
        ranges[wanted] = (min(least, float(there.min())), max(most, float(there.max())))


def _bounds(settings: Settings) -> list[tuple[str, int, bool]]:
    found = []
    for text, word, before in ((settings.begin, "before", True), (settings.end, "from", False)):
        if text is not None:
            found.append((f"{word} {text}", moment(text, settings.utc_offset), before))
    return found


def _none(left_out: Mapping[str, int]) -> str:
    if any(left_out.values()):
        return "no event lies within the bounds --from and --to"
    return "the log has no event that could be read"


def thin_days(days: Mapping[int, int]) -> list[str]:
    """Return a warning of events on days, before or after the others, that hardly have any."""
    usual = float(np.median(sorted(days.values(), reverse=True)[: max(len(days) // 2, 1)]))
    busy = [day for day, n in sorted(days.items()) if n >= usual * 0.01]
    notes = []
    for outside, flag, bound in (
        ([n for day, n in days.items() if day < busy[0]], "--from", busy[0]),
        ([n for day, n in days.items() if day > busy[-1]], "--to", busy[-1] + 1),
    ):
        if outside:
            date, side = np.datetime64(int(bound), "D"), "before" if flag == "--from" else "from"
            notes.append(
                f"warning: {sum(outside):,} events lie {side} {date}, on days that hardly have any; "
                f"leave them out with {flag} {date}"
            )
    return notes
