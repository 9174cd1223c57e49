"""`specc score`: a trained model's scores of requests' candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.data_options import data_options
from specc.cli.keep import keep_option
from specc.cli.models import device_option, devices_from, trained_from, trust_option
from specc.cli.output import output_option, write_tables
from specc.cli.progress import counted
from specc.cli.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from specc_runtime.data import Dialect


@click.command("score", short_help="Score candidates for requests.")
@click.argument("model_path", metavar="MODEL", type=click.Path(exists=True, path_type=Path, file_okay=False))
@click.argument("requests", type=click.Path(path_type=Path, allow_dash=True))
@output_option
@click.option("--top", type=click.IntRange(min=1), help="Only the best so many candidates, the best first.")
@click.option(
    "--by",
    metavar="NAME",
    help="The prediction, or output of one channel, that --top goes by; else the first.",
)
@keep_option("Without it none.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="For the order of equal scores (0).")
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
    seed: int,
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
    """
    from specc_runtime.encode import DataError
    from specc_runtime.score import has_candidates, names_of

    model, encoders = trained_from(model_path, devices_from(devices), untrusted)
    manifest = model.manifest
    per_candidate = has_candidates(manifest)
    goes_by = _goes_by(manifest, by, per_candidate) if top is not None else None
    taken = ["request", "candidate", *names_of(manifest)]
    try:
        rows = Rows((requests,), manifest, dialect, keep, (), taken, per_candidate)
        with counted("scoring") as watch:
            count = write_tables(_answers(model, encoders, rows, goes_by, top, seed, watch), output)
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


def _goes_by(manifest: Mapping[str, Any], by: str | None, per_candidate: bool) -> str:
    """The prediction that `--top` goes by. Raises click.BadParameter."""
    kinds = {p["name"]: p["kind"] for p in manifest["predictions"]}
    kinds |= {o["name"]: "output" for o in manifest.get("outputs", ()) if o["width"] == 1}
    ranks = [n for n, kind in kinds.items() if (kind != "class" if per_candidate else kind == "class")]
    if by is not None and by not in kinds:
        raise click.BadParameter(f"the model predicts {', '.join(kinds)}, not {by}", param_hint="--by")
    if (by is not None and by not in ranks) or not ranks:
        what = (
            "candidates are ranked by a binary or real prediction, or an output of one channel"
            if per_candidate
            else ("the model has no candidates: the best are the classes of a class prediction")
        )
        raise click.BadParameter(
            f"{what}; it has {', '.join(ranks) or 'none'}", param_hint="--by" if by else "--top"
        )
    return by or ranks[0]
