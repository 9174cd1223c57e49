"""A model that is served, and replaced while it is.

Promises: a request is scored by one model from its beginning to its end; another one takes over once it is
loaded and warm, and not at all if it cannot be. What is answered is a row as `specc score` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from specc_runtime.encode import DataError
from specc_runtime.retrieval import Stages
from specc_runtime.score import Scored, Scorer, Scores, answers


class BadRequest(ValueError):
    """A request that cannot be answered. about: what is wrong, as JSON."""

    def __init__(self, error: str, **about: Any) -> None:
        super().__init__(error)
        self.about = {"error": error, **{name: value for name, value in about.items() if value is not None}}


@dataclass(frozen=True)
class Limits:
    """candidates: of a request at most. body: bytes of a request at most. seconds: in which the headers of
    a request must have arrived, and then its body. connections: at once."""

    candidates: int = 10_000
    body: int = 4 << 20
    seconds: float = 10.0
    connections: int = 1000


@dataclass(frozen=True)
class Answer:
    """row: as `specc score` writes it. candidates: how many got scores."""

    row: dict[str, Any]
    candidates: int


@dataclass(frozen=True)
class Wish:
    """top: only the best so many candidates, the best first, by a prediction or output; without `by` by the
    first. seed: for the order of equal scores."""

    top: int | None = None
    by: str | None = None
    seed: int = 0


class Service:
    """load: gives a scorer that is warm, or stages."""

    def __init__(self, load: Callable[[], Scorer | Stages], limits: Limits) -> None:
        self._load = load
        self._loading = Lock()
        self.limits = limits
        self.scorer = load()

    def reload(self) -> Scorer | Stages:
        """The model as its folder has it now, in place of the one before. Raises what loading raises; the one
        before stays then."""
        with self._loading:
            scorer = self._load()
            self.scorer = scorer
        return scorer

    def answer(self, scorer: Scorer | Stages, body: bytes, wish: Wish) -> Answer:
        """The answer to a request in JSON. Raises BadRequest."""
        request = _parsed(body)
        try:
            if isinstance(scorer, Stages):
                return _retrieved(scorer, request, wish)
            by = _goes_by(scorer, wish)
            self._check_size(scorer, request)
            scores = scorer.score(request)
        except DataError as error:
            faults = [
                {
                    "column": f.column,
                    "items": list(f.items) or None,
                    "what": f.what,
                    "help": f.help or None,
                    "more": f.more or None,
                }
                for f in error.faults
            ]
            about = [{name: value for name, value in fault.items() if value is not None} for fault in faults]
            raise BadRequest(str(error), faults=about) from None
        return Answer(answered(scorer, scores, by, wish), scores.number)

    def _check_size(self, scorer: Scorer, request: Mapping[str, Any]) -> None:
        if not scorer.candidates:
            return
        for entry in scorer.manifest["fields"]:
            for name in (entry["column"], entry["fallback"]):
                values = request.get(name) if entry["role"] == "candidate" else None
                if isinstance(values, list) and len(values) > self.limits.candidates:
                    raise BadRequest(
                        f"the request has {len(values):,} candidates; at most {self.limits.candidates:,} are "
                        "scored at once",
                        column=name,
                    )


def _retrieved(stages: Stages, request: Mapping[str, Any], wish: Wish) -> Answer:
    """The answer of stages. Raises BadRequest, DataError."""
    for entry in stages.candidate_fields:
        if entry["column"] in request:
            raise BadRequest(
                "the candidates are those of the index: leave their columns out", column=entry["column"]
            )
    if wish.top is not None and wish.top > stages.nearest:
        raise BadRequest(f"at most {stages.nearest:,} candidates are found", parameter="top")
    if stages.ranker is None:
        if wish.by is not None:
            raise BadRequest("nothing ranks the candidates: they go by their similarity", parameter="by")
        row = stages.answer(request, wish.top)
        return Answer(row, len(row["candidate"]))
    by = _goes_by(stages.ranker, Wish(wish.top or stages.nearest, wish.by))
    row = stages.answer(request, wish.top, by, wish.seed)
    return Answer(row, min(stages.nearest, stages.retriever.index.items.num_rows))


def answered(scorer: Scorer, scores: Scores, by: str | None, wish: Wish) -> dict[str, Any]:
    """Scores as a row of JSON."""
    manifest = scorer.manifest
    if not scorer.candidates or any(p["kind"] == "class" for p in manifest["predictions"]):
        counts = np.array([scores.number])
        row = pa.Table.from_pylist([dict(scores.request)])
        scored = Scored(1, counts, scores.values, row)
        found = answers(scored, scorer.encoders, by=by, k=wish.top, seed=wish.seed)
        (answer,) = found.drop_columns(["request"]).to_pylist()
        return dict(answer)
    if wish.top is None:
        return {name: values.tolist() for name, values in scores.values.items()}
    places = scores.best(wish.top, by, wish.seed)
    chosen = {name: values[places].tolist() for name, values in scores.values.items()}
    return {"candidate": places.tolist(), **scores.keys(places), **chosen}


_IN_ORDER = "without it all scores are given, in the order of the candidates"


def _goes_by(scorer: Scorer, wish: Wish) -> str | None:
    """What the best candidates are the best by; None where all are wanted. Raises BadRequest."""
    if wish.top is None:
        if wish.by is not None:
            raise BadRequest(f"by goes with top: {_IN_ORDER}", parameter="by")
        return None
    manifest = scorer.manifest
    kinds = {p["name"]: p["kind"] == "class" for p in manifest["predictions"]}
    kinds |= {o["name"]: False for o in manifest.get("outputs", ()) if o["width"] == 1}
    # Of a model without candidates the best are classes.
    ranks = [name for name, classes in kinds.items() if classes != scorer.candidates]
    if (wish.by is not None and wish.by not in ranks) or not ranks:
        what = "candidates are ranked by" if scorer.candidates else "the best are the classes of"
        raise BadRequest(f"{what} {', '.join(ranks) or 'nothing that the model gives'}", parameter="by")
    return wish.by or ranks[0]


def _parsed(body: bytes) -> dict[str, Any]:
    """A request in JSON. Raises BadRequest with line and column."""
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the request is not UTF-8: byte {error.start + 1}", byte=error.start + 1) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(
            f"the request is not JSON: {error.msg} ({where})", line=error.lineno, position=error.colno
        ) from None
    except RecursionError:
        raise BadRequest("the request is nested too deeply") from None
    if not isinstance(found, dict):
        raise BadRequest(f"a request is an object of columns, and this is {_kind(found)}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises BadRequest where a name is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"`{twice}` is there twice", column=twice)
    return found


def _no_number(text: str) -> NoReturn:
    raise BadRequest(f"the request is not JSON: {text} is no number there")


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
