"""Pieces of Python source: expressions with their precedence, and lines of limited length."""

from __future__ import annotations

import re
from collections.abc import Sequence

from specc.frozen import dataclass
from specc.source import Span

WIDTH = 110
ATOM, POWER, UNARY, PRODUCT, SUM, BOTH, EITHER, COMPARISON = 9, 8, 7, 6, 5, 4, 3, 2
# A bracket, a comma, or a whole string literal, so that brackets and commas inside of it are skipped.
_MARK = re.compile(r"""[()\[\]{},]|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?""", re.DOTALL)


@dataclass(frozen=True)
class Expr:
    """A Python expression. `level` is the precedence of its outermost operator."""

    text: str
    level: int = ATOM

    def at(self, level: int) -> str:
        """Return the text, in parentheses if it binds less tightly than the level."""
        return self.text if self.level >= level else f"({self.text})"


@dataclass(frozen=True)
class Line:
    """One statement or comment, with the span of the spec that it comes from."""

    text: str
    span: Span | None = None
    note: str = ""


def infix(left: Expr, operator: str, right: Expr, level: int) -> Expr:
    """Return a left-associative binary operation."""
    return Expr(f"{left.at(level)} {operator} {right.at(level + 1)}", level)


def number(value: float) -> Expr:
    """Return a number as a Python literal."""
    if value != value or value in (float("inf"), float("-inf")):
        return Expr(f'float("{value}")')
    text = repr(value)
    return Expr(text, UNARY if text.startswith("-") else ATOM)


def quoted(text: str) -> str:
    """Return a string as a Python literal, in double quotes unless single ones avoid escapes."""
    plain = text.isprintable() and not any(c in text for c in "\"'\\")
    return f'"{text}"' if plain else repr(text)


def tuple_text(parts: Sequence[str]) -> str:
    """Return a tuple of expressions."""
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def target(names: Sequence[str]) -> str:
    """Return the names that a tuple is unpacked into."""
    return f"({names[0]},)" if len(names) == 1 else ", ".join(names)


def comment(text: str) -> str:
    """Return a text that is safe in a one-line comment: unprintable characters become spaces."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def broken(text: str, indent: int) -> list[str]:
    """Return a statement on as few lines as fit, broken inside of brackets, one argument a line."""
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
        # A trailing comma after the only argument is a syntax error for a generator and makes a tuple of (x).
        comma = "," if len(parts) > 1 or text[start + 1 : stop].rstrip().endswith(",") else ""
        middle = []
        for part in parts:
            lines = broken(part, indent + 4)
            middle += [*lines[:-1], lines[-1] + comma]
    rest = text[stop:]
    tail = broken(rest, indent) if len(pad) + len(rest) > WIDTH and _outermost(rest[1:]) else [pad + rest]
    return [pad + text[: start + 1], *middle, *tail]


def _outermost(text: str) -> tuple[int, int] | None:
    """Return where the longest top-level pair of brackets opens and closes, or None."""
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
    """Return the brackets and commas outside of string literals, with their offsets."""
    return [(m.start(), m[0]) for m in _MARK.finditer(text) if m[0][0] not in "\"'"]
