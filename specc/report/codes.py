"""The long form of every diagnostic: what the rule is, a spec that breaks it, and the spec repaired.

Promises: one page a code, in `pages/E0301.md`; tests hold every example to its code, and the pages to the
codes that the compiler gives. Leaves what is said of one fault to the place that finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from specc.frozen import dataclass

_PAGES = Path(__file__).parent / "pages"
_TITLE = re.compile(r"# (?P<code>[EW]\d{4}): (?P<title>[^\n]+)\n")
_EXAMPLE = re.compile(r"```arec (?P<role>faulty|repaired|[a-z_]+\.arec)\n(?P<text>.*?)```\n", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """One code. `beside` has the files that its examples need next to them, by name.

    `faulty` and `repaired` are '' where no short text could show the fault.
    """

    code: str
    title: str
    text: str  # the whole page
    faulty: str
    repaired: str
    beside: Mapping[str, str]


class _Codes(Mapping[str, Page]):
    """Pages by code, each read when it is asked for."""

    def __init__(self) -> None:
        self.names = sorted(path.stem for path in _PAGES.glob("[EW]*.md"))

    def __getitem__(self, code: str) -> Page:
        if code not in self.names:
            raise KeyError(code)
        return _page(code)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@cache
def _page(code: str) -> Page:
    text = (_PAGES / f"{code}.md").read_text(encoding="utf-8")
    title = _TITLE.match(text)
    assert title is not None, f"{code}.md has no title"
    parts = {found["role"]: found["text"] for found in _EXAMPLE.finditer(text)}
    faulty, repaired = parts.pop("faulty", ""), parts.pop("repaired", "")
    return Page(code, title["title"], text, faulty, repaired, parts)


CODES = _Codes()
