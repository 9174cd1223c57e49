"""The one pass over a log: its events as numbers, kept by user, and what the whole of it says.

Promises: a line that lacks a user, an item or a time is skipped and counted; any other fault of a value ends
the reading. Nothing is changed: keys are what they are, and numbers are as written.
Memory: a piece of the log, the keys of its columns, and what is asked for of rows that are kept.
"""

from __future__ import annotations

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
from specc.prepare.settings import Settings
from specc.prepare.spill import Spill
from specc.prepare.totals import Totals
from specc_runtime.encode.clock import SECOND

Ints = npt.NDArray[np.int64]
USER_KEY, ITEM_KEY = Input("log", "user", "key"), Input("log", "item", "key")
BEHAVIOUR_KEY = Input("log", "behaviour", "key")


class Pieces(Protocol):
    """A log that is read piece by piece: of each the values of some inputs, nanoseconds since 1970, and the
    lines; none is null in users, items and times."""

    def __iter__(self) -> Iterator[tuple[Mapping[Input, pa.Array], Ints, Ints]]: ...


@dataclass(frozen=True, eq=False)
class Scan:
    """What was read. by_user, by_item: all events, kept by those; by_item only where it is needed.

    names: by input, its column in the rows of events. values: by input, what its codes stand for.
    """

    users: Keys
    items: Keys
    names: Mapping[Input, str]
    values: Mapping[Input, Values]
    by_user: Spill
    by_item: Spill | None
    totals: Totals

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
        since, span = self.totals.since, self.totals.until - self.totals.since + 2
        return changes(self.by_item.groups(most), [self.names[i] for i in inputs], rank, since, span)


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
    users, items, totals = Keys(), Keys(), Totals()
    names = columns_of(inputs)
    values: dict[Input, Values] = {}
    by_user = Spill(folder / "users", memory // 8)
    by_item = Spill(folder / "items", memory // 16) if of_items is not None else None
    for columns, moments, _ in pieces:
        times = moments // SECOND
        kept = totals.within(times, settings)
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
        if BEHAVIOUR_KEY in names:
            rows[BEHAVIOUR] = rows[names[BEHAVIOUR_KEY]]
        by_user.add((users.hashes()[rows[USER]] >> np.uint64(56)).astype(np.uint8), rows)
        if by_item is not None and of_items is not None:
            wanted_rows = {name: rows[name] for name in (ITEM, TIME, FRACTION, *(names[i] for i in of_items))}
            by_item.add((items.hashes()[rows[ITEM]] >> np.uint64(56)).astype(np.uint8), wanted_rows)
        totals.add(times, counted(columns, names), settings)
        told(totals.events)
    return Scan(users, items, names, values, by_user, by_item, totals.checked())


def columns_of(inputs: Sequence[Input]) -> dict[Input, str]:
    """Return what the columns of inputs are called in the rows of events."""
    return {wanted: f"c{number}" for number, wanted in enumerate(inputs)}


def counted(columns: Mapping[Input, pa.Array], names: Mapping[Input, str]) -> dict[str, pa.Array]:
    """Return what totals count, by the names in the rows of events."""
    found = {names[i]: columns[i] for i in names}
    return {**found, BEHAVIOUR: columns[BEHAVIOUR_KEY]} if BEHAVIOUR_KEY in names else found


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
