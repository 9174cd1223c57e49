"""Characters and comments of other languages: what they are called here.

Promises: each is reported once (E0101), with a fix where it is certain what was meant, and read as that.
"""

from __future__ import annotations

import re

from specc.frozen import dataclass
from specc.report import Fix, Report
from specc.source import Source, Span
from specc.syntax.alike import invisible, look_alikes, meant_by, shown, skeleton, without_accents
from specc.syntax.token import SAME_LINE, Token


@dataclass(frozen=True)
class Strange:
    """What a strange character is read as: a token or nothing, and where to read on.

    `told`: up to where look-alikes are reported. `read`: it was understood, as a blank or a line's end.
    """

    token: Token | None
    stop: int
    told: int
    begins_line: bool = False
    read: bool = False


# What people of other languages write, and what it is called here.
_INSTEAD = {
    "&&": "and",
    "||": "or",
    "!": "not",
    "&": "and",
    "|": "|>",
    "\u00d7": "*",
    "\u00b7": "*",
    "\u00f7": "/",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2260": "!=",
    "\u2192": "->",
    "\u21d2": "->",
    "\u2026": "..",
}
_WORDS = frozenset(["and", "or", "not"])
_QUOTES = {"'": "'", "`": "`", "\u201c": "\u201d\u201c", "\u2018": "\u2019\u2018", "\u00ab": "\u00bb"}
_COMMENTS = {"//": "\n", "/*": "*/", '"""': '"""'}


# What makes a terminal change colours, or move.
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def strange(source: Source, start: int, before: Token | None, told: int, report: Report) -> Strange:
    """Return what is meant by the character at `start`, which means nothing by itself.

    before: the token that it touches, if it does. told: up to where look-alikes have been reported.
    """
    text = source.text
    char = text[start]
    if char in _QUOTES:
        token, stop = _quoted(source, start, report)
        return Strange(token, stop, told)
    if char.isalnum() or char == "_" or invisible(char):
        return _name(source, start, before, told, report)
    if (instead := meant_by(char)) is not None:
        told = look_alikes(source, start, told, report)
        if instead.strip():
            return Strange(Token(instead, instead, start, start + 1, SAME_LINE), start + 1, told)
        return Strange(None, start + 1, told, begins_line=instead == "\n", read=True)
    two = text[start : start + 2]
    stop = start + len(two) if two in _INSTEAD else start + 1
    if (escape := _ESCAPE.match(text, start)) is not None:
        stop = escape.end()
    written = text[start:stop]
    while written not in _INSTEAD and stop < len(text) and _as_strange(text[stop]):
        stop += 1
        written = text[start:stop]
    span = Span(source, start, stop)
    sign = _INSTEAD.get(written)
    report.error(
        "E0101",
        f"{shown(written)} means nothing here",
        span,
        label="not a sign of the language",
        help=f"write `{sign}` instead" if sign else _advice(written),
        fix=Fix(span, sign, f"write `{sign}`") if sign else None,
    )
    if sign is None:
        return Strange(None, stop, told)
    return Strange(Token("NAME" if sign in _WORDS else sign, sign, start, stop, SAME_LINE), stop, told)


def _as_strange(char: str) -> bool:
    return (
        not char.isascii()
        and not char.isalnum()
        and not char.isspace()
        and char not in _INSTEAD
        and meant_by(char) is None
    )


def _advice(written: str) -> str:
    if written == "@":
        return "for a product with learned weights write `linear(n)`; of two values, `dot(a, b)`"
    if written == "~":
        return "write `not`"
    if written == "?":
        return "a choice is `if CONDITION then A else B`"
    if written in "$%?\\":
        return (
            "remove it; an expression goes on in the next line inside `( )`"
            if written == "\\"
            else "remove it"
        )
    return "remove it"


def _quoted(source: Source, start: int, report: Report) -> tuple[Token | None, int]:
    text = source.text
    closing = _QUOTES[text[start]]
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    stop = next((at + 1 for at in range(start + 1, end) if text[at] in closing), 0)
    span = Span(source, start, stop or start + 1)
    inner = text[start + 1 : stop - 1] if stop else ""
    good = f'"{inner}"' if stop and '"' not in inner and "\\" not in inner else ""
    report.error(
        "E0101",
        f"`{text[start]}` begins no text",
        span,
        label="not a quote of the language",
        why="texts stand in double quotes",
        help=f"write `{good}`" if good else 'write `"`',
        fix=Fix(span, good, f"write `{good}`") if good else None,
        others=(Fix(span, inner, f"write `{inner}`"),) if inner.isidentifier() and inner.isascii() else (),
    )
    return (Token("STRING", good or '""', start, stop, SAME_LINE), stop) if stop else (None, start + 1)


def _name(source: Source, start: int, before: Token | None, told: int, report: Report) -> Strange:
    """Return a word with letters that names cannot have; nothing more is said of it."""
    text = source.text
    begin = before.start if before is not None and before.kind in ("NAME", "NUMBER") else start
    stop = start + 1
    while stop < len(text) and (text[stop].isalnum() or text[stop] == "_" or invisible(text[stop])):
        stop += 1
    word = text[begin:stop]
    plain = skeleton(word)
    if plain is not None:
        told = look_alikes(source, start, told, report)
        if not plain:
            return Strange(None, stop, told, read=True)
        kind = "NUMBER" if plain[0].isdecimal() else "NAME"
        return Strange(Token(kind, plain, begin, stop, SAME_LINE), stop, told)
    near = without_accents(word)
    report.error(
        "E0101",
        f"`{word}` is no name",
        Span(source, begin, stop),
        label="not all of these are letters of the language",
        why="names are made of the letters a to z, digits and `_`, so that every tool can write them",
        help=f"write `{near}`, say; texts and comments may have any letters"
        if near
        else "choose another name; texts and comments may have any letters",
    )
    report.lose([word])
    return Strange(Token("NAME", word, begin, stop, SAME_LINE), stop, told)


def _goes_on(text: str, start: int) -> bool:
    """Return whether the line closes more brackets than it opens from here on: so it is no comment."""
    depth = 0
    for char in text[start : text.find("\n", start) if "\n" in text[start:] else len(text)].partition("#")[0]:
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            return True
    return False


def foreign_comment(source: Source, start: int, first: bool, report: Report) -> int:
    """Return the offset after a comment of another language that begins at `start`, or `start`."""
    text = source.text
    opening = next((o for o in _COMMENTS if text.startswith(o, start)), "")
    if opening == "//" and not first and _goes_on(text, start + 2):
        return start  # a division of Python's
    if first and text.startswith("--", start):
        opening = "--"
    if not opening:
        return start
    closing = _COMMENTS.get(opening, "\n")
    end = text.find(closing, start + len(opening))
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    if closing == "\n":
        stop = line_end
    elif end < 0:
        stop = len(text)
    else:
        stop = end + len(closing)
    inner = text[start + len(opening) : stop if closing == "\n" or end < 0 else end].strip()
    written = "\n".join(f"# {line.strip(' *')}".rstrip() for line in inner.splitlines())
    whole = Span(source, start, stop)
    follows = text[stop : text.find("\n", stop) if "\n" in text[stop:] else len(text)].strip()
    certain = first and not follows and (closing == "\n" or end >= 0)
    certain = certain or (closing == "\n" and not first)
    report.error(
        "E0101",
        f"`{opening}` begins no comment",
        Span(source, start, start + len(opening)),
        label="a comment of another language",
        why="a comment starts with `#` and ends with its line",
        help="write `#`",
        fix=Fix(whole, written, "write the comment with `#`") if certain else None,
    )
    return stop
