"""Two stages for one request at a time: candidates from an index, and a model that ranks them.

Promises: what `specc score --retrieve` gives for the request; threads may share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from specc_runtime.devices import Wanted
from specc_runtime.encode import Encoders
from specc_runtime.engines import NATIVE
from specc_runtime.model import Model
from specc_runtime.retrieval.index import Index
from specc_runtime.retrieval.retriever import Retriever, candidate_columns, require_names
from specc_runtime.score import Scorer
from specc_runtime.score.engine import Engine
from specc_runtime.score.rows import columns_of, names_of
from specc_runtime.score.states import States

NEAREST = 200


class Stages:
    """manifest: what is read of requests, and what a ranking predicts. version: the hash of the weights, with
    a ranking those of both. states: those that the ranking keeps of requests. engine: what runs it."""

    def __init__(self, retriever: Retriever, ranker: Scorer | None = None, nearest: int = NEAREST) -> None:
        """nearest: how many candidates are found. Raises RetrievalError where the index lacks columns that
        the ranking reads of candidates, or has one that is called like what the ranking gives."""
        self.retriever, self.ranker, self.nearest = retriever, ranker, nearest
        self._columns = [] if ranker is None else candidate_columns(ranker.manifest, retriever.index)
        require_names(retriever.index, () if ranker is None else names_of(ranker.manifest))
        own: Mapping[str, Any] = retriever.model.manifest
        other: Mapping[str, Any] = own if ranker is None else ranker.manifest
        asked = [f for f in other["fields"] if f["role"] == "request"] if ranker is not None else []
        self.candidate_fields = [f for f in other["fields"] if f["role"] == "candidate"]
        self.manifest: Mapping[str, Any] = {
            "name": own["name"],
            "axes": [*own["axes"], *(other["axes"] if ranker is not None else ())],
            "fields": [*retriever.manifest["fields"], *asked],
            "predictions": [] if ranker is None else other["predictions"],
            "outputs": [] if ranker is None else other.get("outputs", []),
        }
        versions = [retriever.model.saved_as or "", *([] if ranker is None else [ranker.version])]
        self.version = "+".join(versions)
        self.states = States(0) if ranker is None else ranker.states
        self.engine = Engine() if ranker is None else ranker.engine

    @staticmethod
    def load(
        model: str | Path,
        index: str | Path,
        rank: str | Path | None = None,
        devices: Wanted = None,
        *,
        nearest: int = NEAREST,
        cache: float = 64,
        engine: str | Path = NATIVE,
    ) -> Stages:
        """Those of folders: a trained model, an index of its vectors, a model that ranks.

        cache, engine: of the ranking, as for `Scorer.load`. Raises what `load` raises, and RetrievalError.
        """
        retriever = Retriever.load(model, index, devices)
        ranker = None if rank is None else Scorer.load(rank, devices, cache=cache, engine=engine)
        stages = Stages(retriever, ranker, nearest)
        stages.warm()
        return stages

    @staticmethod
    def of(
        model: Model,
        encoders: Encoders,
        index: str | Path,
        ranker: Scorer | None,
        nearest: int,
    ) -> Stages:
        """Those of models that were loaded already. Raises RetrievalError."""
        stages = Stages(Retriever(model, encoders, Index.load(index)), ranker, nearest)
        stages.warm()
        return stages

    def answer(
        self, request: Mapping[str, Any], top: int | None = None, by: str | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """The best candidates of a request, lists with the best first: `candidate` has their rows in the
        index, from 0; then the index's columns, `similarity`, and what the ranking predicts.

        top: how many; else all that are found. by: the prediction that the order goes by; else the first.
        Raises DataError with every fault.
        """
        wanted = self.nearest if self.ranker is not None or top is None else min(top, self.nearest)
        found = self.retriever.retrieve(request, wanted)
        places = np.arange(len(found.rows))
        scores: dict[str, list[Any]] = {}
        if self.ranker is not None:
            candidates = {name: found.items.column(name).to_pylist() for name in self._columns}
            own = self.ranker.score({**request, **candidates})
            places = own.best(top, by, seed)
            scores = {
                name: values.take(places).to_pylist()
                for name, values in columns_of(self.ranker.encoders, own.values).items()
            }
        return {
            "candidate": found.rows[places].tolist(),
            **found.items.take(places).to_pydict(),
            "similarity": found.similarity[places].tolist(),
            **scores,
        }

    def warm(self) -> None:
        """Find candidates of a request of nothing in particular, so that all that is made once is there."""
        self.retriever.warm()
