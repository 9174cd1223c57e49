"""How diagnostics are shown: for people in a terminal, one a line for editors, as JSON for programs.

Promises: the same diagnostics give the same text, on any machine; nothing written in a spec can move a
terminal's cursor. The JSON is a list of objects as `as_json` describes them; keys are only ever added.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from typing import Any

from specc.report.diagnostic import Diagnostic, Severity
from specc.report.paint import Paint
from specc.report.snippet import Mark, anchored, printable, snippet
from specc.source import Span

_WIDTH = 100  # columns of prose
_MOST = 100  # diagnostics that are drawn in full: nobody reads more


def render(
    diagnostics: Iterable[Diagnostic], style: str = "terminal", colour: bool = False, width: int = _WIDTH
) -> str:
    """Diagnostics as text that ends in a line end, or '' for none. A report can be given as it is.

    width: columns that prose is wrapped to; lines of a spec are shown as they are.
    """
    listed = list(diagnostics)
    if style == "json":
        return json.dumps([as_json(d) for d in listed], indent=2, ensure_ascii=False) + "\n"
    if not listed:
        return ""
    if style == "concise":
        return "".join(concise(d) + "\n" for d in listed)
    if style != "terminal":
        raise ValueError(f"there is no style {style!r}: terminal, concise or json")
    shown = [terminal(d, colour, width) for d in listed[:_MOST]]
    if len(listed) > _MOST:
        shown.append(f"… and {len(listed) - _MOST:,} more; `--format concise` lists them all")
    return "\n\n".join(shown) + "\n\n" + summary(listed, colour) + "\n"


def concise(diagnostic: Diagnostic) -> str:
    """Return `file:line:column: E0301 what is wrong (help)`, as editors and `grep` expect it."""
    return printable(f"{anchored(diagnostic.span)}: {diagnostic.code} {diagnostic.message}")


def as_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """One diagnostic as a JSON object.

    `code`, `severity` ("error" | "warning"), `message`; `place` {file, line, column, end_line, end_column,
    start, stop}, where lines and columns count characters from 1 and ends are exclusive; `label`,
    `expected`, `found`, `why`, `help`, each '' where there is none; `secondary`, a list of {place, text};
    `fix`, null or {title, place, text}: the place becomes the text.
    """
    fix = diagnostic.fix
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "place": _place(anchored(diagnostic.span)),
        "label": diagnostic.label,
        "expected": diagnostic.expected,
        "found": diagnostic.found,
        "why": diagnostic.why,
        "help": diagnostic.help,
        "secondary": [{"place": _place(label.span), "text": label.text} for label in diagnostic.secondary],
        "fix": None if fix is None else {"title": fix.title, "place": _place(fix.span), "text": fix.text},
    }


def _place(span: Span) -> dict[str, Any]:
    end_line, end_column = span.source.position(span.stop)
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
        "start": span.start,
        "stop": span.stop,
    }


def terminal(diagnostic: Diagnostic, colour: bool = False, width: int = _WIDTH) -> str:
    """Return one diagnostic with its source lines underlined, without a line end."""
    severe = diagnostic.severity is Severity.ERROR
    paint = Paint(colour, severe)
    span = anchored(diagnostic.span)
    elsewhere: dict[str, list[Mark]] = {}
    here = [Mark(span, diagnostic.label, True)]
    for label in diagnostic.secondary:
        mark = Mark(label.span, label.text, False)
        if label.span.source.name == span.source.name:
            here.append(mark)
        else:
            elsewhere.setdefault(label.span.source.name, []).append(mark)
    last_lines = [m.span.source.position(anchored(m.span).stop)[0] for m in here]
    last_lines += [m.span.source.position(m.span.stop)[0] for marks in elsewhere.values() for m in marks]
    gutter = len(str(max(last_lines)))
    head = paint.mark(f"{diagnostic.severity.value}[{diagnostic.code}]", True)
    out = [f"{head}: {paint.title(printable(diagnostic.message))}"]
    arrow = paint.frame(" " * gutter + "-->")
    out.append(f"{arrow} {printable(str(span))}")
    if span.source.text:
        out += snippet(span.source, here, paint, gutter)
    for marks in elsewhere.values():
        first = marks[0].span
        out.append(f"{arrow} {printable(str(first))}")
        out += snippet(first.source, marks, paint, gutter)
    notes = _notes(diagnostic, paint, gutter, width)
    if notes and span.source.text:
        out.append(paint.frame(" " * gutter + " |"))
    return "\n".join(out + notes)


def _notes(diagnostic: Diagnostic, paint: Paint, gutter: int, width: int) -> list[str]:
    lines: list[str] = []
    fix, help = "", diagnostic.help
    if diagnostic.fix is not None:
        if f"`{diagnostic.fix.text}`" in help or help == diagnostic.fix.title:
            help += " (`specc check --fix` does it)"
        else:
            fix = f"{diagnostic.fix.title} (`specc check --fix` does it)"
    for word, text in (
        ("expected", diagnostic.expected),
        ("found", diagnostic.found),
        ("why", diagnostic.why),
        ("help", help),
        ("fix", fix),
    ):
        if not text:
            continue
        lead = " " * gutter + " = "
        hang = " " * (gutter + 3 + len(word) + 2)
        body: list[str] = []
        for part in printable(text).split("\n"):
            body += textwrap.wrap(
                part, max(width - len(hang), 20), break_long_words=False, break_on_hyphens=False
            ) or [""]
        lines.append(f"{paint.frame(lead)}{paint.word(word)}: {body[0]}")
        lines += [hang + line for line in body[1:]]
    return lines


def summary(diagnostics: Iterable[Diagnostic], colour: bool = False) -> str:
    """Return a line such as `2 errors, 1 warning; specc check --fix mends 1 of them`."""
    listed = list(diagnostics)
    errors = sum(d.severity is Severity.ERROR for d in listed)
    parts = []
    if errors:
        parts.append(Paint(colour, True).mark(_count(errors, "error"), True))
    if len(listed) > errors:
        parts.append(Paint(colour, False).mark(_count(len(listed) - errors, "warning"), True))
    text = ", ".join(parts) or "no faults"
    mendable = sum(d.fix is not None for d in listed)
    if mendable:
        text += f"; `specc check --fix` mends {mendable if mendable < len(listed) else 'all'} of them"
    return text


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
