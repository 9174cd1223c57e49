"""A scene as Mermaid flowchart text, for READMEs and notebooks that draw it themselves.

Promises: whatever stands in a spec's names, the text is one valid flowchart.
"""

from __future__ import annotations

from specc.show.scene import Box, Scene

_SHAPES = {
    "space": ("[(", ")]"),
    "learned": ("([", "])"),
    "value": ("[", "]"),
    "weight": ("{{", "}}"),
    "predict": ("[[", "]]"),
    "loss": ("[[", "]]"),
}
_COLOURS = {
    "space": "fill:#e8f0fb,stroke:#3b6fb6",
    "learned": "fill:#f3edf9,stroke:#7d55a8",
    "value": "fill:#ffffff,stroke:#8a94a3",
    "weight": "fill:#fff3dc,stroke:#c98a1b",
    "predict": "fill:#e4f4ea,stroke:#2f8a55",
    "loss": "fill:#fbe9e7,stroke:#b5483a",
}


def mermaid(scene: Scene) -> str:
    """Return the scene as a top-down `flowchart`; what is computed for each candidate has a thick border."""
    ids = {box.key: f"n{i}" for i, box in enumerate(scene.boxes)}
    lines = ["flowchart TB"]
    lines += [f"  {_box(box, ids)}" for box in scene.boxes if box.cluster is None]
    lines += _clusters(scene, None, ids, "  ")
    for arrow in scene.arrows:
        label = f'|"{_escaped(arrow.label)}"| ' if arrow.label else ""
        lines.append(f"  {ids[arrow.start]} --> {label}{ids[arrow.end]}")
    for kind, colours in _COLOURS.items():
        members = [ids[b.key] for b in scene.boxes if b.kind == kind]
        if members:
            lines += [f"  classDef {kind} {colours},color:#1f2933", f"  class {','.join(members)} {kind}"]
    candidates = [ids[b.key] for b in scene.boxes if b.role == "candidate"]
    if candidates and len(candidates) < len(scene.boxes):
        lines += ["  classDef candidate stroke-width:3px", f"  class {','.join(candidates)} candidate"]
    return "\n".join(lines) + "\n"


def _clusters(scene: Scene, parent: str | None, ids: dict[str, str], indent: str) -> list[str]:
    lines: list[str] = []
    for index, cluster in enumerate(scene.clusters):
        if cluster.parent != parent:
            continue
        lines.append(f'{indent}subgraph c{index} ["{_escaped(cluster.title)}"]')
        lines += [f"{indent}  {_box(box, ids)}" for box in scene.boxes if box.cluster == cluster.key]
        lines += _clusters(scene, cluster.key, ids, indent + "  ")
        lines.append(f"{indent}end")
    return lines


def _box(box: Box, ids: dict[str, str]) -> str:
    opening, closing = _SHAPES[box.kind]
    text = "<br/>".join([f"<b>{_escaped(box.title)}</b>", *(_escaped(line) for line in box.lines)])
    return f'{ids[box.key]}{opening}"{text}"{closing}'


def _escaped(text: str) -> str:
    """Escape a label: Mermaid reads `#name;` entities inside a quoted one."""
    for char, entity in (("#", "#35;"), ("&", "#amp;"), ("<", "#lt;"), (">", "#gt;"), ('"', "#quot;")):
        text = text.replace(char, entity)
    return text
