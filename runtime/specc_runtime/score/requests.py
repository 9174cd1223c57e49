"""Requests with candidates: what is of the request is computed once, not once a candidate.

Promises: a request is a row (or a JSON line) whose candidates' columns are lists; scores come in the order of
the candidates, as probabilities of binary and class predictions and as values of real ones. A request
without candidates has no scores. A model that has no candidates at all has one score a request. A score that
is not finite is a fault, and never given out.
Memory: a part of the requests, of at most `TOGETHER` requests or about `ROWS` candidates.
Leaves to others: reading files (data), writing what comes out.

    for scored in score(model, encoders, read_requests("requests.jsonl", model.manifest)):
        places = best(scored, "click", 10)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from specc_runtime import data
from specc_runtime.batch import Batch
from specc_runtime.catalogue import best_rows
from specc_runtime.data import Dialect
from specc_runtime.data.files import PLAIN, of_parts
from specc_runtime.encode import DataError, Encoders, Fault, Origin
from specc_runtime.encode.labels import within
from specc_runtime.encode.vocabulary import mix
from specc_runtime.feed import read_by
from specc_runtime.model import Model

TOGETHER, ROWS = 256, 1 << 16  # requests and candidates in one batch
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of some requests.

    first: the row of the first of them in their file, from 1. counts: how many scores each has: as many as
        candidates; 1 of a model that has no candidates.
    scores: by prediction or other output, float64 [sum(counts)], of several channels or classes
        [sum(counts), n].
    rows: the requests' own table.
    """

    first: int
    counts: Ints
    scores: Mapping[str, Floats]
    rows: pa.Table


def has_candidates(manifest: Mapping[str, Any]) -> bool:
    """Whether a model predicts for the candidates of a request, or for the request itself."""
    return any(f["role"] == "candidate" and not f.get("training") for f in manifest["fields"])


def read_requests(
    path: str | Path, manifest: Mapping[str, Any], dialect: Dialect = PLAIN
) -> Iterator[tuple[pa.Table, Origin]]:
    """The requests of a file, in the columns that a model reads. Raises DataError."""
    columns = data.columns_of(manifest, candidates=has_candidates(manifest), labels=False)
    yield from data.read_tables([Path(path)], columns, dialect)


def score(
    model: Model, encoders: Encoders, requests: Iterable[tuple[pa.Table, Origin]], most: int = 1
) -> Iterator[Scored]:
    """The scores of all candidates of requests, part by part.

    most: how many classes are given where they are the rows of a table, the likeliest first.
    Raises DataError with every fault, after what came before the first of them was given.
    """
    per_candidate = has_candidates(model.manifest)

    def scored(part: pa.Table, where: Origin, batch: Batch) -> Scored:
        counts = np.ones(len(part), dtype=np.int64)
        if batch.candidates is not None:
            counts = batch.candidates.numpy()
        scores = predictions(model, batch, most)
        check_finite(scores, counts, where, per_candidate)
        return Scored(where.first, counts, scores, part)

    read = partial(encoders.encode, candidates=per_candidate, labels=False)
    return of_parts(requests, lambda table: parts_of(table, model.manifest), read, scored)


def predictions(model: Model, batch: Batch, most: int = 1) -> dict[str, Floats]:
    """By prediction: probabilities of binary and class predictions, values of real ones, within the range
    that the spec gives them; by other output its values; float64 [rows] or [rows, n]. Where classes are the
    rows of a table: of the `most` likeliest ones, the best first, and by `NAME_class` their rows. The model
    is in evaluation mode for it, and afterwards in the mode it was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            given = read_by(model, batch)
            outputs = model.candidate_part(model.request_part(given), given)
    finally:
        model.train(training)
    return meant(model, outputs, most)


def meant(model: Model, outputs: Mapping[str, torch.Tensor], most: int = 1) -> dict[str, Floats]:
    """What a model gives as it is meant, as `predictions` says; float64 on the host."""
    found: dict[str, Floats] = {}
    for p in model.manifest["predictions"]:
        if p.get("rows"):
            chances, rows = best_rows(model, p, outputs[p["name"]], most)
            found |= {p["name"]: chances, f"{p['name']}_class": rows.astype(np.float64)}
        else:
            found[p["name"]] = _meant(p, outputs[p["name"]])
    others = (o["name"] for o in model.manifest.get("outputs", ()))
    return found | {name: outputs[name].double().cpu().numpy() for name in others}


def output(model: Model, name: str, batch: Batch) -> Floats:
    """One output by itself, of a batch that has what it reads; float64 [rows] or [rows, width]. As for
    `predictions`, in evaluation mode."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            found: Floats = model.output(name, batch).double().cpu().numpy()
    finally:
        model.train(training)
    return found


def narrowed(manifest: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A manifest that reads and gives nothing but one output. Raises KeyError if there is none of the
    name."""
    entry = next((o for o in manifest.get("outputs", ()) if o["name"] == name), None)
    if entry is None:
        raise KeyError(name)
    read = set(entry["fields"])
    return {
        **manifest,
        "fields": [{**f, "training": False} for f in manifest["fields"] if f["path"] in read],
        "crosses": [c for c in manifest.get("crosses", ()) if c["path"] in read],
        "predictions": [],
        "outputs": [entry],
    }


def best(scored: Scored, prediction: str, k: int | None = None, *, seed: int = 0) -> list[Ints]:
    """For each request the places of its best k candidates (of all, without k), the best first.

    Of a class prediction of a model without candidates they are the places of classes. Candidates of equal
    scores come in an order of their own: it depends on the seed, the request's row and the candidate's
    place alone, and prefers no place.
    """
    values, counts = scored.scores[prediction], scored.counts
    if values.ndim == 2:
        counts, values = np.full(len(counts), values.shape[1]), values.reshape(-1)
    owner = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(values)) - starts[owner]
    order = np.lexsort((_lots(seed, scored.first + owner, place), -values, owner))
    kept = counts if k is None else np.minimum(counts, min(k, len(values)))
    return [order[start : start + n] - start for start, n in zip(starts.tolist(), kept.tolist(), strict=True)]


def _lots(seed: int, request: Ints, place: Ints) -> npt.NDArray[np.uint64]:
    """A number for each candidate, by which ties are broken."""
    start = mix(np.array([seed % 2**64], dtype=np.uint64) + np.uint64(1))
    return mix(mix(request.astype(np.uint64) + start) + place.astype(np.uint64))


def parts_of(table: pa.Table, manifest: Mapping[str, Any]) -> Iterator[tuple[int, pa.Table]]:
    """Slices of a table, each with its first row (from 0)."""
    candidates = np.ones(len(table), dtype=np.int64)
    for entry in manifest["fields"]:
        for name in (entry["column"], entry["fallback"]):
            if entry["role"] == "candidate" and name in table.column_names:
                kind = table.column(name).type
                if pa.types.is_list(kind) or pa.types.is_large_list(kind):
                    lengths = pc.fill_null(pc.list_value_length(table.column(name)), 0)
                    candidates = np.maximum(candidates, lengths.to_numpy().astype(np.int64))
    begin, rows = 0, 0
    for row, count in enumerate(candidates.tolist()):
        if row > begin and (row - begin == TOGETHER or rows + count > ROWS):
            yield begin, table.slice(begin, row - begin)
            begin, rows = row, 0
        rows += count
    if begin < len(table):
        yield begin, table.slice(begin)


def _meant(prediction: Mapping[str, Any], output: torch.Tensor) -> Any:
    output = within(prediction, output)
    match prediction["kind"]:
        case "binary":
            output = torch.sigmoid(output.double())
        case "class":
            output = torch.softmax(output.double(), -1)
    return output.double().cpu().numpy()


def check_finite(scores: Mapping[str, Floats], counts: Ints, origin: Origin, per_candidate: bool) -> None:
    """Raise DataError if a score is not finite. counts: scores of each row from the origin on."""
    faults = []
    for name, values in scores.items():
        bad = ~np.isfinite(values) if values.ndim == 1 else ~np.isfinite(values).all(1)
        if bad.any():
            first = int(bad.argmax())
            row = int(np.searchsorted(np.cumsum(counts), first, side="right"))
            place = first - int(counts[:row].sum()) + 1
            value = values[first] if values.ndim == 1 else values[first][~np.isfinite(values[first])][0]
            of = f" of candidate {place}" if per_candidate else ""
            faults.append(
                Fault(
                    origin.file,
                    f"the score `{name}`{of} is {value}, no finite number",
                    row=origin.row(row),
                    line=origin.line_of(row),
                    help=NOT_FINITE,
                    more=int(bad.sum()) - 1,
                )
            )
    if faults:
        raise DataError(faults)


NOT_FINITE = (
    "a weight of the model is not finite, or a number of the row is too large for it: train again with a "
    "smaller learning rate or with --clip, and scale numbers in the spec (`standard`, `log1p`)"
)
