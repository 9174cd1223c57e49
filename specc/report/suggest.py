"""The name that was most likely meant: a misspelt one's nearest, or ours for another library's word."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from specc.report.diagnostic import Fix
from specc.report.elsewhere import ABSENT, NAMES, SAME
from specc.source import Span


def suggestion(name: str, span: Span, among: Iterable[str]) -> tuple[str, Fix | None]:
    """Return help for an unknown name, and a fix if it differs by a single slip from one known name."""
    known = list(among)
    close = SAME.get(name) or nearest(name, known)
    if close is None:
        return "", None
    sure = name in SAME or certain(name, known) == close or name.lower() == close.lower()
    return f"did you mean `{close}`?", Fix(span, close, f"write `{close}`") if sure else None


def absent(name: str) -> str:
    """Return what to write instead of a layer of another library that there is not here, or ''."""
    word = name.lower()
    if word in ABSENT:
        return ABSENT[word]
    near = [w for w in ABSENT if len(word) >= 4 and distance(word, w) == 1]
    return ABSENT[near[0]] if near else ""


def translated(name: str, among: Iterable[str]) -> str | None:
    """Return the layer that another library's name (`LayerNorm`, `cat`, `BatchNorm1d`) stands for here."""
    known = list(among)
    word = name.lower().removesuffix("1d").removesuffix("_").removesuffix("layer") or name.lower()
    if word in known:
        return word
    return next((meant for meant in NAMES.get(word, ()) if meant in known), None)


def nearest(name: str, among: Iterable[str]) -> str | None:
    """Return the known name that another one most likely meant, or None if none is close."""
    return _nearest(name, tuple(dict.fromkeys(among)))


@lru_cache(1_000)
def _nearest(name: str, among: tuple[str, ...]) -> str | None:
    known = [k for k in among if k != name]
    lower, most = name.lower(), (len(name) + 1) // 3
    for meant in NAMES.get(lower, ()):
        if meant in known:
            return meant
    ranked = sorted(
        (slips, -_alike_at_first(lower, k.lower()), place)
        for place, k in enumerate(known)
        if abs(len(k) - len(name)) <= most and (slips := distance(lower, k.lower())) <= most
    )
    if ranked:
        return known[ranked[0][2]]
    if len(lower) > 3:  # another library's word, misspelt
        for word, meanings in NAMES.items():
            if distance(lower, word) == 1 and (ours := [m for m in meanings if m in known]):
                return ours[0]
    # Abbreviations (`cat` for `category`) and their opposites (`batch_size`) are far, but plain to a reader.
    begun = [k for k in known if (len(name) >= 3 and k.startswith(name)) or name.startswith(f"{k}_")]
    return min(begun, key=len) if begun else None


def _alike_at_first(one: str, other: str) -> int:
    """Return how many letters two words have in common at their start."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)


def certain(name: str, among: Iterable[str]) -> str | None:
    """Return the one known name that differs by a single slip, in a word long enough to tell; else None."""
    if len(name) < 4:
        return None
    near = [k for k in dict.fromkeys(among) if k != name and distance(name, k) == 1]
    return near[0] if len(near) == 1 else None


def distance(one: str, other: str) -> int:
    """Return how many slips part two words: a letter more, less or other, or two neighbours exchanged."""
    if abs(len(one) - len(other)) > 8:
        return max(len(one), len(other))
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row, last = row, [i], before
        for j, b in enumerate(other, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]
