"""From the events of some users to their examples: what every engine runs, on a part of the users at a time.

    for part in parts:                                  # of whole users, in any number, anywhere
        for name, examples in build(part, known): …     # "train", "test", and a table

Promises: pure; knows no files and no engine. The examples of a user are the same whatever other users come
with him, in whatever order the events are. Those of one call are in the order of time.

Events are a table with `user` and `item` (texts), `time` (nanoseconds since 1970), `file` and `place` (their
order in the log), and a column for each input, as `Global.names` calls it: keys and lists of them as texts,
numbers as float64, times as nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.build import TIME as SECOND_OF
from specc.prepare.build import build as requests_of
from specc.prepare.codes import Keys, Lists, Moments, Numbers, Values
from specc.prepare.events import BEHAVIOUR, FRACTION, ITEM, TIME, USER
from specc.prepare.facts import Facts, Known, ranked
from specc.prepare.mapping import Input
from specc.prepare.output import Decoding
from specc.prepare.scan import BEHAVIOUR_KEY, values_of
from specc.prepare.settle import label_codes, meanings, static_name
from specc.prepare.whole import VALUE, Global
from specc_runtime.data.columns import is_list
from specc_runtime.encode.clock import SECOND
from specc_runtime.encode.labels import of_requests

FILE, PLACE = "file", "place"


class Users(NamedTuple):
    """Some users' events as codes, all that is known of them, what their codes stand for, and how many users
    there are."""

    rows: npt.NDArray[Any]
    facts: Facts
    decoding: Decoding
    number: int


def build(events: pa.Table, known: Global) -> Iterator[tuple[str, pa.Table]]:
    """Yield the examples of whole users: the name of the part that they are in, and a table of them."""
    users = coded(events, known)
    make = users.decoding.requests if of_requests(known.manifest) else users.decoding.examples
    for table in requests_of(users.rows, users.facts, known.plan):
        times = table.column(SECOND_OF).to_numpy()
        for name, begin, end in known.parts:
            first, stop = np.searchsorted(times, [begin, end], side="left").tolist()
            if stop > first:
                yield name, make(table.slice(first, stop - first))


def coded(events: pa.Table, known: Global) -> Users:
    """Return the events with codes for keys."""
    order = np.lexsort([events.column(name).to_numpy() for name in (PLACE, FILE)])
    events = events.take(pa.array(order)).combine_chunks()
    users, items = Keys(USER in known.texts), Keys(pa.types.is_large_string(known.items.type))
    items.codes(known.items)
    moments = events.column(TIME).to_numpy()
    seconds = moments // SECOND
    columns: dict[str, npt.NDArray[Any]] = {
        USER: users.codes(_whole(events, USER)),
        ITEM: items.known(_whole(events, ITEM)),
        TIME: seconds,
        FRACTION: (moments - seconds * SECOND).astype(np.int32),
    }
    values: dict[Input, Values] = {}
    changes: dict[str, Known] = {}
    rank = np.arange(len(known.items), dtype=np.int64)
    since, span = known.totals.since, known.totals.until - known.totals.since + 2
    for wanted, name in known.names.items():
        column = _whole(events, name)
        values[wanted] = held = _holding(wanted, column.type, name in known.texts)
        if name in known.known:
            told = known.known[name]
            place, time = (told.column(n).to_numpy() for n in (ITEM, TIME))
            codes = held.codes(_whole(told, VALUE))
            changes[name] = Known(rank, place * span + (time - since), codes, since, span)
        columns[name] = held.codes(column)
    if BEHAVIOUR_KEY in values:
        columns[BEHAVIOUR] = columns[known.names[BEHAVIOUR_KEY]]
    static = {}
    for wanted in known.mapped.of("items"):
        column = _whole(known.static, static_name(wanted))
        values[wanted] = values_of(wanted, column.type)
        static[static_name(wanted)] = values[wanted].codes(column)
    kinds = values.get(BEHAVIOUR_KEY)
    facts = Facts(
        users.hashes(), ranked(users.hashes()), len(known.items), known.pool, since, span, changes, static,
        kinds.names() if isinstance(kinds, Keys) else {}, label_codes(known.mapped, values),
    )  # fmt: skip
    stand_for = meanings(known.mapped, known.plan, values, users, items)
    return Users(_rows(columns), facts, Decoding(known.plan, facts, users, stand_for), len(users.values))


def _rows(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    rows = np.empty(len(columns[USER]), dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        rows[name] = values
    return rows


def _holding(wanted: Input, kind: pa.DataType, texts: bool) -> Values:
    """Return what holds the values of an input, which keys are texts in the whole log or not."""
    if is_list(kind):
        return Lists(wanted.kind != "key", texts)
    if wanted.kind == "time":
        return Moments()
    return Keys(texts) if wanted.kind == "key" else Numbers()


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
