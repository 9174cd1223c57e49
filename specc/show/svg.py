"""A scene drawn as SVG by Graphviz, whose library comes with the `pygraphviz` wheel.

Promises: a self-contained picture with no system program asked for; the same scene gives the same
bytes on one machine. Leaves the choice of what is drawn to `scene`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from specc.show.scene import Box, Scene

_FONT = "Helvetica"
_INK, _GREY = "#1f2933", "#6b7683"
# kind: fill, border
_LOOKS = {
    "space": ("#e8f0fb", "#3b6fb6"),
    "learned": ("#f3edf9", "#7d55a8"),
    "value": ("#ffffff", "#8a94a3"),
    "weight": ("#fff3dc", "#c98a1b"),
    "predict": ("#e4f4ea", "#2f8a55"),
    "loss": ("#fbe9e7", "#b5483a"),
}


def svg(scene: Scene) -> str:
    """The scene as an SVG document, top to bottom in layers, blocks as frames."""
    import pygraphviz

    with _quiet():
        drawing = pygraphviz.AGraph(string=dot(scene))
        text = drawing.draw(format="svg", prog="dot").decode("utf-8")
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    return text.replace(f'font-family="{_FONT},', f'font-family="{_FONT},Arial,').replace(
        f'font-family="{_FONT}"', f'font-family="{_FONT},Arial,sans-serif"'
    )


def dot(scene: Scene) -> str:
    """The scene in Graphviz's own language."""
    ids = {box.key: f"n{i}" for i, box in enumerate(scene.boxes)}
    caption = f"<b>{_text(scene.title)}</b>"
    if scene.caption:
        caption += f'<br/><font point-size="10" color="{_GREY}">{_text(scene.caption)}</font>'
    lines = [
        "digraph {",
        f'graph [fontname="{_FONT}" fontcolor="{_INK}" fontsize=15 labelloc=t label=<{caption}> rankdir=TB'
        " bgcolor=white nodesep=0.32 ranksep=0.42 pad=0.2 splines=spline remincross=true]",
        f'node [fontname="{_FONT}" fontcolor="{_INK}" fontsize=11 shape=box style="rounded,filled"'
        ' margin="0.14,0.07" penwidth=1.1 height=0.36]',
        f'edge [fontname="{_FONT}" fontsize=9 fontcolor="{_GREY}" color="#7b8794" arrowsize=0.6]',
    ]
    lines += [_node(box, ids[box.key]) for box in scene.boxes if box.cluster is None]
    lines += _subgraphs(scene, None, ids)
    for arrow in scene.arrows:
        lines.append(f"{ids[arrow.start]} -> {ids[arrow.end]} [label=<&#160;{_text(arrow.label)}&#160;>]")
    sources = [ids[b.key] for b in scene.boxes if b.kind == "space"]
    lines.append("{ rank=source; " + "; ".join(sources) + " }")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _subgraphs(scene: Scene, parent: str | None, ids: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for index, cluster in enumerate(scene.clusters):
        if cluster.parent != parent:
            continue
        lines.append(
            f"subgraph cluster_{index} {{ label=<{_text(cluster.title)}> labeljust=l fontsize=10"
            f' fontcolor="{_GREY}" style="rounded,filled" color="#cdd5df" fillcolor="#f7f9fb" margin=12'
        )
        lines += [_node(box, ids[box.key]) for box in scene.boxes if box.cluster == cluster.key]
        lines += _subgraphs(scene, cluster.key, ids)
        lines.append("}")
    return lines


def _node(box: Box, name: str) -> str:
    fill, border = _LOOKS[box.kind]
    label = f"<b>{_text(box.title)}</b>"
    for line in box.lines:
        label += f'<br/><font point-size="9.5">{_text(line)}</font>'
    if box.parameters:
        label += f'<br/><font point-size="8.5" color="{_GREY}">{count(box.parameters)} parameters</font>'
    tip = escape(f"{box.title} ({box.role}), {box.place}", quote=True)
    width = 1.8 if box.role == "candidate" else 1.1
    return f'{name} [label=<{label}> fillcolor="{fill}" color="{border}" penwidth={width} tooltip="{tip}"]'


def count(number: int) -> str:
    """12_345 -> "12.3 k": three digits that matter."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _text(text: str) -> str:
    return escape(text, quote=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Fontconfig writes its opinion of the machine's font settings to the error stream."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
