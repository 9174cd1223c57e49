"""A compiled model in a notebook: its picture and a summary.

Promises: of a model's folder only its spec is read, and no code is run.
"""

from __future__ import annotations

import tempfile
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter

from specc import pages
from specc.cli.summary import Section, lines_of, params, sections
from specc.driver import load
from specc.ide.highlight import ArecLexer
from specc.ir.graph import Graph
from specc.passes import prepared
from specc.passes.placement import place
from specc.show.scene import scene
from specc.show.svg import svg
from specc_runtime import Model
from specc_runtime.record import SPEC

SHOWN = ("Inputs", "Predictions", "Parameters")


def bundle(model: Model) -> dict[str, str]:
    """Return a model as text and as HTML. One whose folder has no spec is shown as torch shows it."""
    graph = _graph(model.files)
    if graph is None:
        return {"text/plain": repr(model)}
    kept = [section for section in sections(graph, graph) if section.title in SHOWN]
    title = graph.name + (f": {params(graph)}" if graph.params else "")
    state = f"{sum(w.numel() for w in model.parameters()):,} parameters"
    if model.directory is not None:
        state += f", of the folder {model.directory}"
    text = "\n".join([f"{title}\n  {state}", *(line for one in kept for line in lines_of(one))])
    return {"text/plain": text, "text/html": _html(graph, title, state, kept, model.files[SPEC])}


def _graph(files: Mapping[str, str]) -> Graph | None:
    """The graph of an artefact's texts, with roles and devices; None where they have no spec that is read."""
    if SPEC not in files:
        return None
    with tempfile.TemporaryDirectory(prefix="arec-") as folder:
        for name, text in files.items():
            if name.endswith(".arec"):
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_text(text, encoding="utf-8")
        graph, _ = load(Path(folder) / SPEC)
    return None if graph is None else place(prepared(graph))


def _html(graph: Graph, title: str, state: str, kept: list[Section], spec: str) -> str:
    picture = b64encode(svg(scene(graph)).encode()).decode()
    tables = "".join(
        pages.table(one.head or [""] * len(one.rows[0]), one.rows, caption=one.title)
        for one in kept
        if one.rows
    )
    text = highlight(spec, ArecLexer(), HtmlFormatter(noclasses=True))
    return pages.fragment(
        f"<p><b>{escape(title)}</b> <span>{escape(state)}</span></p>",
        f'<img alt="{escape(graph.name)}" style="max-width: 100%; max-height: 60rem; background: white"'
        f' src="data:image/svg+xml;base64,{picture}">',
        f"<details><summary>inputs, predictions, parameters</summary>{tables}</details>",
        f'<details><summary>spec</summary><div style="color: #1f2933">{text}</div></details>',
    )
