"""`specc score --retrieve`: the candidates of requests from an index, ranked by another model if one is
given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.data_options import tell
from specc.cli.models import trained_from
from specc.cli.output import write_tables
from specc.cli.progress import counted
from specc.cli.ranks import goes_by
from specc.cli.rows import STDIN, Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from specc_runtime.data import Dialect
    from specc_runtime.retrieval import Retriever
    from specc_runtime.retrieval.ranked import Ranking


@dataclass(frozen=True)
class Asked:
    """What is asked for. top: of the best candidates. nearest: of those that are ranked."""

    index: Path
    top: int
    nearest: int
    rank: Path | None
    by: str | None
    keep: tuple[str, ...]
    seed: int


def run(
    model_path: Path,
    requests: Path,
    output: Path | None,
    asked: Asked,
    devices: Any,
    untrusted: bool,
    dialect: Dialect,
) -> None:
    """Write the best candidates of an index for each request. Ends the command where that fails."""
    from specc_runtime.encode import DataError
    from specc_runtime.retrieval import Index, RetrievalError, Retriever
    from specc_runtime.retrieval.ranked import Ranking
    from specc_runtime.retrieval.retriever import OWN, candidate_columns

    try:
        index = Index.load(asked.index)
        retriever = Retriever(*trained_from(model_path, devices, untrusted), index)
        ranking = None
        if asked.rank is not None:
            ranker, encoders = trained_from(asked.rank, devices, untrusted)
            candidate_columns(ranker.manifest, index)  # before what its candidates are ranked by
            ranking = Ranking(ranker, encoders, index, goes_by(ranker.manifest, asked.by, True), asked.seed)
    except RetrievalError as error:
        fail(str(error))
    manifest = _of_requests(retriever, ranking)
    own = [*index.items.column_names, *(ranking.names if ranking else ())]
    if asked.nearest > len(index):
        tell(f"the index has {len(index):,} rows: so many are found at most, not {asked.nearest:,}")
    try:
        rows = Rows((requests,), manifest, dialect, asked.keep, (), [*OWN, *own])
        _tell_candidates(rows, ranking.ranker.manifest if ranking else retriever.model.manifest, asked.index)
        with counted("retrieving") as watch:
            count = write_tables(_answers(retriever, ranking, rows, asked, watch), output)
    except DataError as error:
        fail(str(error))
    if output is not None:
        click.echo(f"{output}: {count:,} requests", err=True)


def _answers(
    retriever: Retriever, ranking: Ranking | None, rows: Rows, asked: Asked, watch: Callable[[int], None]
) -> Iterator[pa.Table]:
    from specc_runtime.retrieval.ranked import answers

    number = 1
    for table in answers(retriever, rows, asked.nearest, asked.top, ranking, rows.keep):
        yield table
        number += len(table)
        watch(number - 1)


def _of_requests(retriever: Retriever, ranking: Ranking | None) -> Mapping[str, Any]:
    """A manifest of the fields that are read of requests."""
    fields: list[Mapping[str, Any]] = list(retriever.manifest["fields"])
    if ranking is not None:
        fields += [
            f for f in ranking.ranker.manifest["fields"] if f["role"] == "request" and not f.get("training")
        ]
    return {"fields": fields, "predictions": []}


def _tell_candidates(rows: Rows, manifest: Mapping[str, Any], index: Path) -> None:
    """Say that candidates of requests are not read."""
    from specc_runtime.data import names_of

    if STDIN in rows.paths:
        return
    there = set(names_of(rows.paths[0], rows.dialect))
    own = [f["column"] for f in manifest["fields"] if f["role"] == "candidate" and f["column"] in there]
    if own:
        columns = ", ".join(f"`{name}`" for name in dict.fromkeys(own))
        tell(f"{columns} of the requests is not read: the candidates are those of {index}")
