"""Scores of one request at a time, from memory, for services.

Promises: the scores of `score`; threads may share a scorer, which changes nothing of its model. States of
requests are kept within a bound of memory, so that a request that comes again costs its candidates alone.
Leaves to others: batches of many requests (`requests`), how requests arrive (`serve`).

    scorer = Scorer.load("model")
    scores = scorer.score({"user_id": "u1", "history_item": ["i3"], "ad_item": ["i9", "i4"]})
    places = scores.best(10)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch
from specc_runtime.data import columns_of
from specc_runtime.data.columns import Typing
from specc_runtime.data.frames import PLAIN, batch_in
from specc_runtime.devices import Wanted
from specc_runtime.encode import DataError, Encoders, Origin
from specc_runtime.encode.store import load_trained
from specc_runtime.engines import NATIVE
from specc_runtime.layout import CANDIDATE, Axis
from specc_runtime.model import Model
from specc_runtime.score.answers import named_by
from specc_runtime.score.engine import CANDIDATES, LENGTH, Engine, engine_of
from specc_runtime.score.quick import Quick
from specc_runtime.score.requests import Floats, Ints, Scored, best, check_finite, has_candidates, meant
from specc_runtime.score.sample import sample, sample_request
from specc_runtime.score.states import States
from specc_runtime.score.values import Unusual

MEGABYTE = 1 << 20
_ORIGIN = Origin("request", given=True)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one request.

    values: by prediction or other output, float64 [candidates], of several channels or classes
        [candidates, n]; of a model without candidates there is one. number: how many candidates.
    request: what was scored.
    """

    values: Mapping[str, Floats]
    number: int
    request: Mapping[str, Any]
    manifest: Mapping[str, Any]

    def best(self, k: int | None = None, by: str | None = None, seed: int = 0) -> Ints:
        """The places of the best k candidates, or of all, the best first, by a prediction or output; without
        `by` by the first. Equal scores are in an order that the seed decides, which prefers no place."""
        name = by if by is not None else next(iter(self.values))
        counts = np.array([self.number])
        return best(Scored(1, counts, self.values, pa.table({})), name, k, seed=seed)[0]

    def keys(self, places: Ints | None = None) -> dict[str, list[Any]]:
        """By the columns that name candidates, the keys of those at some places, or of all."""
        found = {}
        for name in named_by(self.manifest):
            values = self.request.get(name)
            if isinstance(values, list) and len(values) == self.number:
                found[name] = values if places is None else [values[place] for place in places.tolist()]
        return found


class Scorer:
    """Scores requests with a trained model.

    version: the hash of the model's weights. engine: what runs. states: the states that are kept.
    """

    def __init__(
        self, model: Model, encoders: Encoders, cache: float = 64, *, engine: Engine | None = None
    ) -> None:
        """cache: megabytes of states that are kept at most. engine: what runs, the model itself or what is
        exported of it, which has no states."""
        self.engine = engine or Engine()
        self.model, self.encoders = model.eval(), encoders
        self.manifest: Mapping[str, Any] = model.manifest
        self.version = model.saved_as or ""
        self.candidates = has_candidates(model.manifest)
        # Without candidates the state is the scores.
        self.states = States(int(cache * MEGABYTE) if self.candidates else 0)
        self._quick = Quick(encoders, self.candidates)
        self._columns = columns_of(model.manifest, candidates=self.candidates, labels=False)
        own = (*model.manifest["fields"], *model.manifest.get("crosses", ()))
        self._fields = [f["path"] for f in own if f["role"] != "candidate"]
        self._axes = [a.id for a in encoders.schema.axes.values() if not _within_candidate(a)]

    @staticmethod
    def load(
        directory: str | Path,
        devices: Wanted = None,
        *,
        cache: float = 64,
        engine: str | Path = NATIVE,
    ) -> Scorer:
        """The scorer of a trained model's folder, warm: its first request takes as long as later ones.

        devices: as for `load`. cache: megabytes of states that are kept at most. engine: what runs the model:
            "native", its own code; "onnx" or "aoti", what `specc export` put beside the folder; "auto", the
            quickest of those that are there; or the path of a file that `specc export` wrote. States are kept
            by native alone.
        Raises what `load` raises, and ArtefactError where the engine is not there or is of another model.
        """
        return Scorer.of(*load_trained(directory, devices), directory, cache=cache, engine=engine)

    @staticmethod
    def of(
        model: Model,
        encoders: Encoders,
        directory: str | Path,
        *,
        cache: float = 64,
        engine: str | Path = NATIVE,
    ) -> Scorer:
        """The scorer of a model that was loaded from a folder. As `load`."""
        model.eval()
        scorer = Scorer(model, encoders, cache, engine=engine_of(model, encoders, directory, engine))
        scorer.warm()
        return scorer

    def score(self, request: Mapping[str, Any] | pa.RecordBatch) -> Scores:
        """The scores of one request's candidates.

        request: by column its values as in training, of candidates a list, one value a candidate; or a record
            batch of one row.
        Raises DataError with every fault of it.
        """
        given = _one(request)
        batch = self.encoded(given)
        with torch.inference_mode():
            outputs = self._outputs(batch)
        values = self._meant(outputs)
        number = 1 if batch.candidates is None else int(batch.candidates)
        check_finite(values, np.array([number]), _ORIGIN, self.candidates)
        return Scores(values, number, given, self.manifest)

    def encoded(self, request: Mapping[str, Any]) -> Batch:
        """The batch of one request. Raises DataError."""
        try:
            return self._quick.batch(request)
        except Unusual:
            return batch_in(
                self.encoders, [request], self._columns, Typing(PLAIN), _ORIGIN, candidates=self.candidates
            )

    def _outputs(self, batch: Batch) -> Mapping[str, Tensor]:
        if self.engine.run is not None:
            return self.engine.run(batch)
        if not self.states.most:
            return self.model(batch)  # type: ignore[no-any-return]
        return self.model.candidate_part(self.state(batch), batch)

    def state(self, batch: Batch) -> Any:
        """What the model computes of a request alone, from the states that are kept if it is there."""
        key = self._key(batch)
        state = self.states.get(key)
        if state is None:
            state = self.model.request_part(batch)
            self.states.put(key, state)
        return state

    def warm(self) -> None:
        """Score requests of nothing in particular, so that all that is made once is there."""
        if self.engine.run is None:
            self.model.score_in_c()
        states, self.states = self.states, States(0)
        # Large ones, too: kernels are made where there is much to do.
        for number, length in ((1, 1), (256, 64), (3, 3), (3, 3)):
            with torch.inference_mode():
                own = number if self.candidates else None
                self._meant(self._outputs(sample(self.encoders.schema, self.manifest, own, length)))
        # All of the way that requests go; Python is as fast as it gets from about the tenth call on.
        self.states = States(states.most)
        for seed, (number, length) in enumerate([(3, 3)] * 9 + [(CANDIDATES, LENGTH)] * 3):
            with suppress(DataError):
                own = number if self.candidates else None
                self.score(sample_request(self.encoders, own, length, seed))
        self.states = states

    def _key(self, batch: Batch) -> bytes:
        """What a request is to the model, in bytes."""
        parts = [_bytes(batch.lengths[axis]) for axis in self._axes if axis in batch.lengths]
        for path in self._fields:
            values = batch.fields.get(path)
            if isinstance(values, Bag):
                tensors = (values.values, values.lengths, values.weights)
                parts += [_bytes(x) for x in tensors if x is not None]
            elif values is not None:
                parts.append(_bytes(values))
        # How long each part is, or two requests might read the same.
        return b"".join([np.array([len(part) for part in parts]).tobytes(), *parts])

    def _meant(self, outputs: Mapping[str, Tensor]) -> dict[str, Floats]:
        return meant(self.model, outputs)


def _one(request: Mapping[str, Any] | pa.RecordBatch | pa.Table) -> Mapping[str, Any]:
    """A request by column."""
    if isinstance(request, pa.RecordBatch | pa.Table):
        if request.num_rows != 1:
            raise ValueError(f"a request is one row, and there are {request.num_rows}")
        (row,) = request.to_pylist()
        return row  # type: ignore[no-any-return]
    return request


def _bytes(values: Tensor) -> bytes:
    return values.numpy().tobytes()


def _within_candidate(axis: Axis) -> bool:
    step: Axis | None = axis
    while step is not None:
        if step == CANDIDATE:
            return True
        step = step.parent
    return False
