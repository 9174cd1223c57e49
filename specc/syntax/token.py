"""The smallest parts of a text that the grammar knows."""

from __future__ import annotations

from typing import NamedTuple

SAME_LINE = -1


class Token(NamedTuple):
    """`kind` is a terminal of the grammar. `indent` is the column of a line's first token, else SAME_LINE."""

    kind: str
    text: str
    start: int
    stop: int
    indent: int
