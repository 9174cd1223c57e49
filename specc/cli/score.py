"""`specc score`: a trained model's scores of requests' candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.data_options import data_options
from specc.cli.keep import keep_option
from specc.cli.models import ModelFolder, device_option, devices_from, trained_from, trust_option
from specc.cli.numbers import Whole
from specc.cli.output import output_option, write_tables
from specc.cli.progress import counted
from specc.cli.ranks import goes_by
from specc.cli.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from specc_runtime.data import Dialect


@click.command("score", short_help="Score candidates for requests.")
@click.argument("model_path", metavar="MODEL", type=ModelFolder())
@click.argument("requests", type=click.Path(path_type=Path, allow_dash=True))
@output_option
@click.option("--top", type=Whole(1), help="Only the best so many candidates, the best first.")
@click.option(
    "--by",
    metavar="NAME",
    help="The prediction, or output of one channel, that --top goes by; else the first.",
)
@keep_option("Without it none.")
@click.option("--seed", type=Whole(0), help="For the order of equal scores (0).")
@click.option(
    "--retrieve",
    metavar="INDEX",
    type=click.Path(exists=True, path_type=Path, file_okay=False),
    help="Take the candidates from an index of `specc index`; needs --top.",
)
@click.option(
    "--nearest",
    type=Whole(1),
    help="With --retrieve and --rank: how many candidates are found and ranked; else --top.",
)
@click.option(
    "--rank",
    metavar="MODEL2",
    type=click.Path(exists=True, path_type=Path, file_okay=False),
    help="With --retrieve: the trained model that ranks what was found; --by is of it.",
)
@data_options
@device_option
@trust_option
def command(
    model_path: Path,
    requests: Path,
    output: Path | None,
    top: int | None,
    by: str | None,
    keep: tuple[str, ...],
    seed: int | None,
    retrieve: Path | None,
    nearest: int | None,
    rank: Path | None,
    devices: tuple[str, ...],
    untrusted: bool,
    dialect: Dialect,
) -> None:
    """Score the candidates of REQUESTS with the trained MODEL.

    REQUESTS is a file or folder as for `specc predict`, or - for JSON lines on stdin. A row is one request:
    columns of the request as in training, columns of the candidate as lists, one value a candidate. What
    depends on the request alone is computed once for all of its candidates. A model that has no candidates
    has one score a request.

    With --top, `candidate` has the places of the best ones, from 0, and their keys stand beside it. Equal
    scores come in an order of their own, which depends on --seed and the request's number, and prefers no
    place.

    With --retrieve, REQUESTS have no candidates: they are the rows of INDEX whose vectors are nearest to the
    request's, and `similarity` says how near. With --rank, MODEL2 scores them, and the best are its best.
    """
    if retrieve is not None:
        from specc.cli.retrieving import Asked, run

        if top is None:
            raise click.UsageError("--retrieve needs --top, how many candidates a request gets")
        if rank is None and (by is not None or nearest is not None):
            raise click.UsageError("--by and --nearest are of the ranking: --rank MODEL2")
        if nearest is not None and nearest < top:
            raise click.BadParameter(
                f"{nearest} candidates are found, and --top is {top}", param_hint="--nearest"
            )
        asked = Asked(retrieve, top, nearest or top, rank, by, keep, seed or 0)
        run(model_path, requests, output, asked, devices_from(devices), untrusted, dialect)
        return
    if top is None and (by is not None or seed is not None):
        given = "--by" if by is not None else "--seed"
        raise click.UsageError(
            f"{given} goes with --top: without it all scores are given, in the candidates' order"
        )
    if nearest is not None or rank is not None:
        raise click.UsageError("--nearest and --rank are of --retrieve INDEX")
    from specc_runtime.encode import DataError
    from specc_runtime.score import has_candidates, names_of

    model, encoders = trained_from(model_path, devices_from(devices), untrusted)
    manifest = model.manifest
    per_candidate = has_candidates(manifest)
    ranked_by = goes_by(manifest, by, per_candidate) if top is not None else None
    taken = ["request", "candidate", *names_of(manifest)]
    try:
        rows = Rows((requests,), manifest, dialect, keep, (), taken, per_candidate)
        with counted("scoring") as watch:
            count = write_tables(_answers(model, encoders, rows, ranked_by, top, seed or 0, watch), output)
    except DataError as error:
        fail(str(error))
    if output is not None:
        click.echo(f"{output}: {count:,} requests", err=True)


def _answers(
    model: Any,
    encoders: Any,
    rows: Rows,
    by: str | None,
    top: int | None,
    seed: int,
    watch: Callable[[int], None],
) -> Iterator[pa.Table]:
    from specc_runtime.score import answers, score

    number = 1
    for scored in score(model, encoders, rows, top or 1):
        yield answers(scored, encoders, number=number, by=by, k=top, seed=seed, keep=rows.keep)
        number += len(scored.counts)
        watch(number - 1)
