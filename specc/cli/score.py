"""`specc score`: a trained model's scores of requests' candidates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.models import device_option, devices_from, model_from

if TYPE_CHECKING:
    from specc_runtime.score import Scored


@click.command("score", short_help="Score candidates for requests.")
@click.argument("model_path", metavar="MODEL", type=click.Path(exists=True, path_type=Path, file_okay=False))
@click.argument("requests", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="A .parquet or .jsonl file; without it JSON lines on stdout.")  # fmt: skip
@click.option("--top", type=click.IntRange(min=1), help="Only the best so many candidates, the best first.")
@click.option("--by", metavar="PREDICTION", help="What --top goes by; without it the first prediction.")
@device_option
def command(
    model_path: Path,
    requests: Path,
    output: Path | None,
    top: int | None,
    by: str | None,
    devices: tuple[str, ...],
) -> None:
    """Score the candidates of REQUESTS (Parquet or JSON lines) with the trained MODEL.

    A row is one request: columns of the request as in training, columns of the candidate as lists, one value
    a candidate. What depends on the request alone is computed once for all of its candidates.
    """
    from specc_runtime import ArtefactError
    from specc_runtime.encode import DataError, load_encoders
    from specc_runtime.score import read_requests, score

    model = model_from(model_path, {}, devices_from(devices))
    names = [p["name"] for p in model.manifest["predictions"]]
    if by is not None and by not in names:
        raise click.BadParameter(f"the model predicts {', '.join(names)}, not {by}", param_hint="--by")
    order = (by or names[0]) if top is not None else None
    try:
        encoders = load_encoders(model_path, model.manifest)
        lines = (
            line
            for table, origin in read_requests(requests, model.manifest)
            for scored in score(model, encoders, table, origin)
            for line in _lines(scored, order, top)
        )
        _write(lines, output)
    except (DataError, ArtefactError) as error:
        fail(str(error))


def _lines(scored: Scored, order: str | None, top: int | None) -> Iterator[dict[str, Any]]:
    """A line a request. Without `--top` scores are in the order of the candidates; with it `candidate` has
    their places, counted from 0."""
    chosen = scored.best(order, top) if order is not None else None
    start = 0
    for place, count in enumerate(scored.counts.tolist()):
        line: dict[str, Any] = {"request": scored.first + place}
        own = {name: values[start : start + count] for name, values in scored.scores.items()}
        if chosen is not None:
            line["candidate"] = chosen[place].tolist()
            own = {name: values[chosen[place]] for name, values in own.items()}
        yield {**line, **{name: values.tolist() for name, values in own.items()}}
        start += count


def _write(lines: Iterator[dict[str, Any]], output: Path | None) -> None:
    if output is None:
        for line in lines:
            click.echo(json.dumps(line))
    elif output.suffix in (".parquet", ".pq"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(lines)), output)
    else:
        with output.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(json.dumps(line) + "\n")
    if output is not None:
        click.echo(f"{output}: written", err=True)
