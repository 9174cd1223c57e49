"""`specc index`: an index of vectors, and how much of what is nearest it finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.data_options import tell
from specc.cli.numbers import Whole

if TYPE_CHECKING:
    from specc_runtime.retrieval import Made


@click.command("index", short_help="Index vectors, and say what the index finds.")
@click.argument("source", metavar="VECTORS", type=click.Path(exists=True, path_type=Path, dir_okay=False))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The index's folder.",
)
@click.option(
    "--kind",
    type=click.Choice(["flat", "hnsw"]),
    default="flat",
    help="flat compares all vectors and is exact (the default); hnsw is faster with many, and misses some.",
)
@click.option("--links", type=click.IntRange(4, 512), help="Of hnsw: neighbours that a row keeps (32).")
@click.option("--effort", type=Whole(1), help="Of hnsw: rows that a search keeps in view (64).")
@click.option("--k", type=Whole(1), default=50, help="Of how many nearest recall is said (50).")
@click.option(
    "--queries",
    type=click.Path(exists=True, path_type=Path, dir_okay=False),
    help="Vectors of requests to measure recall with: a .parquet or .arrow file of `specc predict --only`. "
    "Without it, vectors of the catalogue itself.",
)
@click.option("--sample", type=Whole(1), default=1000, help="At most so many queries (1000).")
@click.option("--seed", type=Whole(0), default=0, help="For which queries they are (0).")
@click.option(
    "--request", metavar="OUTPUT", help="The request's output, where no score says it; with --product."
)
@click.option(
    "--product",
    type=click.Choice(["inner", "cosine"]),
    help="How it meets the vectors, where no score says it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(
    source: Path,
    output: Path,
    kind: str,
    links: int | None,
    effort: int | None,
    k: int,
    queries: Path | None,
    sample: int,
    seed: int,
    request: str | None,
    product: str | None,
    as_json: bool,
) -> None:
    """Index VECTORS, a file of `specc vectors`, by the product that the model's score is.

    The folder has the index, the columns that stand beside the vectors, and which model made them; with
    another model it is refused. What is printed last is the share of the K nearest that the index finds.
    """
    from specc_runtime.retrieval import Index, RetrievalError, read_vectors, recall

    if kind == "flat" and (links or effort):
        raise click.UsageError("--links and --effort are of --kind hnsw")
    try:
        made, vectors, items = read_vectors(source)
        made = _compared(made, request, product)
        if not len(items):
            fail(f"{source} has no vectors: there is nothing to find")
        if copies := _copies(items):
            tell(f"{copies:,} rows of {source} are copies of another in all columns: each is found by itself")
        if k > len(items):
            tell(f"there are {len(items):,} vectors: recall is said of so many, not of {k:,}")
            k = len(items)
        index = Index.build(made, vectors, items, kind, links=links or 32, effort=effort or 64)  # type: ignore[arg-type]
        asked, what = _asked(queries, made, vectors, sample, seed)
        found = recall(index, vectors, asked, k)
        index.save(output, {"recall": {"at": k, "is": found, "queries": len(asked), "of": what}})
    except RetrievalError as error:
        fail(str(error))
    if as_json:
        said: dict[str, Any] = {
            "output": str(output),
            "rows": len(items),
            "kind": kind,
            "product": made.product,
            "request": made.request,
            "recall": found,
            "k": k,
            "queries": len(asked),
        }
        click.echo(json.dumps(said, indent=2))
        return
    by = "inner product" if made.product == "inner" else "cosine"
    click.echo(f"{output}: {len(items):,} vectors, {kind}, by the {by} with `{made.request}`")
    click.echo(f"recall@{k} {found:.4f} of {len(asked):,} {what}, beside the exact answer")


def _compared(made: Made, request: str | None, product: str | None) -> Made:
    """What vectors are compared with, as the score says it or, where none does, the options."""
    if (request is None) != (product is None):
        raise click.UsageError("--request and --product go together")
    if made.product is not None:
        if request is not None and (request, product) != (made.request, made.product):
            fail(
                f"`{made.prediction}` goes by the {made.product} product of `{made.request}` and "
                f"`{made.output}`: "
                "leave --request and --product away"
            )
        return made
    if request is None:
        fail(
            f"no score of `{made.model}` goes by `{made.output}`: {made.why}. What an index of them finds "
            f"is not "
            "what the model scores highest; if it is to be so, name the request's --request OUTPUT and the "
            "--product"
        )
    return replace(made, request=request, product=product)  # type: ignore[arg-type]


def _copies(items: Any) -> int:
    """How many rows are copies of one before, in columns that can be compared."""
    import pyarrow as pa

    names = [f.name for f in items.schema if not pa.types.is_nested(f.type)]
    if not names or len(names) < items.num_columns:
        return 0
    return len(items) - len(items.group_by(names).aggregate([]))


def _asked(queries: Path | None, made: Made, vectors: Any, sample: int, seed: int) -> tuple[Any, str]:
    """Vectors to ask with, [n, width], and what they are."""
    import numpy as np

    from specc_runtime.retrieval.vectors import read_queries

    own = vectors if queries is None else read_queries(queries, made)
    if not len(own):
        fail(f"{queries} has no row")
    if len(own) > sample:
        own = own[np.sort(np.random.default_rng(seed).choice(len(own), sample, replace=False))]
    return own, "vectors of the catalogue" if queries is None else "vectors of requests"
