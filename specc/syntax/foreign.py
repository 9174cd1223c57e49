"""Characters and comments of other languages: what they are called here.

Promises: each is reported once (E0101), with a fix where it is certain what was meant, and read as that.
"""

from __future__ import annotations

from specc.report import Fix, Report
from specc.source import Source, Span
from specc.syntax.token import SAME_LINE, Token

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
    "\u2013": "-",
    "\u2212": "-",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2260": "!=",
    "\u2192": "->",
    "\u2026": "..",
    "\uff08": "(",
    "\uff09": ")",
    "\uff0c": ",",
    "\uff1a": ":",
    "\uff1d": "=",
}
_WORDS = frozenset(["and", "or", "not"])
_QUOTES = {"'": "'", "`": "`", "\u201c": "\u201d\u201c", "\u2018": "\u2019\u2018", "\u00ab": "\u00bb"}
_COMMENTS = {"//": "\n", "/*": "*/", '"""': '"""'}


def strange(source: Source, start: int, before: Token | None, report: Report) -> tuple[Token | None, int]:
    """What is meant by the character at `start`, which means nothing, and the offset after it.

    before: the token that it touches, if it does.
    """
    text = source.text
    if text[start] in _QUOTES:
        return _quoted(source, start, report)
    if text[start].isalnum() or text[start] == "_":
        return _name(source, start, before, report)
    two = text[start : start + 2]
    stop = start + len(two) if two in _INSTEAD else start + 1
    written = text[start:stop]
    while written not in _INSTEAD and stop < len(text) and _as_strange(text[stop]):
        stop += 1
        written = text[start:stop]
    span = Span(source, start, stop)
    shown = f"`{written}`" if written.isprintable() else "U+" + f"{ord(written[0]):04X}"
    instead = _INSTEAD.get(written)
    report.error(
        "E0101",
        f"{shown} means nothing here",
        span,
        label="not a sign of the language",
        help=f"write `{instead}` instead" if instead else _advice(written),
        fix=Fix(span, instead, f"write `{instead}`") if instead else None,
    )
    if instead is None:
        return None, stop
    return Token("NAME" if instead in _WORDS else instead, instead, start, stop, SAME_LINE), stop


def _as_strange(char: str) -> bool:
    return not char.isascii() and not char.isalnum() and not char.isspace() and char not in _INSTEAD


def _advice(written: str) -> str:
    if written == "@":
        return "for a product with learned weights write `linear(n)`; of two values, `dot(a, b)`"
    if written == "~":
        return "write `not`"
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
    )
    return (Token("STRING", good or '""', start, stop, SAME_LINE), stop) if stop else (None, start + 1)


def _name(source: Source, start: int, before: Token | None, report: Report) -> tuple[Token | None, int]:
    """A word with letters that names cannot have; nothing more is said of it."""
    text = source.text
    begin = before.start if before is not None and before.kind == "NAME" else start
    stop = start + 1
    while stop < len(text) and (text[stop].isalnum() or text[stop] == "_"):
        stop += 1
    word = text[begin:stop]
    report.error(
        "E0101",
        f"`{word}` is no name",
        Span(source, begin, stop),
        label="not all of these are letters of the language",
        why="names are made of the letters a to z, digits and `_`, so that every tool can write them",
        help="choose another name; texts and comments may have any letters",
    )
    report.lose([word])
    return Token("NAME", word, begin, stop, SAME_LINE), stop


def foreign_comment(source: Source, start: int, first: bool, report: Report) -> int:
    """The offset after a comment of another language that begins at `start`, or `start`."""
    text = source.text
    opening = next((o for o in _COMMENTS if text.startswith(o, start)), "")
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
