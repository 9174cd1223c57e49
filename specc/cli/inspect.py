"""`specc inspect`: what a trained model's values mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.data_options import data_options, tell
from specc.cli.models import ModelFolder, device_option, devices_from, trained_from, trust_option
from specc.cli.numbers import Whole

if TYPE_CHECKING:
    import pyarrow as pa

    from specc_runtime import Batch
    from specc_runtime.data import Dialect
    from specc_runtime.encode import Encoders

ROWS = 10_000


@click.command("inspect", short_help="Look into a trained model: attention, fields, tables.")
@click.argument("model_path", metavar="MODEL", type=ModelFolder())
@click.argument("data", nargs=-1, type=click.Path(path_type=Path))
@click.option("--example", type=Whole(1), metavar="N",
              help="The weights of every attention in the N-th row of DATA, counted from 1.")  # fmt: skip
@click.option("--importance", is_flag=True,
              help="What the metric loses where the values of one field are shuffled.")  # fmt: skip
@click.option("--calibration", metavar="COLUMN",
              help="Mean prediction and mean label by value of a column or field.")  # fmt: skip
@click.option(
    "--nearest", nargs=2, metavar="TABLE KEY", help="The rows of a table that are most like a key's."
)
@click.option("--top", type=Whole(1), default=10, show_default=True, help="How many, for --nearest.")
@click.option("--rows", type=Whole(1), default=ROWS, show_default=True,
              help="How many rows of DATA --importance reads.")  # fmt: skip
@click.option("--repeats", type=Whole(1), default=5, show_default=True,
              help="Shuffles of each field, for --importance.")  # fmt: skip
@click.option("--metric", help="For --importance, instead of the recipe's.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Of the shuffles.")
@data_options
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write --example as a page, too.")  # fmt: skip
@device_option
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    model_path: Path,
    data: tuple[Path, ...],
    example: int | None,
    importance: bool,
    calibration: str | None,
    nearest: tuple[str, str] | None,
    top: int,
    rows: int,
    repeats: int,
    metric: str | None,
    seed: int,
    html: Path | None,
    devices: tuple[str, ...],
    untrusted: bool,
    as_json: bool,
    dialect: Dialect,
) -> None:
    """Look into the trained MODEL with examples DATA: files or folders, as `specc evaluate` takes them.

    Exit codes: 0 done, 1 faults in data or a folder that is no model, 2 wrong usage.
    """
    asked = [example is not None, importance, calibration is not None, nearest is not None]
    if asked.count(True) != 1:
        raise click.UsageError("say one of --example, --importance, --calibration and --nearest")
    if nearest is None and not data:
        raise click.UsageError("examples are needed: specc inspect MODEL DATA …")
    if nearest is not None and data:
        raise click.UsageError("--nearest reads no data")
    if html is not None and example is None:
        raise click.UsageError("--html is for --example")
    from specc_runtime import ArtefactError
    from specc_runtime.encode import DataError
    from specc_runtime.files import FileError
    from specc_runtime.finite import NotFinite
    from specc_runtime.train import TrainingError

    model, encoders = trained_from(model_path, devices_from(devices), untrusted)
    try:
        if nearest is not None:
            found, text = _nearest(model, encoders, *nearest, top)
        elif example is not None:
            found, text = _example(model, encoders, data, example, dialect, html)
        elif importance:
            name = metric or model.manifest["train"].get("metric", "auc")
            found, text = _importance(model, encoders, data, rows, name, repeats, seed, dialect)
        else:
            assert calibration is not None
            found, text = _calibration(model, model_path, data, calibration, dialect)
    except KeyError as error:
        fail(str(error.args[0]))
    except (ArtefactError, DataError, FileError, LookupError, NotFinite, TrainingError, ValueError) as error:
        fail(str(error))
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else text)
    if html is not None:
        click.echo(f"{html}: written", err=True)


def _nearest(model: Any, encoders: Encoders, table: str, key: str, top: int) -> tuple[Any, str]:
    from specc.inspect.nearest import nearest

    found = nearest(model, encoders, table, key, top)
    lines = [f"{x.cosine:.4f}  {x.key}  ({x.count:,} times in the training data)" for x in found]
    return [asdict(x) for x in found], "\n".join(lines)


def _example(
    model: Any, encoders: Encoders, data: Sequence[Path], number: int, dialect: Dialect, page: Path | None
) -> tuple[Any, str]:
    from specc.inspect.example import as_data, as_html, as_text, example_of
    from specc.inspect.rows import said_of
    from specc_runtime.files import replace_file

    batch, table = _read(model, encoders, data, number - 1, 1, dialect, labels=False)
    found = example_of(model, encoders, batch, said_of(model.manifest, table))
    if page is not None:
        with replace_file(page) as fresh:
            fresh.write_text(as_html(found, f"Example {number}"), encoding="utf-8")
    return as_data(found), as_text(found)


def _importance(
    model: Any, encoders: Encoders, data: Sequence[Path], rows: int, metric: str, repeats: int, seed: int,
    dialect: Dialect,
) -> tuple[Any, str]:  # fmt: skip
    from specc.inspect.importance import as_text, importance

    batch, _ = _read(model, encoders, data, 0, rows, dialect, labels=True)
    whole, found = importance(model, batch, metric, repeats, seed)
    data_of = {"metric": metric, "value": whole, "examples": batch.size, "fields": [asdict(x) for x in found]}
    return data_of, as_text(metric, whole, found, batch.size)


def _calibration(
    model: Any, directory: Path, data: Sequence[Path], column: str, dialect: Dialect
) -> tuple[Any, str]:
    """Where predictions are too high or too low, by value of a column: the mean prediction over the mean
    label, and the expected calibration error."""
    from specc.cli.results import SHOWN, as_text
    from specc_runtime.data import find_tests
    from specc_runtime.train import evaluate_files

    tests, said = find_tests(data)
    for line in said:
        tell(line)
    found = evaluate_files(model, directory, tests, dialect=dialect, tell=tell, by=[column])
    rows = {
        value: {name: _calibrated(of["model"]) for name, of in part.items()}
        for value, part in found.by[column].items()
    }
    blocks = []
    for name in found.whole:
        own = [(value, dict(row[name])) for value, row in rows.items() if name in row]
        own.sort(key=lambda one: -one[1]["examples"])
        shown = {f"{value} ({of.pop('examples'):,})": of for value, of in own[:SHOWN]}
        more = len(own) - SHOWN
        blocks.append(
            as_text({f"{name} by {column}": shown})
            + (f"\n  and {more:,} rarer ones (--json has them)" if more > 0 else "")
        )
    return rows, "\n\n".join(blocks)


def _calibrated(measured: Any) -> dict[str, Any]:
    kept = {name: measured.metrics[name] for name in ("ratio", "ece") if name in measured.metrics}
    return {"examples": measured.counts["examples"], **kept}


def _read(
    model: Any,
    encoders: Encoders,
    data: Sequence[Path],
    begin: int,
    rows: int,
    dialect: Dialect,
    labels: bool,
) -> tuple[Batch, pa.Table]:
    """Return some rows of the data as one batch, grouped as they are evaluated, and the last table of them.

    labels: whether there have to be some. Raises DataError.
    """
    from specc.inspect.rows import in_files, read
    from specc_runtime.data import find_tests

    files, said = find_tests(data)
    for line in said:
        tell(line)
    found = in_files(model.manifest, files, dialect, labels)
    for note in found.examples.notes:
        tell(note)
    return read(found, encoders, begin, rows)
