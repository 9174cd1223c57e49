"""Reports as one HTML file: a frame, tables, and plots as inline SVG.

Promises: a page needs no network and no script; it reads on narrow and wide screens, in light and in dark
(`prefers-color-scheme`), and every text given is escaped. What has no values (None, NaN) is left empty.
Every function returns HTML; `page` puts it together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 6  # series that can be told apart; with the seventh they begin anew, dashed
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1c2430; --soft: #5c6773; --rule: #d8dee5;
  --panel: #f6f8fa; --c0: #0b62c4; --c1: #c2410c; --c2: #15803d; --c3: #a21caf; --c4: #8a6100;
  --c5: #0f766e; }
@media (prefers-color-scheme: dark) { :root { --back: #14181d; --ink: #e6eaee; --soft: #a0abb6;
  --rule: #37404a; --panel: #1c2229; --c0: #6cb0ff; --c1: #ff9a62; --c2: #5fd38a; --c3: #e88af5;
  --c4: #e2b93b; --c5: #4fd1c5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; background: var(--back);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--rule);
  overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
p.soft, figcaption, caption { color: var(--soft); }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .25rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); }
td.n, th.n { text-align: right; white-space: nowrap; padding-left: .9rem; padding-right: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21em), 1fr)); gap: 1rem;
  margin: .75rem 0; }
figure { margin: 0; padding: .75rem; background: var(--panel); border-radius: .5rem; min-width: 0;
  width: auto; text-align: left; }
figcaption { font-size: .9em; font-style: normal; margin: 0; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); display: block; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
svg .rule { stroke: var(--rule); } svg .axis { stroke: var(--soft); }
svg path.line { fill: none; stroke-width: 2; stroke-linejoin: round; } svg .dashed { stroke-dasharray: 5 4; }
.key { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .85rem; padding: .3rem 0 0; margin: 0;
  list-style: none; }
.key li { display: flex; align-items: center; gap: .4rem; overflow-wrap: anywhere; min-width: 0; }
.key svg { width: 20px; height: 8px; flex: none; }
"""
_STYLE += "".join(
    f".s{i} {{ stroke: var(--c{i}); }} .f{i} {{ fill: var(--c{i}); }}\n" for i in range(COLOURS)
)

# The same within another page, which says how dark it is by the colour of its text.
_RULE = re.compile(r"(?:^|(?<=\}))\s*([^{}]+?)\s*\{")
_OWN = _STYLE[_STYLE.index("h1 {") :]
_WITHIN = (
    ".arec { --ink: currentColor; --soft: color-mix(in srgb, currentColor 70%, transparent);\n"
    "  --rule: color-mix(in srgb, currentColor 18%, transparent);\n"
    "  --panel: color-mix(in srgb, currentColor 5%, transparent);\n"
    "  --c0: #2f81f7; --c1: #e0632a; --c2: #2ea043; --c3: #c74fd6; --c4: #b58a00; --c5: #1ba39c; }\n"
    + _RULE.sub(
        lambda found: "\n" + ", ".join(f".arec {one.strip()}" for one in found[1].split(",")) + " {", _OWN
    )
)

_ENDLESS = 1e300  # from here on a difference of two values may be infinite
# A figure's size in units of its SVG, and the room around what is plotted.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 280, 52, 12, 10, 42


@dataclass(frozen=True)
class Series:
    """A named line through points (x, y). dashed: for what the others are compared with."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def page(title: str, *blocks: str, about: str = "") -> str:
    """A whole page. about: a line below the title."""
    said = paragraph(about, soft=True) if about else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{said}" + "".join(blocks) + "</body>\n</html>\n"
    )


def fragment(*blocks: str) -> str:
    """Blocks as a part of somebody else's page, such as a notebook's, in its colours."""
    return f'<div class="arec">\n<style>{_WITHIN}</style>\n{"".join(blocks)}</div>\n'


def section(heading: str, *blocks: str) -> str:
    return f"<h2>{escape(heading)}</h2>\n" + "".join(blocks)


def paragraph(text: str, soft: bool = False) -> str:
    mark = ' class="soft"' if soft else ""
    return f"<p{mark}>{escape(text)}</p>\n"


def figures(*given: str) -> str:
    """Figures side by side, as many as there is room for."""
    return f'<div class="figures">\n{"".join(given)}</div>\n'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table. Numbers stand to the right, integers in full and floats in five digits; a column is one of
    numbers if all of its cells are."""
    cells = [list(row) for row in rows]
    numeric = [
        any(_is_number(row[i]) for row in cells)
        and all(row[i] is None or _is_number(row[i]) for row in cells)
        for i in range(len(head))
    ]

    def line(tag: str, texts: Iterable[str]) -> str:
        marks = (' class="n"' if n else "" for n in numeric)
        return (
            "<tr>" + "".join(f"<{tag}{m}>{t}</{tag}>" for t, m in zip(texts, marks, strict=True)) + "</tr>\n"
        )

    said = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    body = "".join(line("td", (escape(number(cell)) for cell in row)) for row in cells)
    top = line("th", (escape(name) for name in head))
    return (
        f'<div class="wide"><table>\n{said}<thead>\n{top}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n'
    )


def number(value: object) -> str:
    """A cell's text: 12,345 or 0.12345; empty for None and NaN; a text is itself."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def plot(
    title: str,
    series: Sequence[Series],
    *,
    x: str = "",
    y: str = "",
    xs: tuple[float, float] | None = None,
    ys: tuple[float, float] | None = None,
    about: str = "",
) -> str:
    """Lines over common axes. x, y: what the axes are. xs, ys: their ranges, without them the points'.

    Points that are not finite are left out. A series of one point is a dot."""
    kept = [
        Series(s.name, [(a, b) for a, b in s.points if abs(a) < _ENDLESS and abs(b) < _ENDLESS], s.dashed)
        for s in series
    ]
    points = [point for s in kept for point in s.points]
    if not points:
        return _figure(title, "", about or "no values")
    across, up = (
        _Axis.of(xs, [p[0] for p in points], _LEFT, _WIDTH - _RIGHT),
        _Axis.of(ys, [p[1] for p in points], _HEIGHT - _BOTTOM, _TOP),
    )
    drawn = []
    for place, one in enumerate(kept):
        dash = " dashed" if one.dashed or place >= COLOURS else ""
        if len(one.points) == 1:
            at = one.points[0]
            drawn.append(
                f'<circle class="f{place % COLOURS}" cx="{across(at[0])}" cy="{up(at[1])}" r="3.5"/>'
            )
        elif one.points:
            steps = " L".join(f"{across(a)} {up(b)}" for a, b in one.points)
            drawn.append(f'<path class="line s{place % COLOURS}{dash}" d="M{steps}"/>')
    svg = _svg(title, _frame(across, up, x, y) + "".join(drawn))
    return _figure(title, svg + (_key(kept) if len(kept) > 1 or kept[0].name else ""), about)


def histogram(
    title: str,
    edges: Sequence[float],
    counts: Sequence[float],
    x: str = "",
    y: str = "examples",
    about: str = "",
) -> str:
    """Bars between consecutive edges, one fewer than the edges."""
    if not counts:
        return _figure(title, "", about or "no values")
    across = _Axis.of((edges[0], edges[-1]), [], _LEFT, _WIDTH - _RIGHT)
    up = _Axis.of((0.0, max(max(counts), 1e-300) * 1.05), [], _HEIGHT - _BOTTOM, _TOP)
    drawn = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        left, right, top = across(low), across(high), up(count)
        wide, tall = max(right - left - 0.6, 0.4), max(_HEIGHT - _BOTTOM - top, 0.0)
        drawn.append(f'<rect class="f0" x="{left:g}" y="{top:g}" width="{wide:.4g}" height="{tall:.4g}"/>')
    return _figure(title, _svg(title, _frame(across, up, x, y) + "".join(drawn)), about)


def bars(title: str, values: Sequence[tuple[str, float]], *, about: str = "", places: int = 16) -> str:
    """A bar for each named value that is not negative, one below another, its label above it.

    places: bars at most; the rest is counted in a last line."""
    shown, rest = values[:places], len(values) - places
    most = max((value for _, value in shown if math.isfinite(value)), default=0.0) or 1.0
    drawn, row = [], 34
    for place, (name, value) in enumerate(shown):
        below, wide = place * row + 16, max(0.0, (_WIDTH - 4) * value / most) if math.isfinite(value) else 0.0
        text = name if len(name) <= 40 else name[:39] + "…"
        drawn.append(
            f'<text x="0" y="{below - 4}">{escape(text)}</text><text x="{_WIDTH}" y="{below - 4}"'
            f' text-anchor="end">{escape(number(value))}</text>'
            f'<rect class="f0" x="0" y="{below}" width="{wide:.4g}" height="9" rx="2"/>'
        )
    tall = max(len(shown), 1) * row
    if rest > 0:
        drawn.append(f'<text x="0" y="{tall + 14}">and {rest:,} more</text>')
        tall += 22
    return _figure(title, _svg(title, "".join(drawn), tall), about)


# ---------------------------------------------------------------- the parts of a figure


@dataclass(frozen=True)
class _Axis:
    """A range of values laid out between two places of the SVG."""

    low: float
    high: float
    start: float
    end: float

    @staticmethod
    def of(given: tuple[float, float] | None, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = given or (min(values), max(values))
        if not high > low:
            margin = abs(low) * 0.1 or 0.5
            low, high = low - margin, high + margin
        elif given is None:
            margin = (high - low) * 0.04
            low, high = low - margin, high + margin
        return _Axis(low, high, start, end)

    def __call__(self, value: float) -> float:
        share = min(max((value - self.low) / (self.high - self.low), -0.01), 1.01)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> list[float]:
        """About five round values within the range."""
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def _frame(across: _Axis, up: _Axis, x: str, y: str) -> str:
    left, right, bottom, top = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, _TOP
    drawn = []
    for tick in up.ticks():
        at = up(tick)
        drawn.append(
            f'<line class="rule" x1="{left}" x2="{right}" y1="{at}" y2="{at}"/>'
            f'<text x="{left - 6}" y="{at + 4}" text-anchor="end">{_tick(tick)}</text>'
        )
    drawn.extend(
        f'<text x="{across(tick)}" y="{bottom + 16}" text-anchor="middle">{_tick(tick)}</text>'
        for tick in across.ticks()
    )
    drawn.append(f'<path class="axis" fill="none" d="M{left} {top}V{bottom}H{right}"/>')
    middle = (left + right) / 2
    drawn.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>')
    if y:
        at = (top + bottom) / 2
        drawn.append(
            f'<text transform="translate(11 {at}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
        )
    return "".join(drawn)


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9999999 and abs(value) < 1e12:
            return f"{value / size:.4g}{mark}"
    return f"{value:.4g}"


def _key(series: Sequence[Series]) -> str:
    lines = []
    for place, one in enumerate(series):
        dash = " dashed" if one.dashed or place >= COLOURS else ""
        mark = (
            '<svg viewBox="0 0 20 8" aria-hidden="true">'
            f'<path class="line s{place % COLOURS}{dash}" d="M0 4H20"/></svg>'
        )
        lines.append(f"<li>{mark}{escape(one.name)}</li>")
    return f'<ul class="key">{"".join(lines)}</ul>'


def _svg(title: str, inside: str, height: float = _HEIGHT) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(title)}">{inside}</svg>\n'


def _figure(title: str, inside: str, about: str) -> str:
    said = escape(about)
    return f"<figure>\n<figcaption><b>{escape(title)}</b>{said}</figcaption>\n{inside}</figure>\n"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
