"""Requests with candidates: what is of the request is computed once, not once a candidate.

Promises: a request is a row (or a JSON line) whose candidates' columns are lists; scores come in the order of
the candidates, as probabilities of binary and class predictions and as values of real ones. A request
without candidates has no scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from specc_runtime.data import columns_of, read_tables
from specc_runtime.encode import Encoders, Origin
from specc_runtime.model import Model

TOGETHER = 256  # requests in one batch
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of some requests. first: the number of the first of them, from 1. counts: candidates of each.

    scores: by prediction, [sum(counts)] or [sum(counts), classes]. rows: the requests' own table.
    """

    first: int
    counts: Ints
    scores: Mapping[str, npt.NDArray[np.float64]]
    rows: pa.Table

    def best(self, prediction: str, k: int | None) -> list[Ints]:
        """For each request the positions of its best k candidates (of all), the best first; ties in order."""
        values = self.scores[prediction]
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        order = np.lexsort((-values, owner))
        starts = np.cumsum(self.counts) - self.counts
        kept = self.counts if k is None else np.minimum(self.counts, k)
        return [
            order[start : start + n] - start for start, n in zip(starts.tolist(), kept.tolist(), strict=True)
        ]


def read_requests(path: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[pa.Table, Origin]]:
    """The requests of a file, in the columns that a model reads. Raises DataError."""
    yield from read_tables([path], columns_of(manifest, candidates=True, labels=False))


def score(model: Model, encoders: Encoders, table: pa.Table, origin: Origin) -> Iterator[Scored]:
    """The scores of all candidates of a table's requests. Raises DataError."""
    model.eval()
    for at in range(0, len(table), TOGETHER):
        part = table.slice(at, TOGETHER)
        where = origin.after(at)
        batch = encoders.encode(part, where, candidates=True, labels=False)
        assert batch.candidates is not None
        with torch.no_grad():
            outputs = model(batch)
        kinds = {p["name"]: p["kind"] for p in model.manifest["predictions"]}
        scores = {name: _probability(kinds[name], output) for name, output in outputs.items()}
        yield Scored(where.first, batch.candidates.numpy(), scores, part)


def _probability(kind: str, output: torch.Tensor) -> Any:
    match kind:
        case "binary":
            output = torch.sigmoid(output.double())
        case "class":
            output = torch.softmax(output.double(), -1)
    return output.double().cpu().numpy()
