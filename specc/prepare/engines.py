"""Preparing with an engine of one's own: the log's events as tables, and what is known of all of them.

    known = scan(manifest, log, settings)               # once, on one machine
    tables = events(log, known)                         # to be divided by user, by whatever engine
    for name, examples in build(part, known): …         # anywhere, a part at a time (users)

`specc prepare` on one machine is quicker than that, as it needs no keys but once; it gives the same examples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.codes import Keys, Lists, Values
from specc.prepare.events import ITEM, TIME, USER
from specc.prepare.facts import Pool
from specc.prepare.mapped import Table, map_all
from specc.prepare.mapping import Input, columns_alone
from specc.prepare.raw import Raw, open_files
from specc.prepare.reading import Reader
from specc.prepare.run import MEMORY, Run
from specc.prepare.scan import ITEM_KEY, USER_KEY, counted
from specc.prepare.settings import Settings, bytes_of
from specc.prepare.splits import parts_of
from specc.prepare.totals import Totals
from specc.prepare.users import FILE, PLACE
from specc.prepare.whole import VALUE, Global
from specc_runtime.data.columns import is_list
from specc_runtime.encode.clock import SECOND

Ints = npt.NDArray[np.int64]
Piece = tuple[Mapping[Input, pa.Array], Ints, Ints]


def scan(
    manifest: Mapping[str, Any], log: Path | Sequence[Path], settings: Settings, memory: str = MEMORY
) -> Global:
    """Return what is known of a log. Raises PrepareError and DataError."""
    manifest = columns_alone(manifest)
    files, items = opened(log, settings)
    mapped = map_all(manifest, files[0].table, items[0].table if items else None, settings)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(mapped, files, items, Path(folder), bytes_of(memory), lambda what, done, whole: None)
        return _global(run, files[0].table, items[0].table if items else None)


def opened(log: Path | Sequence[Path], settings: Settings) -> tuple[list[Raw], list[Raw]]:
    """Return the files of a log, and of items. Raises PrepareError and DataError."""
    files = open_files([log] if isinstance(log, Path) else log, settings, settings.columns)
    items = open_files([Path(settings.items)], settings, settings.item_columns) if settings.items else []
    return files, items


def _global(run: Run, log: Table, items: Table | None) -> Global:
    found, facts = run.scan, run.facts
    hashes = found.items.hashes()
    order = np.argsort(hashes, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    by_name = {name: found.values[wanted] for wanted, name in found.names.items()}
    known = {
        name: pa.table(
            {
                ITEM: (held.keys // held.span).astype(np.int64),
                TIME: held.keys % held.span + held.since,
                VALUE: by_name[name].take(held.values),
            }
        )
        for name, held in facts.known.items()
    }
    of_items = {name: run.static_values(name).take(held[order]) for name, held in facts.static.items()}
    texts = {name for name, keys in ((USER, found.users), (ITEM, found.items)) if _of_texts(keys)}
    texts |= {name for name, held in by_name.items() if _of_texts(held)}
    return Global(
        run.mapped.manifest,
        run.mapped.settings,
        log,
        items,
        found.totals,
        frozenset(texts),
        found.items.values.take(pa.array(order)),
        Pool(rank[facts.pool.items].astype(np.int32), facts.pool.times, facts.pool.offset),
        known,
        pa.table(of_items),
        tuple(parts_of(*run.times_of(), run.mapped.settings)),
    )


def _of_texts(values: Values) -> bool:
    keys = values.inner if isinstance(values, Lists) else values
    return isinstance(keys, Keys) and pa.types.is_large_string(keys.values.type)


def events(log: Path | Sequence[Path], known: Global) -> Iterator[pa.Table]:
    """Yield the events of a log, as `build` takes them. Raises PrepareError and DataError."""
    files, _ = opened(log, known.settings)
    mapped = known.mapped
    for number, file in enumerate(files):
        reader = Reader([file], mapped.places, mapped.settings, ("user", "item"), file.names)
        pieces = reader.pieces([USER_KEY, ITEM_KEY, *known.names], timed=True)
        for table, lines in typed(pieces, known.names, known.settings, Totals()):
            yield table.append_column(FILE, pa.array(np.full(len(table), number, np.int32))).append_column(
                PLACE, pa.array(lines)
            )


def typed(
    pieces: Iterable[Piece], names: Mapping[Input, str], settings: Settings, totals: Totals
) -> Iterator[tuple[pa.Table, Ints]]:
    """Yield the events of a log that is read, within the bounds, and their lines. They are counted in
    totals."""
    for columns, moments, lines in pieces:
        kept = totals.within(moments // SECOND, settings)
        if not kept.all():
            mask = pa.array(kept)
            columns = {wanted: values.filter(mask) for wanted, values in columns.items()}
            moments, lines = moments[kept], lines[kept]
        if not len(moments):
            continue
        totals.add(moments // SECOND, counted(columns, names), settings)
        found = {USER: _plain(columns[USER_KEY]), ITEM: _plain(columns[ITEM_KEY]), TIME: pa.array(moments)}
        found |= {name: _plain(columns[wanted], wanted.kind) for wanted, name in names.items()}
        yield pa.table(found), lines


def _plain(values: pa.Array, kind: str = "key") -> pa.Array:
    """Return values in the form that they have whatever the log's other events hold."""
    if is_list(values.type):
        inner = _plain(values.values, kind)
        absent = values.is_null() if values.null_count else None
        return pa.LargeListArray.from_arrays(values.offsets, inner, mask=absent)
    if kind == "key":
        return values.cast(pa.large_string())
    if kind == "time":
        return values.cast(pa.int64())
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return pa.array(numbers, from_pandas=True)  # NaN is no value
