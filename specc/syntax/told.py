"""What the parser sees at a token that does not fit, and what is said of it before it is reported."""

from __future__ import annotations

from specc.frozen import dataclass
from specc.report import Fix
from specc.source import Source, Span
from specc.syntax.recover import Place, Repair
from specc.syntax.table import Table, is_token
from specc.syntax.token import Token


@dataclass(frozen=True)
class Seen:
    """What the parser sees at a token that does not fit."""

    source: Source
    table: Table
    states: list[int]
    tokens: list[Token]
    index: int
    place: Place
    repair: Repair | None
    prior: list[int] | None  # the stack before the last token, where nothing has been made of it yet

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def before(self) -> Token:
        return self.tokens[self.index - 1]

    @property
    def first(self) -> Token:
        """The first token of the statement."""
        return self.tokens[self.place.first]

    @property
    def word(self) -> str:
        """The keyword that the statement begins with, or ''."""
        known = self.place.depth is not None and self.first.text in self.table.words
        return self.first.text if known else ""

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.stop)

    def able(self) -> set[str]:
        """Return the tokens that could come next."""
        row = self.table.states[self.states[-1]]
        return {k for k in row if is_token(k) and self.table.accepts(self.states, k)}


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
    """Return the token `step` places on from the one that does not fit, if nothing stands between."""
    at = seen.index + step
    if not 0 <= at < len(seen.tokens):
        return None
    one, other = sorted((seen.token, seen.tokens[at]), key=lambda t: t.start)
    return seen.tokens[at] if one.stop == other.start else None
