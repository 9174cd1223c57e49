"""`import parts`, `from parts import pool as p`: how other languages bring a library in.

Promises: the line is told once, with the `use` that it is here.
"""

from __future__ import annotations

from specc.report import Fix
from specc.report.elsewhere import LIBRARIES
from specc.source import Span
from specc.syntax.token import SAME_LINE
from specc.syntax.told import Seen, Told

IMPORTS = frozenset(["from", "import", "include", "using"])


def brings_in(seen: Seen) -> Told:
    """Return what a line that begins with `import` or `from` should be."""
    first = seen.place.first
    stop = first + 1
    while seen.tokens[stop].indent == SAME_LINE and seen.tokens[stop].kind not in ("_NL", "$END"):
        stop += 1
    words = [token.text for token in seen.tokens[first:stop]]
    line = Span(seen.source, seen.tokens[first].start, seen.tokens[stop - 1].stop)
    message = f"`{words[0]}` begins no declaration"
    if len(words) > 1 and words[1] in LIBRARIES:
        return Told("E0112", message, seen.span(seen.first), "remove it",
                    f"nothing of `{words[1]}` can be used: layers are built in, and have plain names here",
                    "unknown here")  # fmt: skip
    written = _use(words)
    return Told("E0112", message, seen.span(seen.first),
                f"write `{written}`" if written else "write `use LIBRARY`, or `use LIBRARY.BLOCK as NAME`",
                "libraries are brought in with `use`", "unknown here",
                Fix(line, written, f"write `{written}`") if written else None)  # fmt: skip


def _use(words: list[str]) -> str:
    """Return `use …` for the words of a line, or '' if it has no such form."""
    match words:
        case ["import" | "include" | "using", library, *rest] if _named(rest) and library.isidentifier():
            return " ".join(["use", library, *rest]).replace(" . ", ".")
        case ["from", library, "import", name, *rest] if name.isidentifier() and _named(rest):
            return " ".join(["use", f"{library}.{name}", *rest])
    return ""


def _named(rest: list[str]) -> bool:
    """Return whether nothing follows, a member, or `as NAME`."""
    if rest[:1] == ["."]:
        rest = rest[2:]
    return not rest or (len(rest) == 2 and rest[0] == "as")
