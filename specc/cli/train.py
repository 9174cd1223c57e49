"""`specc train`: a model learns from examples."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import again, fail, set_option
from specc.cli.data_options import data_options, tell
from specc.cli.models import device_option, devices_from, model_from
from specc.cli.numbers import Whole

if TYPE_CHECKING:
    from specc_runtime.data import Dialect
    from specc_runtime.train import Progress
    from specc_runtime.train.report import Logger

PATH = click.Path(path_type=Path)


class _Above0(click.FloatRange):
    """A finite number above 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


ABOVE_0 = _Above0(min=0, min_open=True)


@click.command("train", short_help="Train a model on examples.")
@click.argument("model_path", metavar="MODEL", type=click.Path(exists=True, path_type=Path))
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the trained model goes; without it MODEL itself, or build/NAME for a spec.",
)
@set_option
@click.option(
    "--valid", multiple=True, type=click.Path(path_type=Path), help="Examples to choose the best epoch by."
)
@click.option(
    "--test", multiple=True, type=click.Path(path_type=Path), help="Examples to evaluate on at the end."
)
@click.option("--epochs", type=Whole(1), help="Instead of the recipe's.")
@click.option("--batch", type=Whole(1), help="Examples a step, instead of the recipe's.")
@click.option("--optimizer", help="Instead of the recipe's: adam, adamw, adagrad, sgd or rmsprop.")
@click.option("--lr", type=ABOVE_0, help="Learning rate, instead of the recipe's.")
@click.option("--clip", type=ABOVE_0, help="Largest norm of the gradient.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="What a step computes in, instead of the recipe's.",
)
@click.option("--seed", type=Whole(0), help="For weights, order and dropout, instead of the recipe's.")
@click.option("--patience", type=Whole(1), help="Stop after so many epochs without a better one.")
@click.option("--every", type=Whole(1), help="Write a checkpoint after so many steps, too.")
@data_options
@click.option(
    "--tensorboard", type=PATH, metavar="DIR", help="Write losses and metrics for TensorBoard, too."
)
@device_option
@click.option("--resume", is_flag=True, help="Go on from the checkpoint of an earlier, interrupted run.")
@click.option(
    "--start-from",
    metavar="MODEL",
    type=click.Path(exists=True, path_type=Path, file_okay=False),
    help="Begin with what a trained model has learnt: weights by path, table rows by key.",
)
@click.option("--overwrite", is_flag=True, help="Train anew where a trained model is, and take its place.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    model_path: Path,
    data: tuple[Path, ...],
    output: Path | None,
    params: dict[str, Any],
    valid: tuple[Path, ...],
    test: tuple[Path, ...],
    tensorboard: Path | None,
    devices: tuple[str, ...],
    resume: bool,
    start_from: Path | None,
    overwrite: bool,
    as_json: bool,
    dialect: Dialect,
    **changes: Any,
) -> None:
    """Train MODEL (a spec, or a compiled directory) on the examples DATA.

    DATA are files (Parquet, Arrow, CSV, TSV, JSON lines; also .gz, .zst, .bz2) or folders of them. In a
    folder, files and subfolders called train, valid and test are learned from, used to choose the best epoch
    by, and evaluated on. Ctrl-C writes a checkpoint; --resume goes on from it exactly as if nothing had been.
    """
    from specc.cli.results import as_json as in_full
    from specc.cli.results import course, described
    from specc_runtime import ArtefactError, DeviceError
    from specc_runtime.data import find_parts
    from specc_runtime.encode import DataError
    from specc_runtime.files import FileError
    from specc_runtime.finite import NotFinite
    from specc_runtime.train import (
        Interrupted,
        Recipe,
        TrainingError,
        evaluate_files,
        first_of,
        fit,
        has_trained,
        is_start,
        opened,
    )

    directory = output or (model_path if model_path.is_dir() else Path("build") / model_path.stem)
    if resume and (overwrite or start_from is not None):
        raise click.UsageError("--resume goes on with what was begun, without --start-from and --overwrite")
    try:
        if not (resume or overwrite or is_start(start_from, directory)) and has_trained(directory):
            same = again(["--start-from", str(directory)], without=["--start-from="])
            fail(
                f"{directory} has a trained model, whose place the new one would take.\n"
                f"To go on from what it has learnt:\n  {same}\nTo begin anew:\n  {again(['--overwrite'])}\n"
                "To keep it, give another folder with -o"
            )
        # Resuming needs the code of the model that was begun, not that of the spec as it is now.
        source = opened(directory) if resume and model_path.is_dir() else model_path
    except ArtefactError as error:
        fail(str(error))
    model = model_from(source, params, devices_from(devices), changes["seed"], anew=True)
    recipe = Recipe.of(model.manifest).changed(**changes)
    if (why := recipe.why_whole()) is not None:
        tell(f"{why}: tables are trained as a whole, at a cost that grows with their rows")
    begun = time.monotonic()
    try:
        parts = find_parts(data)
        for line in parts.said:
            tell(line)
        if not parts.train:
            fail(f"{', '.join(map(str, data))}: nothing in it is called train, to be learned from")
        if recipe.patience is not None and not (valid or parts.valid):
            tell("without validation data `patience` stops nothing (--valid gives some)")
        with shown() as (watch, say):
            outcome = fit(model, parts.train, directory, recipe, valid=files_of(valid) or parts.valid,
                          resume=resume, overwrite=overwrite, start_from=start_from,
                          dialect=dialect, tell=tell,
                          beside=[model_path if model_path.is_dir() else model_path.parent, Path()],
                          watch=watch, say=say, loggers=boards(tensorboard))  # fmt: skip
        seconds = time.monotonic() - begun
        tests, at = files_of(test) or parts.test, first_of(recipe.metric)
        tested = (
            evaluate_files(model, directory, tests, recipe.group, dialect=dialect, tell=tell, at=at)
            if tests
            else None
        )
    except (DataError, ArtefactError, DeviceError, FileError, NotFinite, TrainingError, ValueError) as error:
        fail(str(error))
    except Interrupted as stopped:
        more = again(["--resume"], without=["--resume", "--overwrite", "--start-from="])
        click.echo(f"interrupted; the checkpoint is written. Go on with:\n  {more}", err=True)
        sys.exit(128 + stopped.number)
    if as_json:
        click.echo(
            json.dumps(
                {"model": str(directory), "seconds": seconds, "epochs": outcome.epochs, "best": outcome.best,
                 "metric": recipe.metric, "before": outcome.before,
                 "test": None if tested is None else in_full(tested)},
                indent=2,
            )
        )  # fmt: skip
        return
    click.echo(course(outcome, recipe))
    if tested is not None:
        click.echo(f"\non the test data: {described(tested)}\n")
    click.echo(f"{directory}: trained in {seconds:.1f} s")


def boards(folder: Path | None) -> list[Logger]:
    """Return TensorBoard's logger, where it is asked for. Ends the command where it is not installed."""
    if folder is None:
        return []
    from specc_runtime.train.report import TensorBoard

    try:
        return [TensorBoard(folder)]
    except ImportError:
        fail("--tensorboard needs TensorBoard: pip install 'arec[tensorboard]'")


def files_of(paths: tuple[Path, ...]) -> list[Path]:
    from specc_runtime.data import find_files

    return find_files(paths) if paths else []


@contextmanager
def shown() -> Iterator[tuple[Callable[[Progress], None], Callable[[str], None]]]:
    """Show a progress bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda progress: None, lambda text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[more]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None, more="")

        def watch(now: Any) -> None:
            bar.update(
                task,
                description=f"epoch {now.epoch}/{now.epochs}",
                completed=now.step,
                total=now.steps,
                more=f"loss {now.loss:.4f}  {now.speed:,.0f} examples/s",
            )

        yield watch, lambda text: bar.update(task, description=text)
