"""What an index has for requests, ranked by a second model or by the similarity itself: a row a request.

Memory: at most `TOGETHER` requests, or about `ROWS` candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np
import pyarrow as pa

from specc_runtime.data.files import by_rows, of_parts
from specc_runtime.encode import Encoders, Origin
from specc_runtime.model import Model
from specc_runtime.retrieval.index import Index
from specc_runtime.retrieval.retriever import (
    Found,
    Retriever,
    candidate_columns,
    require_names,
    with_candidates,
)
from specc_runtime.score.requests import ROWS, TOGETHER, Ints, best, score
from specc_runtime.score.rows import columns_of, lists, names_of


class Ranking:
    """A model that ranks what an index has. by: the prediction that the order goes by. seed: of the order of
    equal scores."""

    def __init__(self, ranker: Model, encoders: Encoders, index: Index, by: str, seed: int = 0) -> None:
        """Raises RetrievalError where the index lacks columns that the model reads of candidates, or has one
        that is called like what it gives."""
        self.ranker, self.encoders, self.by, self.seed = ranker, encoders, by, seed
        self.columns = candidate_columns(ranker.manifest, index)
        self.names = names_of(ranker.manifest)
        require_names(index, self.names)

    def ranked(
        self, table: pa.Table, origin: Origin, found: Found, top: int
    ) -> tuple[list[Ints], dict[str, pa.Array]]:
        """For each request the places of its best candidates among those found, and by prediction the scores
        of all that were found. Raises DataError."""
        places: list[Ints] = []
        columns: dict[str, list[pa.Array]] = {}
        for scored in score(
            self.ranker, self.encoders, [(with_candidates(table, found, self.columns), origin)]
        ):
            places += best(scored, self.by, top, seed=self.seed)
            for name, values in columns_of(self.encoders, scored.scores).items():
                columns.setdefault(name, []).append(values)
        return places, {name: pa.concat_arrays(parts) for name, parts in columns.items()}


def answers(
    retriever: Retriever,
    requests: Iterable[tuple[pa.Table, Origin]],
    nearest: int,
    top: int,
    ranking: Ranking | None = None,
    keep: Mapping[str, str] | None = None,
) -> Iterator[pa.Table]:
    """A row a request: `request` with its number from 1, and lists, the best candidate first: `candidate`
    with rows of the index, from 0, the index's columns, `similarity`, and the predictions of a ranking.

    nearest: how many candidates are found. top: how many of them are given, after ranking.
    keep: columns of the requests that go along, each with its name here.
    Raises DataError with every fault, after what came before the first of them was given.
    """
    together = max(1, min(TOGETHER, ROWS // nearest))
    numbers = count(1)

    def answered(part: pa.Table, where: Origin, found: Found) -> pa.Table:
        places: list[Ints] = [np.arange(min(n, top)) for n in found.counts.tolist()]
        scores: dict[str, pa.Array] = {}
        if ranking is not None:
            places, scores = ranking.ranked(part, where, found, top)
        return _table(part, list(islice(numbers, len(part))), found, places, scores, keep or {})

    wanted = nearest if ranking else min(top, nearest)
    return of_parts(requests, by_rows(together), partial(retriever.of_table, k=wanted), answered)


def _table(
    requests: pa.Table,
    numbers: list[int],
    found: Found,
    places: list[Ints],
    scores: Mapping[str, pa.Array],
    keep: Mapping[str, str],
) -> pa.Table:
    counts = np.array([len(p) for p in places], dtype=np.int64)
    starts = np.cumsum(found.counts) - found.counts
    order = np.concatenate(
        [*(p + start for p, start in zip(places, starts, strict=True)), np.zeros(0, np.int64)]
    )
    chosen = pa.array(order.astype(np.int64))
    columns: dict[str, Any] = {"request": pa.array(numbers, pa.int64())}
    columns |= {name: requests.column(column) for column, name in keep.items()}
    columns["candidate"] = lists(found.rows[order], counts)
    for name in found.items.column_names:
        values = found.items.column(name).combine_chunks()
        values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
        columns[name] = lists(values.take(chosen), counts)
    columns["similarity"] = lists(found.similarity[order], counts)
    columns |= {name: lists(values.take(chosen), counts) for name, values in scores.items()}
    return pa.table(columns)
