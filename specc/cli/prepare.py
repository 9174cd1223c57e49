"""`specc prepare`: an event log becomes examples for a spec."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail, set_option, static_value
from specc.cli.numbers import Whole

if TYPE_CHECKING:
    from specc.prepare.run import Prepared

TERMINATED = 128 + signal.SIGTERM


@click.command("prepare", short_help="Turn an event log into examples for a spec.")
@click.argument("spec", type=click.Path(path_type=Path))
@click.argument("log", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of examples: train.parquet, test.parquet, data.json and prepare.yaml. It is replaced as "
    "a whole; a run that ends early leaves it as it was.",
)
@set_option
@click.option(
    "--map",
    "settings_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file of settings, such as the prepare.yaml of an earlier run. Options given here come "
    "first.",
)
@click.option(
    "--columns",
    metavar="user=0,item=1,…",
    help="Which column of the log is what: by name, or by number from 0. user, item and time there must be, "
    "category and behaviour may; any other name is what fields may be called.",
)
@click.option(
    "--sep", metavar="CHARS", help="What separates cells of text, if it is not told by the first lines."
)
@click.option("--header/--no-header", default=None, help="Whether a first line of text is names.")
@click.option(
    "--null", multiple=True, metavar="TEXT", help="A text that stands for no value, besides the empty one."
)
@click.option(
    "--integral",
    multiple=True,
    metavar="COLUMN",
    help="A column of integers that are written as 7.0. Repeatable.",
)
@click.option(
    "--split",
    "split",
    multiple=True,
    metavar="COLUMN=CHARS",
    help="What the texts of a column are split by, where a field takes several values; `json` for JSON "
    "lists.",
)
@click.option(
    "--items",
    type=click.Path(dir_okay=False),
    help="A file of items: their category and other attributes, at any time.",
)
@click.option("--item-columns", metavar="item=0,category=1,…", help="As --columns, for the file of items.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="PATH=WHAT",
    help="What a field takes: an attribute (user, item, category, behaviour, hour, weekday, age, interval; "
    "age:hours), a column, or a constant.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=WHAT",
    help="Where a prediction's labels come from: a column, `made` (events are positive, sampled items are "
    "not), or "
    "`item` (the item is the class).",
)
@click.option(
    "--axis",
    "axes",
    multiple=True,
    metavar="SPACE=WHAT",
    help="What the outer of a sequence's two axes is: `idle` (sessions, which end after --session-gap), or a "
    "column "
    "to group by.",
)
@click.option(
    "--impression",
    metavar="COLUMN,…",
    help="Columns that only what was really shown has: null for sampled items.",
)
@click.option(
    "--request",
    metavar="COLUMN",
    help="What rows with labels share that were shown together, besides user and time; found by its name, "
    "such as impression_id.",
)
@click.option("--positive", metavar="buy,cart,…", help="The behaviours that are positive; without it all.")
@click.option(
    "--negatives",
    type=Whole(0),
    help="Sampled negatives for each positive: 1 where labels are made, none where they are read.",
)
@click.option(
    "--sampling", type=click.Choice(["uniform", "popularity"]), help="How items are sampled (uniform)."
)
@click.option("--session-gap", metavar="30m", help="Idle time that ends a session (30m).")
@click.option("--session-min", type=Whole(1), help="Leave out sessions of fewer events (1).")
@click.option("--history-min", type=Whole(0), help="Leave out examples with fewer events before them (0).")
@click.option("--test", metavar="last-day|0.2|TIME", help="What the test examples are (last-day).")
@click.option(
    "--valid", metavar="last-day|0.1|TIME", help="Set validation examples apart, from the end of training."
)
@click.option("--from", "begin", metavar="TIME", help="Leave out events before it.")
@click.option("--to", "end", metavar="TIME", help="Leave out events from it on.")
@click.option("--utc-offset", type=float, help="The log's time zone in hours, for days and hours (0).")
@click.option("--seed", type=Whole(0), help="For sampling (0).")
@click.option("--requests", is_flag=True, help="Also write the test examples as requests to score.")
@click.option(
    "--memory",
    default="2GB",
    show_default=True,
    metavar="2GB",
    help="About how much may be used. It does not change what is written.",
)
@click.option(
    "--engine",
    type=click.Choice(["here", "spark"]),
    default="here",
    show_default=True,
    help="What prepares: this process, or Spark (the extra `spark`, and Java 17), for logs that are too "
    "large for one machine. The examples are the same, in several files.",
)
@click.option(
    "--spark-conf",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of Spark's, such as spark.master=yarn (local[2] where nothing says one). Repeatable.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output folder even if it holds other files.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    spec: Path,
    log: tuple[str, ...],
    directory: Path,
    params: dict[str, Any],
    settings_file: Path | None,
    requests: bool,
    memory: str,
    engine: str,
    spark_conf: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Turn the event LOG into Parquet examples for SPEC.

    A log has a user, an item and a time an event, and perhaps a category, a behaviour, labels, and any other
    columns; as CSV, TSV, Parquet, Arrow or JSON lines, also compressed. Several files, or a folder, are one
    log.

    Labels are read, where the log has the label's column, or made: every event (of the behaviours of
    --positive) is then positive, and --negatives sampled items are not. The first line printed says which.
    No history, no sampled item and no attribute of one holds what came later, and test examples come after
    those to learn from.

    Which field takes what is found from the names of fields and columns, and printed; prepare.yaml in the
    output folder has it in full, to edit and give back with --map.

    \b
    specc prepare din.arec events.csv -o data --test 0.2
    specc prepare din.arec clicks.parquet -o data --positive buy --negatives 4
    specc prepare ctr.arec impressions.csv.gz -o data          # with a column of labels
    """
    from specc.cli.models import manifest_from
    from specc.prepare.settings import PrepareError, read_settings
    from specc_runtime.encode.faults import DataError
    from specc_runtime.files import FileError

    manifest = manifest_from(spec, params)
    given = _given(flags)
    try:
        with _stopped_by_signals(), _shown() as progress:
            run = _on_spark(spark_conf) if engine == "spark" else _here(spark_conf)
            done = run(
                manifest,
                log,
                directory,
                read_settings(settings_file, given),
                requests,
                memory=memory,
                overwrite=overwrite,
                progress=progress,
            )
    except (PrepareError, DataError, FileError) as error:
        fail(str(error))
    if as_json:
        files = [
            {"name": f.name, "path": str(f.path), "requests": f.requests, "examples": f.examples,
             "positives": f.positives, "begin": f.begin, "end": f.end} for f in done.files
        ]  # fmt: skip
        found = {
            "labels": done.labels,
            "times": done.times,
            "events": done.events,
            "users": done.users,
            "items": done.items,
            "files": files,
            "settings": done.settings,
            "mapping": dict(done.mapping),
            "notes": done.notes,
        }
        click.echo(json.dumps(found, indent=2))
    else:
        _show(done, directory)


def _here(conf: tuple[str, ...]) -> Callable[..., Prepared]:
    """Return what prepares in this process. Raises PrepareError for what only Spark takes."""
    from specc.prepare.run import prepare
    from specc.prepare.settings import PrepareError

    if conf:
        raise PrepareError("--spark-conf is for --engine spark")

    def run(manifest: Mapping[str, Any], log: Sequence[str], *rest: Any, **options: Any) -> Prepared:
        if remote := next((path for path in log if "://" in path), None):
            raise PrepareError(f"{remote} is no file of this machine; --engine spark reads it")
        return prepare(manifest, [Path(path) for path in log], *rest, **options)

    return run


def _on_spark(conf: tuple[str, ...]) -> Callable[..., Prepared]:
    from functools import partial

    from specc.prepare.spark.run import prepare_on_spark

    return partial(prepare_on_spark, conf=conf)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that options say."""
    given: dict[str, Any] = {k: v for k, v in flags.items() if v not in (None, ())}
    for key in ("columns", "item_columns"):
        if key in given:
            given[key] = _pairs(given[key], f"--{key.replace('_', '-')}")
    if "fields" in given:
        given["fields"] = {path: _source(what) for path, what in _split_pairs(given["fields"], "--field")}
    if "labels" in given:
        pairs = _split_pairs(given["labels"], "--label")
        given["labels"] = {
            name: {"how": what} if what in ("made", "item") else {"how": "read", "column": what}
            for name, what in pairs
        }
    if "axes" in given:
        given["spaces"] = {name: {"by": what} for name, what in _split_pairs(given.pop("axes"), "--axis")}
    if "split" in given:
        given["split"] = dict(_pair(text, "--split", blanks=True) for text in given["split"])
    for key in ("positive", "impression"):
        if key in given:
            given[key] = [b.strip() for b in given[key].split(",") if b.strip()]
    return given


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """End in the ordinary way, which leaves the output as it was, where the process is told to terminate."""

    def stop(number: int, frame: object) -> None:
        click.echo("terminated; the output folder is as it was", err=True)
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shown() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show progress on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, whole: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening the log", total=None, count="")

        def progress(what: str, done: int, whole: int | None) -> None:
            of = f"{done:,}" + (f" of {whole:,}" if whole else "")
            bar.update(task, description=what, completed=done, total=whole, count=of)

        yield progress


def _pairs(text: str, option: str) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for part in text.split(","):
        name, equals, column = (x.strip() for x in part.partition("="))
        if not equals or not name or not column:
            raise click.BadParameter(f"{part!r} is not NAME=COLUMN, such as user=0", param_hint=option)
        found[name] = int(column) if column.isdigit() else column
    return found


def _split_pairs(texts: tuple[str, ...], option: str) -> Iterator[tuple[str, str]]:
    return (_pair(text, option) for text in texts)


def _pair(text: str, option: str, blanks: bool = False) -> tuple[str, str]:
    path, equals, what = text.partition("=")
    if not equals or not path.strip() or not (what if blanks else what.strip()):
        examples = {"--label": "click=made", "--axis": "visits=idle", "--split": "genres=|"}
        example = examples.get(option, "ad.price=0")
        raise click.BadParameter(f"{text!r} is not NAME=WHAT, such as {example}", param_hint=option)
    return path.strip(), what if blanks else what.strip()


def _source(what: str) -> dict[str, Any]:
    from specc.prepare.names import ATTRIBUTES
    from specc.prepare.settings import UNITS

    attribute, _, unit = what.partition(":")
    if attribute in ATTRIBUTES and (not unit or unit in UNITS):
        return {"attribute": attribute, **({"unit": unit} if unit else {})}
    if what[0] in "\"'":
        return {"constant": what[1:-1] if len(what) > 1 and what[-1] == what[0] else what}
    value = static_value(what)
    return {"column": what} if isinstance(value, str | list | dict) or value is None else {"constant": value}


def _show(done: Prepared, directory: Path) -> None:
    from specc.prepare.told import LAST_KNOWN

    for note in done.notes:
        click.echo(note, err=True)
    click.echo(done.labels)
    click.echo(f"{done.events:,} events of {done.users:,} users and {done.items:,} items; {done.times}")
    rows = done.mapping
    width = max(len(path) for path, _ in rows)
    for path, what in rows:
        click.echo(f"  {path:<{width}}  {what}")
    if any(LAST_KNOWN in what for _, what in rows):
        click.echo("  (what only an event has, such as its position or cost: --impression COLUMN)")
    for file in done.files:
        click.echo(
            f"{file.path}: "
            + (f"{file.rows:,} requests with " if file.rows < file.examples else "")
            + f"{file.examples:,} {'candidates' if file.rows < file.examples else 'examples'}"
            + ("" if file.positives is None else f", {file.positives:,} positive")
            + f", {_date(file.begin)} to {_date(file.end)} UTC"
        )
    asked = [p for p in (directory / "requests.parquet", directory / "requests") if p.exists()]
    if asked:
        click.echo(f"{asked[0]}: {done.files[-1].requests:,} requests, of the test examples")
    click.echo(f"{directory / 'prepare.yaml'}: all of this, to edit and give to --map")


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
