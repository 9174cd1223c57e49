"""`specc prepare`: an event log becomes examples for a spec."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail, set_option, static_value

if TYPE_CHECKING:
    from specc.prepare import Prepared


@click.command("prepare", short_help="Turn an event log into examples for a spec.")
@click.argument("spec", type=click.Path(path_type=Path))
@click.argument("log", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where train.parquet, test.parquet and prepare.yaml go.",
)
@set_option
@click.option(
    "--map",
    "settings_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file of settings, such as the prepare.yaml of an earlier run.",
)
@click.option(
    "--columns", metavar="user=0,item=1,…", help="Which column of the log is what: names, or numbers from 0."
)
@click.option(
    "--items",
    type=click.Path(exists=True, dir_okay=False),
    help="A file of items: category and other attributes.",
)
@click.option("--item-columns", metavar="item=0,category=1,…", help="As --columns, for the file of items.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="PATH=WHAT",
    help="What a field takes: an attribute (item, category, age, …), a column, or a constant.",
)
@click.option("--positive", metavar="buy,cart,…", help="The behaviours that are positive; without it all.")
@click.option("--negatives", type=click.IntRange(min=0), help="Sampled negatives for each positive (1).")
@click.option(
    "--sampling", type=click.Choice(["uniform", "popularity"]), help="How negatives are drawn (uniform)."
)
@click.option("--session-gap", metavar="30m", help="Idle time that ends a session (30m).")
@click.option("--session-min", type=click.IntRange(min=1), help="Leave out sessions of fewer events (1).")
@click.option(
    "--history-min", type=click.IntRange(min=0), help="Leave out examples with fewer events before them (0)."
)
@click.option("--test", metavar="last-day|0.2|TIME", help="What the test examples are (last-day).")
@click.option(
    "--valid", metavar="last-day|0.1|TIME", help="Set validation examples apart, from the end of training."
)
@click.option("--from", "begin", metavar="TIME", help="Leave out events before it.")
@click.option("--to", "end", metavar="TIME", help="Leave out events from it on.")
@click.option("--utc-offset", type=float, help="The log's time zone in hours, for days and hours (0).")
@click.option("--seed", type=click.IntRange(min=0), help="For sampling (0).")
@click.option("--requests", is_flag=True, help="Also write the test examples as requests to score.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    spec: Path,
    log: Path,
    directory: Path,
    params: dict[str, Any],
    settings_file: Path | None,
    requests: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Turn the event LOG (CSV, TSV or Parquet) into Parquet examples for SPEC.

    Which field takes what is found from the names of fields and columns, and printed; prepare.yaml in the
    output folder has it in full. Examples follow one another in time: no history holds what came later.
    """
    from specc.cli.models import manifest_from
    from specc.prepare import PrepareError, prepare
    from specc.prepare.settings import read_settings

    manifest = manifest_from(spec, params)
    given: dict[str, Any] = {k: v for k, v in flags.items() if v not in (None, ())}
    for key in ("columns", "item_columns"):
        if key in given:
            given[key] = _pairs(given[key], f"--{key.replace('_', '-')}")
    if "fields" in given:
        given["fields"] = {path: _source(what) for path, what in map(_pair, given["fields"])}
    if "positive" in given:
        given["positive"] = [b.strip() for b in given["positive"].split(",") if b.strip()]
    try:
        done = prepare(manifest, log, directory, read_settings(settings_file, given), requests)
    except PrepareError as error:
        fail(str(error))
    if as_json:
        files = [
            {"name": f.name, "path": str(f.path), "positives": f.positives, "examples": f.examples,
             "begin": f.begin, "end": f.end} for f in done.files
        ]  # fmt: skip
        click.echo(json.dumps({"files": files, "settings": done.settings, "notes": done.notes}, indent=2))
    else:
        _show(done, directory)


def _pairs(text: str, option: str) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for part in text.split(","):
        name, equals, column = (x.strip() for x in part.partition("="))
        if not equals or not name or not column:
            raise click.BadParameter(f"{part!r} is not NAME=COLUMN, such as user=0", param_hint=option)
        found[name] = int(column) if column.isdigit() else column
    return found


def _pair(text: str) -> tuple[str, str]:
    path, equals, what = (x.strip() for x in text.partition("="))
    if not equals or not path or not what:
        raise click.BadParameter(f"{text!r} is not PATH=WHAT, such as ad.price=0", param_hint="--field")
    return path, what


def _source(what: str) -> dict[str, Any]:
    from specc.prepare.mapping import ATTRIBUTES
    from specc.prepare.settings import UNITS

    attribute, _, unit = what.partition(":")
    if attribute in ATTRIBUTES and (not unit or unit in UNITS):
        return {"attribute": attribute, **({"unit": unit} if unit else {})}
    value = static_value(what)
    return {"column": value} if isinstance(value, str) and what[0] not in "\"'" else {"constant": value}


def _show(done: Prepared, directory: Path) -> None:
    for note in done.notes:
        click.echo(note, err=True)
    click.echo(f"{done.events:,} events of {done.users:,} users and {done.items:,} items")
    rows = []
    for path, source in done.settings["fields"].items():
        what = source.get("attribute") or source.get("column") or f"constant {source['constant']!r}"
        unit = source.get("unit")
        rows.append((path, what + (f" in {unit}" if unit else "")))
    for name, source in done.settings["spaces"].items():
        of = f" of {', '.join(source['behaviours'])}" if source.get("behaviours") else ""
        rows.append((f"{name}[…]", {"noise": "sampled items", "session": "the session so far"}.get(
            source["events"], "earlier events") + of))  # fmt: skip
    for name, source in done.settings["labels"].items():
        of = ", ".join(source.get("behaviours") or done.settings.get("positive") or ["every event"])
        rows.append((name, f"{source['positive']:g} for {of}, {source['negative']:g} for sampled negatives"))
    width = max(len(path) for path, _ in rows)
    for path, what in rows:
        click.echo(f"  {path:<{width}}  {what}")
    for file in done.files:
        begin, end = (
            datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M") for t in (file.begin, file.end)
        )
        click.echo(
            f"{file.path}: {file.examples:,} examples, {file.positives:,} positive, {begin} to {end} UTC"
        )
    click.echo(f"{directory / 'prepare.yaml'}: all of this, to edit and give to --map")


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
