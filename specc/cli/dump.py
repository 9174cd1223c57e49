"""`specc dump`: any stage of the compiler as text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from specc.cli.common import FAULTS, set_option, show

_STAGES = ("tree", "program", "graph", "passes", "lowered", "source")


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "--stage",
    type=click.Choice(_STAGES),
    default="graph",
    show_default=True,
    help="The syntax tree, all declarations by name, the typed graph, what each pass changed, kernels and "
    "their buffers, or model.py.",
)
@set_option
@click.option(
    "--passes",
    default="default",
    show_default=True,
    metavar="none|default|LIST",
    help="The optimising passes, for the stages passes, lowered and source.",
)
def command(file: str, stage: str, params: dict[str, Any], passes: str) -> None:
    """Print a stage of the compilation of FILE as text. `-` reads a spec from standard input.

    Exit codes: 0 printed, 1 faults in the spec, 2 wrong usage.
    """
    from specc.driver import decode
    from specc.dump import dump, dump_source
    from specc.passes import PassError
    from specc.report import Report

    report = Report()
    try:
        if file == "-":
            source = decode("<stdin>", sys.stdin.buffer.read(), report)
            text = dump_source(source, Path.cwd(), stage, params, passes, report) if source else ""
        else:
            text = dump(file, stage, params, passes, report)
    except PassError as fault:
        raise click.BadParameter(str(fault), param_hint="--passes") from None
    # A tree is there even where parts of the text could not be read.
    click.echo(text, nl=False)
    show(report)
    sys.exit(FAULTS if report.has_errors else 0)
