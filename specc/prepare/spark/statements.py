"""What is known of a whole log, from its events: a few statements of SQL, and what they give as `Global` has
it.

Promises: equal to what one machine knows (scan, facts), whatever the order of the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.catalogue import read_catalogue
from specc.prepare.codes import Keys
from specc.prepare.events import ITEM, TIME
from specc.prepare.facts import DAY, Pool
from specc.prepare.mapped import Mapped, Table
from specc.prepare.raw import Raw
from specc.prepare.reading import Reader
from specc.prepare.settings import Settings
from specc.prepare.settle import static_name
from specc.prepare.spark.reading import Columns, Told
from specc.prepare.totals import offset_of
from specc.prepare.users import FILE, PLACE
from specc.prepare.whole import VALUE, Global
from specc_runtime.encode.clock import SECOND
from specc_runtime.encode.vocabulary import hashed

Ints = npt.NDArray[np.int64]
EVENTS = "arec_events"
_SECOND = f"(time - pmod(time, {SECOND})) div {SECOND}"


def first_of_days(settings: Settings) -> str:
    """Return the statement for the first event of every item on every day."""
    moved = f"second + {offset_of(settings)}"
    return (
        "select item, min(second) as time from "
        f"(select item, second, ({moved} - pmod({moved}, {DAY})) div {DAY} as day from "
        f"(select item, {_SECOND} as second from {EVENTS})) group by item, day"
    )


EVERY = f"select item, {_SECOND} as time from {EVENTS}"


def changes(column: str) -> str:
    """Return the statement for the events in which a column of an item was other than in the event before,
    among those that have a value."""
    return (
        f"select item, {_SECOND} as second, time, file, place, value from "
        f"(select item, time, file, place, {column} as value, "
        f"lag({column}) over (partition by item order by time, file, place) as was "
        f"from {EVENTS} where {column} is not null) where not (value <=> was)"
    )


def known_of(
    session: Any,
    mapped: Mapped,
    log: Table,
    files_of_items: Sequence[Raw],
    columns: Columns,
    told: Told,
) -> tuple[Global, list[str]]:
    """Return what is known of the events, which Spark has as `EVENTS`, but the parts; and what there is to
    say of the file of items. Raises DataError."""
    settings = mapped.settings
    popular = settings.sampling == "popularity"
    drawn = session.sql(EVERY if popular else first_of_days(settings)).toArrow()
    places, items = _items(drawn, "item" in told.texts)
    pool = Pool.of(places, drawn.column(TIME).to_numpy(), offset_of(settings), hashed(items.values))
    known = {
        columns.names[wanted]: _changes(session.sql(changes(columns.names[wanted])).toArrow(), items)
        for wanted in mapped.of_sampled
    }
    table, static, notes = None, pa.table({}), []
    if files_of_items:
        table = files_of_items[0].table
        reader = Reader(files_of_items, mapped.item_places, settings, ("item",), files_of_items[0].names)
        found = read_catalogue(reader, mapped.of("items"), items, str(files_of_items[0].path))
        static = pa.table({static_name(i): found.values[i].take(held) for i, held in found.held.items()})
        notes = found.notes
    known_all = Global(
        mapped.manifest,
        settings,
        log,
        table,
        told.totals,
        frozenset(told.texts),
        items.values,
        pool,
        known,
        static,
    )
    return known_all, notes


def _items(drawn: pa.Table, texts: bool) -> tuple[npt.NDArray[Any], Keys]:
    """Return the item of each row, as its place among all, and all, by their hashes."""
    every = Keys(texts)
    codes = every.codes(_whole(drawn, ITEM))
    order = np.argsort(every.hashes(), kind="stable")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    ordered = Keys(texts)
    ordered.codes(every.values.take(pa.array(order)))
    return rank[codes], ordered


def _changes(found: pa.Table, items: Keys) -> pa.Table:
    places = items.known(_whole(found, ITEM)).astype(np.int64)
    keys = [found.column(name).to_numpy() for name in (PLACE, FILE, "time")]
    order = pa.array(np.lexsort([*keys, places]))
    table = pa.table({ITEM: pa.array(places), TIME: found.column("second"), VALUE: found.column("value")})
    return table.take(order).combine_chunks()


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def moments_in(counted: pa.Table) -> tuple[Ints, Ints]:
    """Return every second that has examples, ascending, and how many."""
    times, counts = (counted.column(name).to_numpy() for name in ("second", "count"))
    order = np.argsort(times)
    return times[order].astype(np.int64), counts[order].astype(np.int64)
