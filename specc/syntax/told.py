"""What is said of a form of another language: the diagnostic before it is reported, and how it is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.frozen import dataclass
from specc.report import Fix
from specc.source import Span
from specc.syntax.token import Token

if TYPE_CHECKING:
    from specc.syntax.mistakes import Seen


@dataclass(frozen=True)
class Told:
    """A form recognised: what to report of it."""

    code: str
    message: str
    span: Span
    help: str
    why: str = ""
    label: str = "does not fit here"
    fix: Fix | None = None
    respelt: tuple[int, str] | None = None  # a token by index that can be read as another word


def touching(seen: Seen, step: int) -> Token | None:
    """The token `step` places on from the one that does not fit, if nothing stands between."""
    at = seen.index + step
    if not 0 <= at < len(seen.tokens):
        return None
    one, other = sorted((seen.token, seen.tokens[at]), key=lambda t: t.start)
    return seen.tokens[at] if one.stop == other.start else None
