"""`# allow W0703` in a spec: a warning silenced in the place where it would be given.

Promises: a comment silences what it names in the statement that it ends or stands above; one that names no
warning, or silences nothing, is itself a warning (W0710), so that none outlives its reason. Leaves to
`syntax.beside` which lines those are.
"""

from __future__ import annotations

import re

from specc.frozen import dataclass
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


def allowance(comment: Span, beside: range) -> Allowance | None:
    """Return what a comment allows, or None for an ordinary comment.

    beside: the lines of the statement that it ends, or stands above.
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
    return Allowance(codes, source.name, (comment.line, *beside))
