"""From text to tokens and comments.

Promises: every character is accounted for; what means nothing is reported (E0101, E0104) and passed over,
so that the rest of the line is still read. A word is a NAME here: whether it is a keyword depends on where
it stands, which only the parser knows. Leaves line ends and brackets to `layout`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from specc.report import Fix, Report
from specc.source import Source, Span
from specc.syntax import tree
from specc.syntax.table import table

SAME_LINE = -1
_TAB = 4  # columns; only for comparing how far lines are indented


class Token(NamedTuple):
    """`kind` is a terminal of the grammar. `indent` is the column of a line's first token, else SAME_LINE."""

    kind: str
    text: str
    start: int
    stop: int
    indent: int


@dataclass
class Lexed:
    """`docs` has the comment block directly above a line, by the offset of the line's first token."""

    tokens: list[Token] = field(default_factory=list)
    comments: list[tree.Comment] = field(default_factory=list)
    docs: dict[int, str] = field(default_factory=dict)


@cache
def _pattern() -> re.Pattern[str]:
    known = table()
    named = {key: known.patterns[key] for key in ("NAME", "NUMBER", "STRING", "COMMENT")}
    parts = [f"(?P<{key}>{value})" for key, value in named.items()]
    parts.append("(?P<PUNCTUATION>" + "|".join(re.escape(p) for p in known.punctuation) + ")")
    parts += [r"(?P<NEWLINE>\n)", r'(?P<OPEN_TEXT>"[^\n]*)', r"(?P<OTHER>.)"]
    return re.compile(r"[ \t\r\f\ufeff]*(?:" + "|".join(parts) + ")?", re.ASCII)


# What people of other languages write, and what it is called here.
_INSTEAD = {
    "&&": "and",
    "||": "or",
    "!": "not",
    "&": "and",
    "|": "|>",
    "\u201c": '"',
    "\u201d": '"',
    "'": '"',
    "\u00d7": "*",
    "\u2013": "-",
    "\u2212": "-",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2260": "!=",
    "\u2192": "->",
    "\u2026": "..",
    "\u00a0": " ",
}


def lex(source: Source, report: Report) -> Lexed:
    """Tokens and comments of a text, without line ends."""
    out = Lexed()
    text = source.text
    match = _pattern().match
    add = out.tokens.append
    position, line, line_start, first = 0, 1, 0, True
    above: list[str] = []  # the comment block that ends on the line above
    last_comment = 0  # the line it ends on
    size = len(text)
    while position < size:
        found = match(text, position)
        assert found is not None
        kind = found.lastgroup
        if kind is None:  # blanks up to the end
            break
        start, position = found.span(kind)
        if kind == "NEWLINE":
            line, line_start, first = line + 1, position, True
            continue
        if kind == "COMMENT":
            written = found[kind].rstrip()
            out.comments.append(
                tree.Comment(written, not first, span=Span(source, start, start + len(written)))
            )
            if first:
                if last_comment != line - 1:
                    above = []
                above.append(written[2:] if written.startswith("# ") else written[1:])
                last_comment = line
            continue
        if kind == "OTHER":
            position = _strange(source, start, report)
            continue
        if first:
            before = text[line_start:start]
            indent = len(before.expandtabs(_TAB)) if "\t" in before else start - line_start
            if above and last_comment == line - 1:
                out.docs[start] = "\n".join(above)
            above, first = [], False
        else:
            indent = SAME_LINE
        word = found[kind]
        if kind == "PUNCTUATION":
            add(Token(word, word, start, position, indent))
        elif kind == "OPEN_TEXT":
            word = word.rstrip()
            _open_text(Span(source, start, start + len(word)), report)
            add(Token("STRING", '""', start, start + len(word), indent))
        else:
            add(Token(kind, word, start, position, indent))
    return out


def _open_text(span: Span, report: Report) -> None:
    report.error(
        "E0104",
        "this text is not closed",
        span,
        label='no `"` before the end of the line',
        why="a text stands on one line, in double quotes",
        help='end it with `"`',
    )


def _strange(source: Source, start: int, report: Report) -> int:
    """Report the characters from `start` on that mean nothing; the offset after them."""
    text = source.text
    known = _pattern().match
    stop = start + 1
    if text[start : start + 2] in _INSTEAD:
        stop = start + 2
    elif text[start] not in _INSTEAD:
        while stop < len(text) and text[stop] not in _INSTEAD and not text[stop].isspace():
            found = known(text, stop)
            if found is not None and found.end() > stop and found.lastgroup != "OTHER":
                break
            stop += 1
    written = text[start:stop]
    span = Span(source, start, stop)
    shown = f"`{written}`" if written.isprintable() else "U+" + f"{ord(written[0]):04X}"
    instead = _INSTEAD.get(written)
    message = f"{shown} means nothing here"
    if written == "'" or written in "\u201c\u201d":
        report.error("E0101", message, span, label="not a character of the language",
                     why="texts stand in double quotes", help='write `"` instead')  # fmt: skip
        closing = "'" if written == "'" else "\u201d\u201c"
        # The rest of a text in other quotes is no reason for further faults.
        for end in range(stop, len(text)):
            if text[end] == "\n":
                break
            if text[end] in closing:
                return end + 1
        return stop
    report.error(
        "E0101",
        message,
        span,
        label="not a character of the language",
        help=f"write `{instead}` instead" if instead else "remove it",
        fix=Fix(span, instead, f"replace it with `{instead}`") if instead else None,
    )
    return stop
