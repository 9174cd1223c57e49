"""`specc compile`: a spec becomes a directory with a PyTorch module, and a summary of it is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from specc.cli.common import FAULTS, fail, place_options, placement_from, set_option, show


@click.command()
@click.argument("file", type=click.Path())
@click.option("-o", "--out", type=click.Path(file_okay=False), help="The directory; build/NAME without it.")
@set_option
@click.option(
    "--passes",
    default="default",
    show_default=True,
    metavar="none|default|LIST",
    help="The optimising passes, such as fold,share; results are the same with any.",
)
@place_options
@click.option("--overwrite", is_flag=True, help="Also where a trained model is, which is lost then.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No summary.")
@click.option(
    "--verbose",
    "-v",
    is_flag=True,
    help="Also which loops and attentions have a fast kernel, and what keeps the others from one.",
)
def command(
    file: str,
    out: str | None,
    params: dict[str, Any],
    passes: str,
    places: tuple[str, ...],
    devices: tuple[str, ...],
    placement_file: str | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compile FILE to a directory: model.py, manifest.json and spec.arec, the spec as it was compiled.

    The module is ready for `specc train`, or for your own loop:
    specc_runtime.load("build/NAME", untrained=True).
    Exit codes: 0 compiled, 1 faults in the spec, 2 wrong usage.
    """
    from specc.cli.summary import as_data, as_text
    from specc.driver import compiled
    from specc.lower import lower
    from specc.lower.speed import speeds
    from specc.passes import PassError, selected
    from specc.report import Report

    if quiet and as_json:
        raise click.UsageError("--quiet leaves out the summary, which --json asks for")
    try:
        selected(passes)
    except PassError as fault:
        raise click.BadParameter(str(fault), param_hint="--passes") from None
    report = Report()
    wanted = placement_from(places, devices, placement_file)
    found = compiled(file, passes, wanted, params, report)
    show(report, "json" if as_json and found is None else "terminal")
    if found is None:
        sys.exit(FAULTS)
    directory = Path(out) if out else Path("build") / found.graph.name
    written(found.texts, directory, overwrite)
    program = lower(found.graph) if verbose else None
    kernels = [] if program is None else speeds(program)
    candidates = "" if program is None or program.parts is None else program.parts.how
    if as_json:
        data = {"directory": str(directory), **as_data(found)}
        if verbose:
            data["kernels"] = [
                {"name": s.name, "place": s.place, "fast": s.fast, "what": s.what} for s in kernels
            ]
            data["candidates"] = candidates
        click.echo(json.dumps(data, indent=2))
        return
    if not quiet:
        click.echo(as_text(found, file, directory), nl=False)
    if verbose:
        said = [f"  {'fast' if s.fast else 'slow'}  {s}" for s in kernels]
        click.echo("\n".join(["", "loops and attentions", *(said or ["  none"])]))
        click.echo(f"\ncandidates of a request\n  computed {candidates}")


def written(texts: Mapping[str, str], directory: Path, overwrite: bool) -> None:
    """Write a compiled model. Ends the command where a trained one is, and is not to be overwritten."""
    from specc_runtime.files import exclusive
    from specc_runtime.record import ArtefactError, held, replace_recorded

    with exclusive(directory, "specc compile"):
        try:
            files = held(directory)
        except ArtefactError:
            trained = True  # or what is left of it
        else:
            trained = files.record.trained if files.record else files.has("encoders.json")
        if trained and not overwrite:
            fail(
                f"{directory} has a trained model; compile to another folder (-o), or give it up: --overwrite"
            )
        with replace_recorded(directory, trained=False) as fresh:
            for name, text in texts.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_text(text, encoding="utf-8")
