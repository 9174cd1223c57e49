"""Which channels of a value have rows that repeat: what is looked up, or the same for all candidates.

Promises: a product is told of them (`folded_` of the kit), and multiplies each such row once where the batch
has few of them. Rows that are added up or put side by side are still known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from specc.emit.scoring.function import Place, Repeats, Writer

# As many as the kit's MOST_REPEATS; and of one channel, which are added up for each row.
_MOST, _TERMS = 32, 4
# To add up a product takes at least as long as so many multiplications (the kit's NEAR).
_NEAR = 8


def repeats_of(w: Writer, place: Place) -> tuple[Repeats, ...]:
    """The rows of a value that repeat, by channels."""
    if len(place.sizes) > 1 or w.tile is not None:
        return ()
    if place.grid is None:
        return (Repeats(0, place.size, place.pointer, place.size, "0", "1"),)
    if place.index and place.of is not None:
        return (Repeats(0, place.size, place.pointer, place.size, place.index, w.count(place.of)),)
    return place.parts


def side_by_side(w: Writer, places: Sequence[Place]) -> tuple[Repeats, ...]:
    """Those of values that are put side by side."""
    found, at = list[Repeats](), 0
    for place in places:
        found += [replace(part, start=at + part.start) for part in repeats_of(w, place)]
        at += place.size
    return tuple(found)


def added_up(w: Writer, a: Place, b: Place) -> tuple[Repeats, ...]:
    """Those of a sum: of channels that repeat in both."""
    parts = [repeats_of(w, place) for place in (a, b)]
    cuts = sorted({cut for own in parts for part in own for cut in (part.start, part.start + part.width)})
    found = list[Repeats]()
    for start, stop in pairwise(cuts):
        of_each = [_between(own, start, stop) for own in parts]
        if all(of_each) and sum(map(len, of_each)) <= _TERMS:
            found += [part for own in of_each for part in own]
    return tuple(found)


def _between(parts: Sequence[Repeats], start: int, stop: int) -> list[Repeats]:
    return [
        replace(part, start=start, width=stop - start, skipped=part.skipped + start - part.start)
        for part in parts
        if part.start <= start and stop <= part.start + part.width
    ]


def texts(w: Writer, parts: Sequence[Repeats]) -> list[tuple[Repeats, str]]:
    """Those that may be worth it, each with its initialiser in C up to the channels; what they need stands
    before."""
    terms = Counter(part.start for part in parts if part.rows != "1")  # that is added to the bias
    found = [part for part in parts if part.width > _NEAR * terms[part.start]]
    return [(part, _text(w, part)) for part in found] if len(found) <= _MOST else []


def _text(w: Writer, part: Repeats) -> str:
    x, index, rows = part.pointer, part.index, part.rows
    if part.looked_up:
        name = _few(w, part)
        x, index, rows = f"{name}.x", f"{name}.at", f"{name}.n"
    skipped = f" + {part.skipped}" if part.skipped else ""
    return f"{x}{skipped}, {part.stride}, {index}, {rows}"


def _few(w: Writer, part: Repeats) -> str:
    """The distinct rows of a table that the batch reads."""
    key = ("few", part.pointer, part.index)
    if key not in w.made:
        name = w.made[key] = w.name("few")
        w.prepare(
            f"repeats {name};",
            f"if (few_(m, {part.rows}, {part.index}, {part.looked_up}, {part.stride}, {part.pointer}, "
            f"&{name})) return 2;",
        )
    return w.made[key]
