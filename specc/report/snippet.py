"""Source lines with places underlined, as terminals show them.

Promises: marks stand exactly under what they mark, whatever the line holds: tabs, wide characters, characters
that a terminal would obey. Lines that are too long to read are cut around their marks.
"""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import combining, east_asian_width

from specc.frozen import dataclass
from specc.report.paint import Paint
from specc.source import Source, Span

_TAB = 4
_WIDEST = 140  # columns of a source line that are shown
_CONTEXT = 30  # columns kept before the first mark of a line that is cut
_LONGEST = 4  # lines of a span that are all shown; of a longer one, the first and the last


@dataclass(frozen=True)
class Mark:
    """A span to underline. `primary` ones are drawn with `^`, others with `-`."""

    span: Span
    label: str
    primary: bool


@dataclass(frozen=True)
class _Stroke:
    """One mark on one line, in columns of the terminal."""

    start: int
    stop: int
    label: str
    primary: bool


def printable(text: str) -> str:
    """Return a text without characters that control a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else _picture(char) for char in text)


def _picture(char: str) -> str:
    if char < " ":
        return chr(0x2400 + ord(char))
    return "\u00a0" if char == "\u00a0" else "\ufffd"


def width(char: str) -> int:
    """Return how many columns a terminal gives a character."""
    if combining(char) or char in "\u200b\u200d\ufe0f":
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def _columns(line: str) -> tuple[str, list[int]]:
    """Return a line as shown, and the column where each of its characters begins (one more for its end)."""
    shown: list[str] = []
    starts: list[int] = []
    at = 0
    for char in line:
        starts.append(at)
        if char == "\t":
            step = _TAB - at % _TAB
            shown.append(" " * step)
            at += step
        else:
            shown.append(printable(char))
            at += width(char)
    starts.append(at)
    return "".join(shown), starts


def anchored(span: Span) -> Span:
    """Return a span that can be seen: what lies at the end of a file is shown after its last word."""
    text = span.source.text
    if span.start < len(text.rstrip()) or not text.strip():
        return span
    end = len(text.rstrip())
    return Span(span.source, end, end)


def snippet(source: Source, marks: Iterable[Mark], paint: Paint, gutter: int) -> list[str]:
    """Return the lines of one source that are marked, each with its strokes and labels below."""
    strokes: dict[int, list[_Stroke]] = {}
    gaps: set[int] = set()  # lines after which a long span leaves some out
    for mark in marks:
        _strokes(mark, strokes, gaps)
    bar = paint.frame(" " * gutter + " |")
    out = [bar]
    last = 0
    for number in sorted(strokes):
        if last and number == last + 2 and last not in gaps:
            out += _line(source, last + 1, [], paint, gutter)
        elif last and number > last + 1:
            out.append(paint.frame("..."))
        out += _line(source, number, strokes[number], paint, gutter)
        last = number
    return out


def _strokes(mark: Mark, strokes: dict[int, list[_Stroke]], gaps: set[int]) -> None:
    """Divide a mark among the lines it covers; its label stands on the last. A second place of many lines
    is marked on its first only."""
    span = anchored(mark.span)
    source = span.source
    written = span.text.rstrip()
    stop = span.start + len(written) if written else span.start
    (first, start), (last, end) = source.position(span.start), source.position(stop)
    if last > first and not mark.primary:
        last, end = first, len(source.line(first)) + 1
    covered = list(range(first, last + 1))
    if len(covered) > _LONGEST:
        covered = [first, last]
        gaps.add(first)
    for number in covered:
        line = source.line(number)
        _, columns = _columns(line)
        begin = start - 1 if number == first else len(line) - len(line.lstrip())
        finish = end - 1 if number == last else len(line)
        if number not in (first, last) and begin >= finish:
            continue
        begin, finish = min(begin, len(line)), min(finish, len(line))
        left, right = columns[begin], columns[finish]
        label = printable(mark.label) if number == last else ""
        strokes.setdefault(number, []).append(_Stroke(left, max(right, left + 1), label, mark.primary))


def _line(source: Source, number: int, strokes: list[_Stroke], paint: Paint, gutter: int) -> list[str]:
    shown, _ = _columns(source.line(number))
    shown = shown.rstrip()
    edge = paint.frame(f"{number:>{gutter}} |")
    bar = paint.frame(" " * gutter + " |")
    shown, strokes = _cut(shown, strokes)
    out = [f"{edge} {shown}" if shown else edge]
    rows: list[list[_Stroke]] = []  # strokes that overlap are drawn in rows of their own
    for stroke in sorted(strokes, key=lambda s: (not s.primary, s.start)):
        for row in rows:
            if all(stroke.start >= other.stop or stroke.stop <= other.start for other in row):
                row.append(stroke)
                break
        else:
            rows.append([stroke])
    for row in rows:
        out += [f"{bar} {text}" for text in _row(sorted(row, key=lambda s: s.start), paint)]
    return out


def _cut(shown: str, strokes: list[_Stroke]) -> tuple[str, list[_Stroke]]:
    """Return a window of a long line in which its first mark is seen."""
    total = sum(width(char) for char in shown)
    if total <= _WIDEST:
        return shown, strokes
    left = max(0, min((s.start for s in strokes), default=0) - _CONTEXT)
    if left <= 2:
        left = 0
    kept, at = [], 0
    for char in shown:
        if left <= at < left + _WIDEST:
            kept.append(char)
        at += width(char)
    before, after = ("… " if left else ""), (" …" if total > left + _WIDEST else "")
    moved = []
    for s in strokes:
        start = min(max(s.start - left, 0), _WIDEST - 1)
        stop = min(max(s.stop - left, start + 1), _WIDEST)
        moved.append(_Stroke(start + len(before), stop + len(before), s.label, s.primary))
    return before + "".join(kept) + after, moved


def _row(strokes: list[_Stroke], paint: Paint) -> list[str]:
    """Marks side by side: the last one's label beside it, the others' below, hanging from theirs."""
    out, at = "", 0
    for stroke in strokes:
        sign = "^" if stroke.primary else "-"
        out += " " * (stroke.start - at) + paint.mark(sign * (stroke.stop - stroke.start), stroke.primary)
        at = stroke.stop
    last = strokes[-1]
    if last.label:
        out += " " + paint.mark(last.label, last.primary)
    lines = [out]
    hanging = [s for s in strokes[:-1] if s.label]
    while hanging:
        text, at = "", 0
        for stroke in hanging[:-1]:
            text += " " * (stroke.start - at) + paint.mark("|", stroke.primary)
            at = stroke.start + 1
        lowest = hanging.pop()
        lines.append(text + " " * (lowest.start - at) + paint.mark(lowest.label, lowest.primary))
    return lines
