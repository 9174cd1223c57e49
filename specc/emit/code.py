"""Pieces of Python source: expressions with their precedence, and lines that are not too long."""

from __future__ import annotations

import re
from collections.abc import Sequence

from specc.frozen import dataclass
from specc.source import Span

WIDTH = 110
ATOM, POWER, UNARY, PRODUCT, SUM, BOTH, EITHER, COMPARISON = 9, 8, 7, 6, 5, 4, 3, 2
# A bracket or a comma, or a whole string literal, in which these mean nothing.
_MARK = re.compile(r"""[()\[\]{},]|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?""", re.DOTALL)


@dataclass(frozen=True)
class Expr:
    """`level` is how tightly the text binds."""

    text: str
    level: int = ATOM

    def at(self, level: int) -> str:
        """The text for a place that needs it to bind at least as tightly."""
        return self.text if self.level >= level else f"({self.text})"


@dataclass(frozen=True)
class Line:
    """One statement or comment, with the place in the spec that it comes from."""

    text: str
    span: Span | None = None
    note: str = ""


def infix(left: Expr, operator: str, right: Expr, level: int) -> Expr:
    """A left-associative operation."""
    return Expr(f"{left.at(level)} {operator} {right.at(level + 1)}", level)


def number(value: float) -> Expr:
    """A number as Python writes it."""
    if value != value or value in (float("inf"), float("-inf")):
        return Expr(f'float("{value}")')
    text = repr(value)
    return Expr(text, UNARY if text.startswith("-") else ATOM)


def quoted(text: str) -> str:
    """A text as Python writes it, in double quotes where that needs no escapes."""
    plain = text.isprintable() and not any(c in text for c in "\"'\\")
    return f'"{text}"' if plain else repr(text)


def tuple_text(parts: Sequence[str]) -> str:
    """A tuple of some expressions."""
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def target(names: Sequence[str]) -> str:
    """Names that a tuple is taken apart into."""
    return f"{names[0]}," if len(names) == 1 else ", ".join(names)


def comment(text: str) -> str:
    """Text that is safe in a comment of one line."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def broken(text: str, indent: int) -> list[str]:
    """A statement on as few lines as fit, broken inside brackets, one argument a line."""
    pad = " " * indent
    if len(pad) + len(text) <= WIDTH:
        return [pad + text]
    opening = _outermost(text)
    if opening is None:
        return [pad + text]
    start, stop = opening
    parts = _arguments(text[start + 1 : stop])
    inner = ", ".join(parts)
    if len(pad) + 4 + len(inner) <= WIDTH and len(parts) > 1:
        middle = [" " * (indent + 4) + inner]
    else:
        # A lone argument that is a generator or a parenthesised expression takes no comma.
        comma = "," if len(parts) > 1 or text[start + 1 : stop].rstrip().endswith(",") else ""
        middle = []
        for part in parts:
            lines = broken(part, indent + 4)
            middle += [*lines[:-1], lines[-1] + comma]
    rest = text[stop:]
    tail = broken(rest, indent) if len(pad) + len(rest) > WIDTH and _outermost(rest[1:]) else [pad + rest]
    return [pad + text[: start + 1], *middle, *tail]


def _outermost(text: str) -> tuple[int, int] | None:
    """Where the longest top-level pair of brackets opens and closes."""
    best: tuple[int, int] | None = None
    depth, start = 0, 0
    for place, char in _marks(text):
        if char in "([{":
            if depth == 0:
                start = place
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0 and place - start > 1 and (best is None or place - start > best[1] - best[0]):
                best = (start, place)
    return best


def _arguments(text: str) -> list[str]:
    depth, begin, parts = 0, 0, []
    for place, char in _marks(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(text[begin:place].strip())
            begin = place + 1
    last = text[begin:].strip()
    return [*parts, last] if last else parts


def _marks(text: str) -> list[tuple[int, str]]:
    """Brackets and commas outside of string literals, with their places."""
    return [(m.start(), m[0]) for m in _MARK.finditer(text) if m[0][0] not in "\"'"]
