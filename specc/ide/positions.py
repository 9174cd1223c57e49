"""Places in a text as the protocol counts them: lines from 0, columns in UTF-16 units."""

from __future__ import annotations

from bisect import bisect_right


class Positions:
    """Converts between offsets in characters and (line, column in UTF-16 units)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0] + [i + 1 for i, char in enumerate(text) if char == "\n"]

    def of(self, offset: int) -> tuple[int, int]:
        """Return the line and column of an offset."""
        line = bisect_right(self.starts, offset) - 1
        return line, _units(self.text[self.starts[line] : offset])

    def offset(self, line: int, column: int) -> int:
        """Return the offset of a place; what is beyond the end of its line or of the text is that end."""
        if line >= len(self.starts):
            return len(self.text)
        begin = self.starts[line]
        end = self.text.find("\n", begin)
        end = len(self.text) if end < 0 else end
        if self.text[begin:end].isascii():
            return min(begin + column, end)
        for at in range(begin, end):
            if column <= 0:
                return at
            column -= _units(self.text[at])
        return end


def _units(text: str) -> int:
    """Characters beyond the basic plane, such as emoji, take two."""
    return len(text) if text.isascii() else len(text) + sum(char > "\uffff" for char in text)
