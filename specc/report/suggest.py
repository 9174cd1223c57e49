"""The nearest name to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, among: Iterable[str]) -> str | None:
    """The known name that a misspelt one most likely meant, or None if none is close."""
    known = [k for k in among if k != name]
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return close[0]
    # Abbreviations (`cat` for `category`) score low by edit distance but are plain to a reader.
    begun = sorted((k for k in known if len(name) >= 3 and k.startswith(name)), key=len)
    return begun[0] if begun else None
