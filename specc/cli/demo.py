"""`specc demo`: DSIN on generated events, and where its attention looks."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specc.cli.numbers import Whole

if TYPE_CHECKING:
    from specc.demo.attention import Looked, Picture
    from specc.demo.run import Shown


@click.command("demo", short_help="Train DSIN on generated events and show what it learnt.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the events, examples and model here.",
)
@click.option("--seed", type=Whole(0), default=0, show_default=True)
@click.option("--users", type=click.IntRange(50, 10**7), default=800, show_default=True, help="To generate.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(output: Path | None, seed: int, users: int, as_json: bool) -> None:
    """Generate events in which users come back to what recent sessions were about, train specs/dsin.arec on
    them, and show that the model beats popularity and that its attention found the sessions that matter."""
    from specc.cli.train import shown
    from specc.demo.run import RECIPE, run

    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, shown() as (watch, say):
        found = run(output or Path(temporary), seed, users, say, watch)
    seconds = time.monotonic() - begun
    if as_json:
        click.echo(json.dumps({**asdict(found), "seconds": seconds}, indent=2))
        return
    click.echo(_text(found, RECIPE["epochs"], seconds))
    if output is not None:
        click.echo(f"\n{output} has the events, the examples and the model")
    click.echo(what_next())


# What a first success is followed by. The commands are run by tests/train/test_demo.py.
NEXT = """
What to do next:
  specc show dsin -o dsin.svg     the model's picture
  specc compile dsin              the module that was trained, as readable Python
  specc variants dsin             the models that its spec stands for
docs/first-model.md writes a model of twenty lines; docs/event-log.md trains one on a log of yours."""


def what_next() -> str:
    """Return what a first success is followed by: first of all, where it is not there, specc on the path."""
    script = Path(sys.prefix, "bin", "activate")
    if shutil.which("specc") or not script.is_file():
        return NEXT
    here = Path.cwd()
    shown = script.relative_to(here) if script.is_relative_to(here) else script
    line = f"  source {shlex.quote(str(shown))}  ".ljust(34) + "puts specc on the path"
    return NEXT.replace("next:\n", f"next:\n{line}\n", 1)


def _text(found: Shown, epochs: int, seconds: float) -> str:
    from specc.cli.results import as_text

    lines = [
        f"{found.events:,} events were generated: users come back to what a recent session was about.",
        f"DSIN learnt from {found.train:,} examples in {epochs} epochs and was tested on {found.test:,} "
        f"later ones; {seconds:.0f} s in all.",
        "",
        as_text(found.results),
        "",
        "Did the attention find the sessions that have the candidate's category?",
    ]
    for looked in found.looked:
        lines += _looked(looked)
    if found.pictures:
        lines += [
            "",
            "Some examples, oldest session first; ● has the candidate's category:",
        ]
    for picture in found.pictures:
        lines += _picture(picture)
    return "\n".join(lines)


def _looked(looked: Looked) -> list[str]:
    from specc.demo.attention import bar

    return [
        f"  {looked.path} ({looked.examples} examples)",
        f"    matching sessions  {looked.matching:.3f}  {bar(looked.matching)}",
        f"    other sessions     {looked.other:.3f}  {bar(looked.other)}",
        f"    the largest weight is a matching session's in {looked.top_matches:.0%} "
        f"(by chance {looked.by_chance:.0%})",
    ]


def _picture(picture: Picture) -> list[str]:
    from specc.demo.attention import bar

    paths = list(picture.weights)
    lines = ["  " + " " * 12 + "  ".join(path.ljust(26) for path in paths)]
    for place, categories in enumerate(picture.sessions):
        mark = "●" if picture.candidate in categories else " "
        cells = [f"{w[place]:.2f} {bar(w[place])}".ljust(26) for w in picture.weights.values()]
        lines.append(f"  session {place + 1} {mark} " + "  ".join(cells).rstrip())
    return lines
