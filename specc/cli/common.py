"""What several commands share: overrides of params and places, and how diagnostics are shown."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from specc.report import Report

if TYPE_CHECKING:
    from specc.devices import Placement

FAULTS = 1  # exit code: faults in a spec or in data
F = TypeVar("F", bound=Callable[..., Any])


def set_option(command: F) -> F:
    """Add the option `--set NAME=VALUE`, as a dict `params`."""
    return click.option(
        "--set",
        "params",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda ctx, param, given: settings(given),
        help="Override a param of the spec, such as --set dim=32 or --set 'sizes=[64, 32]'. Repeatable.",
    )(command)


def place_options(command: F) -> F:
    """Add `--place`, `--device` and `--placement`, as `places`, `devices` and `placement_file`."""
    command = click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="[NAME=]TARGET",
        help="Where a declared device is, such as --device dense=cuda:1; without a name, all of them.",
    )(command)
    command = click.option(
        "--place",
        "places",
        multiple=True,
        metavar="NAMES=DEVICE",
        help="Where declared things live, such as --place tables=cpu. Repeatable.",
    )(command)
    return click.option(
        "--placement",
        "placement_file",
        type=click.Path(exists=True, dir_okay=False),
        help="A YAML file with devices: and places:.",
    )(command)


def placement_from(places: Iterable[str], devices: Iterable[str], file: str | None) -> Placement:
    """Return the placement of the options, over that of the file."""
    from specc.devices import Placement, PlacementError, from_options, from_yaml

    try:
        wanted = from_options(places, devices)
    except PlacementError as fault:
        raise click.UsageError(str(fault)) from None
    try:
        return wanted.over(from_yaml(file) if file else Placement())
    except PlacementError as fault:
        fail(str(fault))


def settings(given: Iterable[str]) -> dict[str, Any]:
    """Parse `dim=32`, `sizes=[64, 32]`, `fusion=pooling` as values by name. Raises click.BadParameter."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or not value.strip():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as dim=32")
        if name in found:
            raise click.BadParameter(f"{name} is set twice")
        found[name] = static_value(value.strip())
    return found


def static_value(text: str) -> Any:
    """Parse a value as a spec writes it: a number, true, false, a list, a text, or a bare word."""
    try:
        return json.loads(text.replace("_", "") if text[:1].isdigit() else text)
    except ValueError:
        return text
    except RecursionError:
        raise click.BadParameter(f"{text[:20]}… is nested too deeply") from None


def prose() -> int:
    """Return how many columns prose may have: those of the terminal, if there is one and it is narrow."""
    return min(100, shutil.get_terminal_size((100, 24)).columns)


def show(report: Report, style: str = "terminal") -> None:
    """Show diagnostics on stderr; JSON, which programs read, on stdout."""
    if style == "json":
        from specc.report.render import render

        click.echo(render(report, "json"), nl=False)
    elif len(report):
        from specc.report.render import render

        # click takes the colours out where stderr is no terminal.
        click.echo(render(report, style, colour=True, width=prose()), err=True, nl=False)


def again(changes: Iterable[str] = (), without: Iterable[str] = ()) -> str:
    """Return the command that runs, to be typed once more. changes: options that are added. without: options
    that are taken away; those that have a value end with `=`."""
    context = click.get_current_context()
    given: list[str] = list(context.find_root().meta.get("arguments", [context.info_name]))
    flags = {name for name in without if not name.endswith("=")}
    valued = {name.removesuffix("=") for name in without if name.endswith("=")}
    kept, skip = [], False
    for text in given:
        if skip:
            skip = False
        elif text in valued:
            skip = True
        elif text not in flags and text.partition("=")[0] not in valued:
            kept.append(text)
    return shlex.join([*_program(kept), *kept, *changes])


def _program(kept: Sequence[str]) -> list[str]:
    """Return what the command line begins with: specc, or torchrun where that has started this process."""
    here, machines = os.environ.get("LOCAL_WORLD_SIZE"), os.environ.get("GROUP_WORLD_SIZE", "1")
    if here is None or os.environ.get("WORLD_SIZE", "1") == "1":
        return ["specc"]
    more = [] if machines == "1" else ["--nnodes", machines]
    # torchrun takes a --log behind the program for the beginning of an option of its own.
    ends = ["--"] if any(text.partition("=")[0] == "--log" for text in kept) else []
    return ["torchrun", *more, "--nproc-per-node", here, "-m", *ends, "specc"]


def fail(message: str) -> NoReturn:
    """End with a fault of the user's data or files."""
    click.echo(f"error: {message}", err=True)
    sys.exit(FAULTS)
