"""`specc fmt`: specs in their one canonical form.

Promises: never imports torch; a file is replaced whole or not at all, and only where its form differs; what
cannot be read is reported and left as it is.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from specc.cli.common import FAULTS, fail
from specc.report import Report

_STDIN = "-"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Change nothing; print what would change.")
def command(files: tuple[str, ...], check: bool, diff: bool) -> None:
    """Rewrite specs in their one canonical form. There are no options to it.

    A folder stands for all specs in it. `-` formats standard input to standard output.

    Exit codes: 0 fine, 1 faults in a spec (or, with --check, files that would change), 2 wrong usage.
    """
    faulty, changed = False, 0
    for name in _named(files):
        report = Report()
        found = _formatted(name, report)
        if found is None:
            from specc.report.render import render

            click.echo(render(report, "terminal", colour=True), err=True, nl=False)
            faulty = True
            continue
        before, after = found
        differs = after != before
        changed += differs
        if diff:
            click.echo(_difference(name, before, after), nl=False)
        elif check:
            if differs:
                click.echo(f"would change {name}", err=True)
        elif name == _STDIN:
            sys.stdout.buffer.write(after)
            sys.stdout.buffer.flush()
        elif differs:
            _write(name, after)
            click.echo(f"changed {name}", err=True)
    sys.exit(FAULTS if faulty or (check and changed) else 0)


def _named(files: tuple[str, ...]) -> Iterator[str]:
    for name in files:
        path = Path(name)
        if name != _STDIN and path.is_dir():
            found = sorted(path.rglob("*.arec"))
            if not found:
                raise click.BadParameter(f"there is no .arec file in {name}")
            yield from map(str, found)
        else:
            yield name


def _formatted(name: str, report: Report) -> tuple[bytes, bytes] | None:
    """Return a text before and after, or None once its faults are in the report."""
    from specc.driver import decode, read
    from specc.syntax.print import NotTheSame, Unreadable, format_source

    if name == _STDIN:
        before = sys.stdin.buffer.read()
        source = decode("<stdin>", before, report)
    else:
        source = read(name, report)
        before = Path(name).read_bytes() if source is not None else b""
    if source is None:
        return None
    try:
        return before, format_source(source).encode()
    except Unreadable as fault:
        for diagnostic in fault.report:
            report.add(diagnostic)
        return None
    except NotTheSame as fault:
        fail(f"{name} is left as it is: {fault}; this is a defect of the formatter, so please report it")


def _write(name: str, data: bytes) -> None:
    from specc_runtime.files import replace_file

    with replace_file(name) as fresh:
        fresh.write_bytes(data)


def _difference(name: str, before: bytes, after: bytes) -> str:
    lines = difflib.unified_diff(
        before.decode("utf-8-sig").splitlines(keepends=True),
        after.decode().splitlines(keepends=True),
        name,
        name,
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
