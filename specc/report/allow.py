"""`# allow W0703` in a spec: a warning silenced in the place where it would be given.

Promises: a comment silences what it names on its own line and, if it stands alone, on the next line of code;
one that names no warning, or silences nothing, is itself a warning (W0710), so that none outlives its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from specc.source import Span

# A comment that begins `allow W0703`; prose that begins with the word is no allowance.
_ALLOWS = re.compile(r"#\s*allow\s+(?P<codes>[A-Za-z]\d+(?:\s*,\s*[A-Za-z]\d+)*)\b")
_CODE = re.compile(r"[A-Za-z]\d+")


@dataclass(frozen=True)
class Allowance:
    """The codes that one comment names, each with its place, and the lines of code they are for."""

    codes: tuple[tuple[str, Span], ...]
    file: str
    lines: tuple[int, ...]


def allowance(comment: Span, trailing: bool) -> Allowance | None:
    """What a comment allows, or None for an ordinary comment.

    trailing: whether code stands before it on its line.
    """
    found = _ALLOWS.match(comment.text)
    if found is None:
        return None
    base = comment.start + found.start("codes")
    source = comment.source
    codes = tuple(
        (word.group().upper(), Span(source, base + word.start(), base + word.end()))
        for word in _CODE.finditer(found["codes"])
    )
    lines = [comment.line]
    if not trailing:
        # A block of comments above a statement is about the statement.
        below = comment.line + 1
        while source.line(below).lstrip().startswith("#"):
            below += 1
        lines.append(below)
    return Allowance(codes, source.name, tuple(lines))
