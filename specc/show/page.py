"""A scene as one HTML page: the drawing, a caption, and nothing to fetch."""

from __future__ import annotations

from html import escape

from specc.show.scene import Scene
from specc.show.svg import svg

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 2rem auto; max-width: 72rem; font: 15px/1.5 Helvetica, Arial, sans-serif; color: #1f2933; }}
figure {{ margin: 0; overflow-x: auto; text-align: center; }}
svg {{ max-width: 100%; height: auto; }}
figcaption, details {{ text-align: left; color: #52606d; margin-top: 1rem; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 0.15rem 1.2rem 0.15rem 0; text-align: left; }}
td.number {{ text-align: right; }}
</style>
</head>
<body>
<figure>
{drawing}
<figcaption>{caption}</figcaption>
</figure>
<details>
<summary>Every part, with its place in the spec</summary>
<table>
<tr><th>part</th><th>computed for</th><th>parameters</th><th>place</th></tr>
{rows}
</table>
</details>
</body>
</html>
"""


def html(scene: Scene) -> str:
    """Return the scene as a self-contained HTML document."""
    drawing = svg(scene)
    rows = "\n".join(
        f"<tr><td>{escape(box.title)}</td><td>each {box.role}</td>"
        f'<td class="number">{f"{box.parameters:,}" if box.parameters else ""}</td>'
        f"<td>{escape(box.place)}</td></tr>"
        for box in scene.boxes
    )
    return _PAGE.format(
        title=escape(scene.title),
        drawing=drawing[drawing.index("<svg") :],
        caption=escape(scene.caption),
        rows=rows,
    )
