"""Predictions for rows: one row, one prediction.

Promises: the order of the rows; no label is asked for, and nothing that only losses read. What comes out is a
column of its own: probabilities of binary predictions, values of real ones; of class predictions a list of
probabilities, one a class in order, and beside it `NAME_class`, the likeliest class, by name where the labels
are texts (in the order of the texts). Where classes are the rows of a table, they are the likeliest one's
probability and its key. Other outputs are numbers, or lists of several channels. Of a model whose training
data are requests so are the rows, and what comes out are lists, with a value for each candidate.
Memory: `ROWS` rows at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from specc_runtime.batch import Batch
from specc_runtime.catalogue import keys_of_rows
from specc_runtime.data.files import by_rows, of_parts
from specc_runtime.encode import Encoders, Origin
from specc_runtime.encode.labels import of_requests
from specc_runtime.model import Model
from specc_runtime.score.requests import (
    Floats,
    check_finite,
    narrowed,
    output,
    parts_of,
    predictions,
)

ROWS = 4096


def predict(
    model: Model,
    encoders: Encoders,
    rows: Iterable[tuple[pa.Table, Origin]],
    keep: Mapping[str, str] | None = None,
    only: str | None = None,
) -> Iterator[pa.Table]:
    """Tables of predictions, with as many rows in all as the given ones.

    keep: columns that go along, each with its name in what comes out.
    only: the one output that is computed; nothing is asked of the rows but what it reads.
    Raises DataError with every fault, after what came before the first of them was given.
    """
    listed = only is None and of_requests(model.manifest)
    if only is not None:
        encoders = replace(encoders, manifest=narrowed(model.manifest, only))

    def predicted(part: pa.Table, where: Origin, batch: Batch) -> pa.Table:
        scores = predictions(model, batch) if only is None else {only: output(model, only, batch)}
        counts = np.ones(len(part), dtype=np.int64)
        if batch.candidates is not None:
            counts = batch.candidates.numpy()
        check_finite(scores, counts, where, listed)
        found = columns_of(encoders, scores)
        return pa.table(
            {
                **{name: part.column(column) for column, name in (keep or {}).items()},
                **({name: lists(x, counts) for name, x in found.items()} if listed else found),
            }
        )

    cut = (lambda table: parts_of(table, model.manifest)) if listed else by_rows(ROWS)
    return of_parts(rows, cut, partial(encoders.encode, candidates=listed, labels=False), predicted)


def names_of(manifest: Mapping[str, Any]) -> list[str]:
    """The columns of predictions and other outputs."""
    found = [
        name
        for p in manifest["predictions"]
        for name in ((p["name"], f"{p['name']}_class") if p["kind"] == "class" else (p["name"],))
    ]
    return found + [o["name"] for o in manifest.get("outputs", ())]


def columns_of(encoders: Encoders, scores: Mapping[str, Floats]) -> dict[str, pa.Array]:
    """By name, the columns of predictions and other outputs, one row a score."""
    found: dict[str, pa.Array] = {}
    for prediction in encoders.manifest["predictions"]:
        name, values = prediction["name"], scores[prediction["name"]]
        if prediction.get("rows"):
            rows = scores[f"{name}_class"].astype(np.int64)
            keys = keys_of_rows(encoders, prediction, rows.reshape(-1))
            counts = [values.shape[1]] * len(values)
            lone, flat = values.shape[1] == 1, pa.array(values.reshape(-1))
            found[name] = flat if lone else lists(flat, counts)
            found[f"{name}_class"] = keys if lone else lists(keys, counts)
            continue
        if values.ndim == 1:
            found[name] = pa.array(values)
        else:
            found[name] = lists(values.reshape(-1), [values.shape[1]] * len(values))
            found[f"{name}_class"] = classes(encoders, name, values.argmax(1))
    for entry in encoders.manifest.get("outputs", ()):
        values = scores[entry["name"]]
        flat = pa.array(values.reshape(-1))
        found[entry["name"]] = flat if values.ndim == 1 else lists(flat, [values.shape[1]] * len(values))
    return found


def classes(encoders: Encoders, prediction: str, places: Any) -> pa.Array:
    """Some classes, from 0: by name where the training data's labels are texts."""
    found, names = pa.array(places, pa.int64()), encoders.classes.get(prediction)
    return found if names is None else pa.array(names, pa.large_string()).take(found)


def lists(values: Any, counts: Sequence[int] | Any) -> pa.Array:
    """Values (an array of numpy or Arrow) as lists of given lengths."""
    found = values if isinstance(values, pa.Array) else pa.array(values)
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), found)
