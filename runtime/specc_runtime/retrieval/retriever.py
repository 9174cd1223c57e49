"""The candidates of a request from an index: its vector, and the rows that are nearest to it.

Promises: an index is used with the model alone whose vectors it has. Of a request nothing is asked but what
its vector is computed from.
Leaves to others: to rank what was found (`specc_runtime.score`).

    retriever = Retriever.load("model", "items.index")
    found = retriever.retrieve(request, 200)
    scores = Scorer.load("ranking").score({**request, **found.candidates})
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from specc_runtime.batch import Batch
from specc_runtime.data import columns_of
from specc_runtime.data.columns import Typing
from specc_runtime.data.frames import PLAIN, batch_in
from specc_runtime.devices import Wanted
from specc_runtime.encode import Encoders, Origin
from specc_runtime.encode.store import load_trained
from specc_runtime.model import Model
from specc_runtime.retrieval.about import RetrievalError
from specc_runtime.retrieval.index import Floats, Index, Ints
from specc_runtime.score.quick import Quick
from specc_runtime.score.requests import check_finite, has_candidates, narrowed, output
from specc_runtime.score.rows import lists
from specc_runtime.score.sample import sample
from specc_runtime.score.values import Unusual

_ORIGIN = Origin("request", given=True)
OWN = ("request", "candidate", "similarity")  # what answers have of their own


@dataclass(frozen=True, eq=False)
class Found:
    """What was found for some requests, one request after another, the nearest first.

    counts: how many rows for each. rows: of the index, from 0. similarity: the products by which they were
    found; of cosines the cosines.
    items: the index's columns at those rows.
    """

    counts: Ints
    rows: Ints
    similarity: Floats
    items: pa.Table

    @property
    def candidates(self) -> dict[str, list[Any]]:
        """By column of the index, its values at the rows: what a request's candidates are, if there is
        one."""
        columns: dict[str, list[Any]] = self.items.to_pydict()
        return columns


class Retriever:
    """Finds candidates with a trained model and an index of its vectors."""

    def __init__(self, model: Model, encoders: Encoders, index: Index) -> None:
        """Raises RetrievalError where the index is of another model's vectors, or its columns are called like
        what is found."""
        require_names(index)
        index.made.require(str(model.manifest["name"]), model.saved_as or "", "the index")
        asked = _request_output(model.manifest, index)
        manifest = narrowed(model.manifest, asked)
        self.model, self.index = model.eval(), index
        self.manifest: Mapping[str, Any] = manifest
        self._encoders = replace(encoders, manifest=manifest)
        self._columns = columns_of(manifest, labels=False)
        self._quick = Quick(self._encoders, False)

    @staticmethod
    def load(model: str | Path, index: str | Path, devices: Wanted = None) -> Retriever:
        """That of a trained model's folder and an index's. Raises what `load` raises, and RetrievalError."""
        found = Index.load(index)
        return Retriever(*load_trained(model, devices), found)

    def retrieve(self, request: Mapping[str, Any], k: int = 100) -> Found:
        """The k rows of the index that are nearest to one request, fewer if it has fewer.

        request: by column its values, as in training. Raises DataError with every fault of it.
        """
        try:
            batch = self._quick.batch(request)
        except Unusual:
            batch = batch_in(self._encoders, [request], self._columns, Typing(PLAIN), _ORIGIN)
        return self._nearest(batch, _ORIGIN, k)

    def of_table(self, table: pa.Table, origin: Origin, k: int) -> Found:
        """The k nearest rows to each request of a table. Raises DataError."""
        return self._nearest(self._encoders.encode(table, origin, labels=False), origin, k)

    def warm(self) -> None:
        """Find candidates of a request of nothing in particular, so that all that is made once is there."""
        self._nearest(sample(self._encoders.schema, self.manifest, None, 3), _ORIGIN, 1)

    def _nearest(self, batch: Batch, origin: Origin, k: int) -> Found:
        name = str(self.index.made.request)
        vectors = output(self.model, name, batch).reshape(len(batch), -1)
        check_finite({name: vectors}, np.ones(len(batch), dtype=np.int64), origin, False)
        similarity, rows = self.index.nearest(vectors.astype(np.float32), k)
        there = rows >= 0
        chosen = rows[there]
        return Found(there.sum(1), chosen, similarity[there], self.index.items.take(pa.array(chosen)))


def _request_output(manifest: Mapping[str, Any], index: Index) -> str:
    """The output that an index compares its vectors with. Raises RetrievalError where the model has no such
    output of the request alone."""
    name, width = index.made.request, index.made.width
    entry = next((o for o in manifest.get("outputs", ()) if o["name"] == name), None)
    if name is None or entry is None:
        raise RetrievalError(f"the model has no output `{name}`")
    if entry["role"] != "request":
        raise RetrievalError(
            f"`{name}` is not of the request alone: make the index with another --request OUTPUT"
        )
    if entry["width"] != width:
        raise RetrievalError(
            f"`{name}` has {entry['width']} channels and the index's vectors {width}: their product is none; "
            "make the index with another --request OUTPUT"
        )
    return name


def require_names(index: Index, results: Iterable[str] = ()) -> None:
    """Raises RetrievalError where a column of an index is called like what else an answer has. results: what
    a ranking gives."""
    for name in index.items.column_names:
        if name in {*OWN, *results}:
            raise RetrievalError(
                f"the index has a column `{name}`, and what comes out has another of that name: make the "
                f"vectors with --keep {name}=NAME, and the index of them"
            )


def candidate_columns(manifest: Mapping[str, Any], index: Index) -> list[str]:
    """The columns of an index that a model reads of candidates. Raises RetrievalError where it lacks some, or
    the model has no candidates."""
    if not has_candidates(manifest):
        raise RetrievalError(f"`{manifest['name']}` has no candidates: it ranks nothing")
    names, lacking = list[str](), list[str]()
    for entry in manifest["fields"]:
        if entry["role"] != "candidate" or entry.get("training"):
            continue
        weight = entry["options"].get("weight")
        for choices in ((entry["column"], entry["fallback"]), *(((weight,),) if weight else ())):
            there = [c for c in choices if c in index.items.column_names]
            names += there[:1]
            lacking += [] if there else [str(choices[0])]
    if lacking:
        columns = ", ".join(f"`{name}`" for name in dict.fromkeys(lacking))
        raise RetrievalError(
            f"`{manifest['name']}` reads {columns} of candidates, and the index has "
            f"{', '.join(f'`{n}`' for n in index.items.column_names) or 'no column'}: make the vectors with "
            + " ".join(f"--keep {name}" for name in dict.fromkeys(lacking))
            + ", and the index of them"
        )
    return list(dict.fromkeys(names))


def with_candidates(table: pa.Table, found: Found, columns: Sequence[str] | Iterable[str]) -> pa.Table:
    """Requests with what was found for them as their candidates: columns of lists, in place of any."""
    for name in columns:
        values = found.items.column(name).combine_chunks()
        values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, lists(values, found.counts))
    return table
