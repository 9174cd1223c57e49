"""What is answered to requests: a row each.

Promises: the columns are the same whatever the requests; lists are in the order of the candidates, or, of the
best ones, the best first, with their places and keys beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from specc_runtime.encode import Encoders
from specc_runtime.encode.columns import unpack
from specc_runtime.score.requests import Ints, Scored, best, has_candidates
from specc_runtime.score.rows import classes, columns_of, lists

KEYS = ("ids", "vocab", "hash")


def answers(
    scored: Scored,
    encoders: Encoders,
    *,
    number: int = 1,
    by: str | None = None,
    k: int | None = None,
    seed: int = 0,
    keep: Mapping[str, str] | None = None,
) -> pa.Table:
    """A row a request: `request` with its number, and by prediction a list with a score a candidate.

    number: that of the first request.
    by, k: give the best k candidates by a prediction alone: `candidate` has their places, counted from 0, and
        the columns that name them (keys of candidates) their keys. Of a model without candidates, the best
        classes of a class prediction.
    keep: columns of the requests that go along, each with its name here.
    """
    manifest, rows = encoders.manifest, len(scored.counts)
    found: dict[str, Any] = {"request": pa.array(np.arange(number, number + rows))}
    found |= {name: scored.rows.column(column) for column, name in (keep or {}).items()}
    if not has_candidates(manifest):
        found |= columns_of(encoders, scored.scores)
        entry = next((p for p in manifest["predictions"] if p["name"] == by), None)
        if by is not None and entry is not None and not entry.get("rows"):
            found |= _best_classes(scored, encoders, by, k, seed)
        return pa.table(found)
    counts, order = scored.counts, None
    if by is not None:
        places = best(scored, by, k, seed=seed)
        before = np.cumsum(scored.counts) - scored.counts
        counts = np.array([len(p) for p in places], dtype=np.int64)
        place = np.concatenate([*places, np.zeros(0, np.int64)])
        order = np.repeat(before, counts) + place
        found["candidate"] = lists(place, counts)
        owner = np.repeat(np.arange(rows), counts)
        for name in named_by(manifest):
            if name in scored.rows.column_names:
                found[name] = lists(_at(scored.rows.column(name), scored.counts, owner, place), counts)
    for name, values in columns_of(encoders, scored.scores).items():
        chosen = values if order is None else values.take(pa.array(order))
        found[name] = lists(chosen, counts)
    return pa.table(found)


def named_by(manifest: Mapping[str, Any]) -> list[str]:
    """The columns whose values are keys of the candidates."""
    found = [
        name
        for f in manifest["fields"]
        if f["role"] == "candidate" and not f["axes"] and f["encoding"] in KEYS
        for name in (f["column"], f["fallback"])
        if name is not None
    ]
    return list(dict.fromkeys(found))


def _best_classes(
    scored: Scored, encoders: Encoders, by: str, k: int | None, seed: int
) -> dict[str, pa.Array]:
    places = best(scored, by, k, seed=seed)
    counts = [len(p) for p in places]
    values = scored.scores[by]
    chosen = np.concatenate([values[row][p] for row, p in enumerate(places)] or [np.zeros(0)])
    place = np.concatenate([*places, np.zeros(0, np.int64)])
    return {by: lists(chosen, counts), f"{by}_class": lists(classes(encoders, by, place), counts)}


def _at(column: pa.ChunkedArray, counts: Ints, owner: Ints, place: Ints) -> pa.Array:
    """The values of a column of lists at some places of some rows; null where a row's list is absent."""
    packed = unpack(column, (None,))
    lengths = packed.lengths[0]
    starts = np.cumsum(lengths) - lengths
    there = lengths[owner] == counts[owner]
    index = pa.array(np.where(there, starts[owner] + place, 0), mask=~there)
    return packed.values.take(index)
