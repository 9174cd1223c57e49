"""`specc train`: a model learns from examples."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from specc.cli.common import again, fail, set_option
from specc.cli.data_options import data_options, tell
from specc.cli.models import SpecOrFolder, device_option, devices_from, untrained_from
from specc.cli.numbers import Whole
from specc.cli.processes import one_voice

if TYPE_CHECKING:
    from specc_runtime.data import Dialect
    from specc_runtime.ranks import Ranks
    from specc_runtime.train import Progress
    from specc_runtime.train.loggers import Unfailing

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
@click.argument("model_path", metavar="MODEL", type=SpecOrFolder())
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
    "--log",
    "logs",
    multiple=True,
    metavar="NAME[=WHERE]",
    help="Tell tensorboard[=DIR], mlflow[=STORE] or wandb[=PROJECT] how it goes, too. Repeatable.",
)
@click.option("--tensorboard", type=PATH, metavar="DIR", help="Deprecated: --log tensorboard=DIR.")
@device_option
@click.option(
    "--tables",
    type=click.Choice(["replicated", "sharded"]),
    help="Whether each process holds all tables, or TorchRec divides them. Without it the spec says.",
)
@click.option("--rowwise", is_flag=True, help="Of divided tables: Adagrad keeps one number a row.")
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
    output: Path | None,
    resume: bool,
    start_from: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Train MODEL (a spec, or a compiled directory) on the examples DATA.

    DATA are files (Parquet, Arrow, CSV, TSV, JSON lines; also .gz, .zst, .bz2) or folders of them. In a
    folder, files and subfolders called train, valid and test are learned from, used to choose the best epoch
    by, and evaluated on. Ctrl-C writes a checkpoint; --resume goes on from it exactly as if nothing had been.
    `torchrun --nproc-per-node 2 -m specc train …` trains in two processes, each on its half of every batch.
    """
    directory = output or (model_path if model_path.is_dir() else Path("build") / model_path.stem)
    if resume and (overwrite or start_from is not None):
        raise click.UsageError("--resume goes on with what was begun, without --start-from and --overwrite")
    with one_voice(lambda: _left(directory)) as joined:
        _train(model_path, directory, joined, resume, start_from, overwrite, **options)


def _left(directory: Path) -> str:
    """Return what there is to go on from where a process of a training is gone."""
    try:
        step = json.loads((directory / "checkpoint" / "state.json").read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return "no checkpoint has been written; --every 1000 writes one after so many steps"
    more = again(["--resume"], without=["--resume", "--overwrite", "--start-from="])
    return f"the checkpoint of step {step:,} is whole. Go on with:\n  {more}"


def _train(
    model_path: Path,
    directory: Path,
    joined: Ranks | None,
    resume: bool,
    start_from: Path | None,
    overwrite: bool,
    *,
    data: tuple[Path, ...],
    params: dict[str, Any],
    valid: tuple[Path, ...],
    test: tuple[Path, ...],
    logs: tuple[str, ...],
    tensorboard: Path | None,
    devices: tuple[str, ...],
    tables: Literal["replicated", "sharded"] | None,
    rowwise: bool,
    as_json: bool,
    dialect: Dialect,
    **changes: Any,
) -> None:
    """Train in this process. joined: those that it has joined."""
    from specc.cli.results import as_json as in_full
    from specc.cli.results import course, described
    from specc_runtime import ArtefactError, DeviceError
    from specc_runtime.data import USES, find_parts
    from specc_runtime.encode import DataError
    from specc_runtime.files import FileError
    from specc_runtime.finite import NotFinite
    from specc_runtime.train import (
        Interrupted,
        Recipe,
        TrainingError,
        divided_in,
        fit,
        has_trained,
        is_start,
        opened,
    )

    loggers = loggers_of(logs, tensorboard) if joined is None or joined.first else []
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
        before = divided_in(directory) if resume else None
    except ArtefactError as error:
        fail(str(error))
    model = untrained_from(source, params, devices_from(devices), changes["seed"], tables, before)
    if joined is not None:
        try:
            joined.check(model)
        except DeviceError as error:
            fail(str(error))
    if joined is None and tables is None and before is None:
        _tell_sharded(model.manifest)
    recipe = Recipe.of(model.manifest).changed(**changes)
    if (why := recipe.why_whole()) is not None:
        tell(f"{why}: tables are trained as a whole, at a cost that grows with their rows")
    try:
        others = {part: f"left alone, as --{part} gives others"
                  for part, given in (("valid", valid), ("test", test)) if given}  # fmt: skip
        parts = find_parts(data, {**USES, **others})
        for line in parts.said:
            tell(line)
        if not parts.train:
            fail(f"{', '.join(map(str, data))}: nothing in it is called train, to be learned from")
        if recipe.patience is not None and not (valid or parts.valid):
            tell("without validation data `patience` stops nothing (--valid gives some)")
        with shown() as (watch, say):
            outcome = fit(model, parts.train, directory, recipe, valid=files_of(valid) or parts.valid,
                          test=files_of(test) or parts.test, resume=resume, overwrite=overwrite,
                          start_from=start_from, dialect=dialect, tell=tell, tables=tables, rowwise=rowwise,
                          beside=[model_path if model_path.is_dir() else model_path.parent, Path()],
                          watch=watch, say=say, loggers=loggers)  # fmt: skip
        if joined is not None and not joined.first:
            return
    except (DataError, ArtefactError, DeviceError, FileError, NotFinite, TrainingError, ValueError) as error:
        fail(str(error))
    except Interrupted as stopped:
        more = again(["--resume"], without=["--resume", "--overwrite", "--start-from="])
        click.echo(f"interrupted; the checkpoint is written. Go on with:\n  {more}", err=True)
        sys.exit(128 + stopped.number)
    for logger in loggers:
        if not logger.failed:
            tell(f"told {logger}")
    if as_json:
        found = {
            "model": str(directory), "seconds": outcome.seconds, "epochs": outcome.epochs,
            "best": outcome.best, "metric": recipe.metric, "before": outcome.before,
            "test": None if outcome.test is None else in_full(outcome.test),
        }  # fmt: skip
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(course(outcome, recipe))
    if outcome.test is not None:
        click.echo(f"\non the test data: {described(outcome.test)}\n")
    click.echo(f"{directory}: trained in {outcome.seconds:.1f} s")


def _tell_sharded(manifest: Mapping[str, Any]) -> None:
    """Tell of tables that are on `sharded` where one process has them whole."""
    names = [t["path"].removesuffix(".weight") for t in manifest.get("tables", ()) if t.get("sharded")]
    if names:
        tell(
            f"{', '.join(names)}: on sharded, between processes that train (torchrun --nproc-per-node 2 -m "
            "specc train …); this is one, which has all rows"
        )


def loggers_of(logs: tuple[str, ...], tensorboard: Path | None) -> list[Unfailing]:
    """Return the loggers that are asked for. Ends the command where one is unknown or not installed."""
    if tensorboard is not None:
        tell(f"--tensorboard DIR will go: write --log tensorboard={tensorboard}")
        logs = (*logs, f"tensorboard={tensorboard}")
    if not logs:
        return []
    from specc.report.suggest import nearest
    from specc_runtime.train.loggers import LOGGERS

    found = []
    for text in logs:
        name, _, where = text.partition("=")
        if name not in LOGGERS:
            close = nearest(name, LOGGERS)
            also = f"; did you mean {close}?" if close else ""
            raise click.BadParameter(
                f"there is no logger {name!r}, only {', '.join(LOGGERS)}{also}", param_hint="--log"
            )
        try:
            found.append(LOGGERS[name](where or None))
        except ImportError as error:
            fail(f"--log {name} needs a library that is not here ({error}): pip install 'arec[{name}]'")
    return found


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
