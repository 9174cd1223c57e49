"""Source texts and places in them.

Promises: every later stage can say *where* with a `Span` that survives by itself.
Leaves to others: reading files (driver), drawing the underlines (report).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import field
from functools import cached_property

from specc.frozen import dataclass


@dataclass(frozen=True, eq=False)
class Source:
    """One text with the name that messages cite (usually its path)."""

    name: str
    text: str

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        while after := self.text.find("\n", starts[-1]) + 1:
            starts.append(after)
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """The 1-based (line, column) of a character offset; columns count characters."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line without its line end; '' beyond the last line."""
        if not 1 <= number <= len(self._starts):
            return ""
        start = self._starts[number - 1]
        stop = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:stop].rstrip("\r\n")


@dataclass(frozen=True)
class Span:
    """A half-open range of characters, `start <= offset < stop`, in one source."""

    source: Source = field(repr=False)
    start: int
    stop: int

    @property
    def line(self) -> int:
        """The line of the first character, counted from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The column of the first character, counted from 1, in characters."""
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        """The characters of the range."""
        return self.source.text[self.start : self.stop]

    def to(self, other: Span) -> Span:
        """The range from the start of this span to the end of another in the same source."""
        return Span(self.source, min(self.start, other.start), max(self.stop, other.stop))

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


NOWHERE = Span(Source("<compiler>", ""), 0, 0)
