"""`specc predict`: a trained model's predictions, one a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.data_options import data_options
from specc.cli.keep import keep_option, naming
from specc.cli.models import ModelFolder, device_option, devices_from, trained_from, trust_option
from specc.cli.output import output_option, write_tables
from specc.cli.progress import counted
from specc.cli.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from specc_runtime.data import Dialect


@click.command("predict", short_help="Predict for rows: one row, one prediction.")
@click.argument("model_path", metavar="MODEL", type=ModelFolder())
@click.argument(
    "data", metavar="ROWS...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True)
)
@output_option
@keep_option("Without it those that name the row: fields called id, `group`, and the candidate's item.")
@click.option("--only", metavar="OUTPUT", help="Compute one output alone, and ask only for what it reads.")
@data_options
@device_option
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON; needs -o.")
def command(
    model_path: Path,
    data: tuple[Path, ...],
    output: Path | None,
    keep: tuple[str, ...],
    only: str | None,
    devices: tuple[str, ...],
    untrusted: bool,
    dialect: Dialect,
    as_json: bool,
) -> None:
    """Predict for ROWS with the trained MODEL: one row, one prediction, in the same order.

    ROWS are files or folders as for `specc train`, or - for JSON lines on stdin. No label is asked for, and
    nothing that only losses read. A prediction's column has its name: the probability of a binary one, the
    value of a real one, a list of probabilities of a class one, with the likeliest class in NAME_class. An
    output's column has a number, or a list of its channels.

    Where the training data are requests, `choice(among = request)`, so are ROWS, and what comes out are lists
    with a value for each candidate.

    With --only, ROWS need what that output reads and nothing else: an output of the candidate alone is had of
    a catalogue, one of the request alone of users.
    """
    from specc_runtime.encode import DataError
    from specc_runtime.encode.labels import of_requests
    from specc_runtime.score import names_of

    if as_json and output is None:
        raise click.UsageError("--json says what was written to a file: name one with -o")
    model, encoders = trained_from(model_path, devices_from(devices), untrusted)
    manifest = model.manifest if only is None else _narrowed(model.manifest, only)
    names = names_of(manifest)
    try:
        rows = Rows(data, manifest, dialect, keep, naming(manifest), names, of_requests(manifest))
        with counted("predicting") as watch:
            count = write_tables(_predicted(model, encoders, rows, only, watch), output)
    except DataError as error:
        fail(str(error))
    if as_json:
        said = {"output": str(output), "rows": count, "columns": [*rows.keep.values(), *names]}
        click.echo(json.dumps(said, indent=2))
    elif output is not None:
        click.echo(f"{output}: {count:,} rows", err=True)


def _narrowed(manifest: Mapping[str, Any], only: str) -> Mapping[str, Any]:
    """Return the manifest of an output alone. Raises click.BadParameter."""
    from specc_runtime.score import narrowed

    outputs = [o["name"] for o in manifest.get("outputs", ())]
    if only not in outputs:
        known = f"the model's outputs: {', '.join(outputs)}" if outputs else "the model has no `output`"
        raise click.BadParameter(f"{known}; not {only}", param_hint="--only")
    return narrowed(manifest, only)


def _predicted(
    model: Any, encoders: Any, rows: Rows, only: str | None, watch: Callable[[int], None]
) -> Iterator[pa.Table]:
    from specc_runtime.score import predict

    seen = 0
    for found in predict(model, encoders, rows, rows.keep, only):
        yield found
        seen += len(found)
        watch(seen)
