"""`specc check`: every fault of every file in one run, and the certain ones mended on request.

Promises: never imports torch; writes a file only with `--fix`, whole or not at all, and shows what changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from specc.cli.common import FAULTS, prose, set_option
from specc.report import Diagnostic, Report, Severity

_STDIN = "-"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@set_option
@click.option(
    "--format",
    "style",
    type=click.Choice(["terminal", "concise", "json"]),
    default="terminal",
    help="For people, one line a fault, or for programs.",
)
@click.option("--fix", is_flag=True, help="Mend what has one certain remedy, and show what changed.")
@click.option("--strict", is_flag=True, help="Count warnings as faults.")
@click.option("--quiet", "-q", is_flag=True, help="Show errors only.")
def command(
    files: tuple[str, ...], params: dict[str, Any], style: str, fix: bool, strict: bool, quiet: bool
) -> None:
    """Check specs and report all their faults at once. `-` reads a spec from standard input.

    Exit codes: 0 clean (or warnings only), 1 faults, 2 wrong usage.
    """
    from specc.collector import uncollected

    found: dict[tuple[str, str, int, int], Diagnostic] = {}
    variants = 0
    with uncollected():
        for name in files:
            said = _fix(name, params, style) if fix else _check(name, params)
            variants += said.variants
            for d in said:
                # Files may share libraries, and so the faults in them.
                found.setdefault((d.code, d.span.source.name, d.span.start, d.span.stop), d)
    errors = [d for d in found.values() if d.severity is Severity.ERROR]
    faulty = bool(found if strict else errors)
    shown = errors if quiet and not strict else list(found.values())
    if shown or style == "json":
        from specc.report.render import render

        # click takes the colours out where the output is no terminal.
        colour = "NO_COLOR" not in os.environ
        click.echo(render(shown, style, colour, prose()), nl=False, err=fix and _STDIN in files)
    elif not quiet and style == "terminal":
        what = f"{len(files)} files" if len(files) > 1 else files[0]
        click.echo(f"no faults in {what}{_variants(variants)}", err=True)
    sys.exit(FAULTS if faulty else 0)


def _variants(seen: int) -> str:
    """Return how many variants of the specs were looked at, if that is more than one each."""
    return f" ({seen} variants)" if seen > 1 else ""


def _check(name: str, params: Mapping[str, Any]) -> Report:
    from specc.driver import check_source, decode, read

    report = Report()
    if name == _STDIN:
        source, directory = decode("<stdin>", sys.stdin.buffer.read(), report), Path.cwd()
    else:
        source, directory = read(name, report), Path(name).parent
    if source is not None:
        check_source(source, directory, params, report)
    return report


def _fix(name: str, params: Mapping[str, Any], style: str) -> Report:
    """Mend a file, and what there is still to say about it."""
    from specc.cli import fix

    if name == _STDIN:
        report, mended = fix.mend_bytes("<stdin>", sys.stdin.buffer.read(), Path.cwd(), params)
        sys.stdout.buffer.write(mended)
        sys.stdout.buffer.flush()
        return report
    report, changes = fix.mend_file(Path(name), params)
    if changes:
        click.echo(changes, nl=False, err=style == "json")
    return report
