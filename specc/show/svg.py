"""A scene drawn as SVG by Graphviz, whose library comes with the `pygraphviz` wheel.

Promises: a self-contained picture with no system program asked for; the same scene gives the same
bytes on one machine. Leaves the choice of what is drawn to `scene`.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape

from specc.show.scene import Box, Scene

_FONT = "Helvetica"
_GAP = "\u00a0"  # a blank that labels keep
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


_KINDS = {
    "space": "feature space",
    "learned": "learned value",
    "value": "computed",
    "weight": "attention weights",
    "predict": "prediction",
    "loss": "loss",
}
_DEVICES = ("#2a7f8f", "#b5651d", "#7a4fa3", "#557a2b", "#a33a5c", "#4a5a6a")
_ROLES = {"request": ("once a request", 1.0), "candidate": ("for each candidate", 2.2)}


def svg(scene: Scene) -> str:
    """Return the scene as an SVG document, top to bottom in layers, blocks as frames."""
    import pygraphviz

    with _quiet():
        drawing = pygraphviz.AGraph(string=dot(scene))
        text = drawing.draw(format="svg", prog="dot").decode("utf-8")
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="node.*?</g>', lambda found: _centred(found[0]), text, flags=re.DOTALL)
    text = _labels_on_top(text)
    return text.replace(f'font-family="{_FONT},', f'font-family="{_FONT},Arial,').replace(
        f'font-family="{_FONT}"', f'font-family="{_FONT},Arial,sans-serif"'
    )


def _centred(node: str) -> str:
    """Draw a node's lines around its middle, whatever the width of the reader's font."""
    outline = re.search(r'(?: d|points)="([^"]*)"', node)
    if outline is None:
        return node
    across = [float(x) for x in re.findall(r"(-?[\d.]+),-?[\d.]+", outline[1])]
    middle = f"{(min(across) + max(across)) / 2:.2f}"
    return re.sub(r'text-anchor="start" x="[^"]*"', f'text-anchor="middle" x="{middle}"', node)


def _labels_on_top(text: str) -> str:
    """Draw labels of arrows and frames after all lines, on a lighter ground, so that no line goes through
    them."""
    labels: list[str] = []

    def lift(found: re.Match[str]) -> str:
        ground = 'stroke="#ffffff" stroke-width="3" stroke-opacity="0.85"'
        labels.extend([found[0].replace("<text ", f"<text {ground} ", 1), found[0]])
        return ""

    def without(found: re.Match[str]) -> str:
        return re.sub(r"<text .*?</text>\n?", lift, found[0], flags=re.DOTALL)

    text = re.sub(r'<g id="(?:edge|clust).*?</g>', without, text, flags=re.DOTALL)
    return text.replace("</g>\n</svg>", "".join(labels) + "</g>\n</svg>")


def dot(scene: Scene) -> str:
    """Write the scene in Graphviz's own language."""
    ids = {box.key: f"n{i}" for i, box in enumerate(scene.boxes)}
    devices = dict(zip(_devices(scene), _DEVICES, strict=False))
    lines = [
        "digraph {",
        f'graph [fontname="{_FONT}" fontcolor="{_INK}" fontsize=15 labelloc=t'
        f" label=<{_heading(scene, devices)}>"
        " rankdir=TB bgcolor=white nodesep=0.3 ranksep=0.38 pad=0.2 splines=spline remincross=true]",
        f'node [fontname="{_FONT}" fontcolor="{_INK}" fontsize=11 shape=box style="rounded,filled"'
        ' margin="0.16,0.07" height=0.36]',
        f'edge [fontname="{_FONT}" fontsize=9 fontcolor="{_GREY}" color="#7b8794" arrowsize=0.6]',
    ]
    lines += [_node(box, ids[box.key], devices) for box in scene.boxes if box.cluster is None]
    lines += _subgraphs(scene, None, ids, devices)
    for arrow in scene.arrows:
        lines.append(f'{ids[arrow.start]} -> {ids[arrow.end]} [label=" {_quoted(arrow.label)} "]')
    sources = [ids[b.key] for b in scene.boxes if b.kind == "space"]
    if sources:
        lines.append("{ rank=source; " + "; ".join(sources) + " }")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _devices(scene: Scene) -> list[str]:
    """Return the devices that boxes are on, but for the one that most are on."""
    return [name for name, _ in Counter(b.device for b in scene.boxes if b.device).most_common()][1:]


def _heading(scene: Scene, devices: Mapping[str, str]) -> str:
    """Draw title, caption, and what colours and lines mean."""
    rows = [f"<tr><td><b>{_text(scene.title)}</b></td></tr>"]
    if scene.caption:
        rows.append(f'<tr><td><font point-size="10" color="{_GREY}">{_text(scene.caption)}</font></td></tr>')
    kinds = [kind for kind in _KINDS if any(box.kind == kind for box in scene.boxes)]
    looks = [(_KINDS[kind], 1, *_LOOKS[kind]) for kind in kinds]
    roles = [_ROLES[role] for role in _ROLES if any(box.role == role for box in scene.boxes)]
    looks += [(meaning, round(width), "#ffffff", _GREY) for meaning, width in roles if len(roles) > 1]
    keys = [
        f'<td border="{width}" bgcolor="{fill}" color="{border}">{_small(f"{_GAP}{meaning}{_GAP}")}</td>'
        for meaning, width, fill, border in looks
    ]
    keys += [f"<td>{_bullet(colour, f' on {name}')}</td>" for name, colour in devices.items()]
    if devices:
        most = Counter(box.device for box in scene.boxes if box.device).most_common(1)[0][0]
        keys.append(f"<td>{_small(f'others on {most}')}</td>")
    inner = 'cellborder="0" cellspacing="4" cellpadding="3"'
    rows.append(f'<tr><td><table border="0" {inner}><tr>{"".join(keys)}</tr></table></td></tr>')
    return f'<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{"".join(rows)}</table>'


def _small(text: str) -> str:
    return f'<font point-size="8.5" color="{_GREY}">{_text(text)}</font>'


def _bullet(colour: str, text: str) -> str:
    return f'<font point-size="8.5" color="{colour}">●{_text(text)}</font>'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _subgraphs(
    scene: Scene, parent: str | None, ids: Mapping[str, str], devices: Mapping[str, str]
) -> list[str]:
    lines: list[str] = []
    for index, cluster in enumerate(scene.clusters):
        if cluster.parent != parent:
            continue
        lines.append(
            f"subgraph cluster_{index} {{ label=<{_text(cluster.title)}> labeljust=l labelloc=b fontsize=10"
            f' fontcolor="{_GREY}" style="rounded,filled" color="#cdd5df" fillcolor="#f7f9fb" margin=12'
        )
        lines += [_node(box, ids[box.key], devices) for box in scene.boxes if box.cluster == cluster.key]
        lines += _subgraphs(scene, cluster.key, ids, devices)
        lines.append("}")
    return lines


def _node(box: Box, name: str, devices: Mapping[str, str]) -> str:
    fill, border = _LOOKS[box.kind]
    text = f"<b>{_text(box.title)}</b>"
    for line in box.lines:
        text += f'<br/><font point-size="9.5">{_text(line)}</font>'
    if box.parameters:
        noun = "parameter" if box.parameters == 1 else "parameters"
        text += f"<br/>{_small(f'{count(box.parameters)} {noun}')}"
    if box.device is not None and box.device in devices:
        text += f"<br/>{_bullet(devices[box.device], f' on {box.device}')}"
    tip = escape(f"{box.title} ({_ROLES[box.role][0]}), {box.place}", quote=True)
    look = f'fillcolor="{fill}" color="{border}" penwidth={_ROLES[box.role][1]}'
    return f'{name} [label=<{text}> {look} tooltip="{tip}"]'


def count(number: int) -> str:
    """Write 12_345 as "12.3 k": three digits that matter."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _text(text: str) -> str:
    return escape(text, quote=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Fontconfig, which writes its opinion of the machine's font settings to the error stream."""
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
