"""`specc show`: a model as a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from specc.cli.common import FAULTS, set_option, show
from specc_runtime.files import replace_file

_ENDINGS = (".svg", ".html", ".mmd", ".md", ".dot")


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False),
    help="Where to: .svg, .html (self-contained), .mmd (Mermaid), .md (Markdown), .dot (Graphviz).",
)
@click.option(
    "--detail",
    type=click.Choice(["blocks", "bindings", "ops"]),
    default="bindings",
    show_default=True,
    help="One box a top-level name, one an inner binding too, or one an operation.",
)
@set_option
def command(file: str, out: str | None, detail: str, params: dict[str, Any]) -> None:
    """Draw the model of FILE from its typed graph; without -o, as Mermaid text on standard output.

    Exit codes: 0 drawn, 1 faults in the spec, 2 wrong usage.
    """
    from specc.driver import load
    from specc.passes import prepared
    from specc.passes.placement import place
    from specc.show.scene import scene

    ending = Path(out).suffix.lower() if out else ".mmd"
    if ending not in _ENDINGS:
        raise click.BadParameter(
            f"{out} ends in none of {', '.join(_ENDINGS)}, which say what to draw", param_hint="-o"
        )
    graph, report = load(file, params)
    show(report)
    if graph is None:
        sys.exit(FAULTS)
    text = _drawn(scene(place(prepared(graph)), detail), ending)  # type: ignore[arg-type]
    if out is None:
        click.echo(text, nl=False)
        return
    with replace_file(out) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _drawn(scene: Any, ending: str) -> str:
    from specc.show import mermaid, page, svg

    match ending:
        case ".svg":
            return svg.svg(scene)
        case ".html":
            return page.html(scene)
        case ".dot":
            return svg.dot(scene)
        case ".md":
            return f"```mermaid\n{mermaid.mermaid(scene)}```\n"
        case _:
            return mermaid.mermaid(scene)
