"""Near-misses: a well-typed program with one axis, width or name changed.

Promises: a misspelt name is nowhere declared, so that it must be reported where it stands; a changed axis
or width may leave the program sound, and then it must have a meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specc.testing.programs import programs

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

_NAMES = re.compile(r"(?<![\w.])(?:[vywx]\d+|ad|history|joined|layer\d+)(?=[ ,()\]|\n])(?!\d* =)")
_AXES = re.compile(r"(?<=over )\w+")
_WIDTHS = re.compile(r"(?<=linear\()\d+|(?<=, )\d+(?=\] [-{]|\]$)")


@dataclass(frozen=True)
class Miss:
    """`text` has `new` at `start` where the sound program had `old`. kind: "name", "axis" or "width"."""

    kind: str
    text: str
    start: int
    old: str
    new: str

    @property
    def stop(self) -> int:
        return self.start + len(self.new)


def near_misses() -> SearchStrategy[Miss]:
    """Return a Hypothesis strategy of programs that are sound but for one word."""
    from hypothesis import assume
    from hypothesis import strategies as st

    @st.composite
    def miss(draw: DrawFn) -> Miss:
        text = draw(programs(max_bindings=3))
        body = text.index("\n\n", text.index("space "))
        kind, pattern = draw(st.sampled_from([("name", _NAMES), ("axis", _AXES), ("width", _WIDTHS)]))
        places = [m for m in pattern.finditer(text, body) if not _declares(text, m)]
        assume(places)
        place = draw(st.sampled_from(places))
        old = place.group()
        match kind:
            case "name":
                new = f"{old}_typo"
            case "axis":
                others = {m.group() for m in _AXES.finditer(text)} | {"t"}
                among = sorted(others - {old})
                assume(among)
                new = draw(st.sampled_from(among))
            case _:
                new = str(int(old) + draw(st.sampled_from([-1, 1, 2])))
        return Miss(kind, text[: place.start()] + new + text[place.end() :], place.start(), old, new)

    return miss()


def _declares(text: str, place: re.Match[str]) -> bool:
    """Return whether a name is declared here rather than used."""
    line_start = text.rfind("\n", 0, place.start()) + 1
    before = text[line_start : place.start()]
    after = text[place.end() : place.end() + 2]
    return before.strip() in ("", "layer", "learned", "next") or after.startswith("[")
