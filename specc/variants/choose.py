"""Which variants: how many, every one, some at random, or few that cover every pair of choices.

Promises: nothing is enumerated to be counted but the params that a condition ties together; the same seed
gives the same sample; every pair of choices that some variant has is in a covering set.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from specc.types.static import StaticValue
from specc.variants.space import PATIENCE, Interval, Unknown, Variant, VariantSpace

POINTS = 3  # of an interval, in grids
LONG = 8  # a range of more integers is covered by its `points`


@dataclass(frozen=True)
class Count:
    """How many variants there are. Not `exact`: no more than that. `intervals` were counted as points."""

    number: int
    exact: bool
    intervals: tuple[str, ...]


def count(space: VariantSpace, points: int = POINTS) -> Count:
    """Return the number of variants, an interval counted as so many points."""
    number, exact = 1, True
    for part in space.parts:
        if space.free(part):
            number *= len(space.grid(part[0], {}, points))
            continue
        try:
            number *= sum(1 for _ in space.completions(part, {}, points, patience=PATIENCE))
        except Unknown:
            number *= _bound(space, part, points)
            exact = False
    return Count(number, exact, intervals(space))


def intervals(space: VariantSpace) -> tuple[str, ...]:
    """Return the params that range over numbers that are not integers."""
    return tuple(n for n in space.order if isinstance(space.choices(n, _some(space, n)), Interval))


def _some(space: VariantSpace, name: str) -> dict[str, StaticValue]:
    return {other: space.defaults[other] for other in space.reads[name]}


def _bound(space: VariantSpace, part: Sequence[str], points: int) -> int:
    """Return the product of the choices; a domain that reads other params counts with the most it ever
    has."""
    return math.prod(_most(space, name, points) for name in part)


def _most(space: VariantSpace, name: str, points: int) -> int:
    needs = [other for other in space.order if other in space.reads[name]]
    first = itertools.islice(space.completions(needs, {}, points), PATIENCE)
    return max((len(space.grid(name, given, points)) for given in first), default=0)


def every(space: VariantSpace, points: int = POINTS) -> Iterator[Variant]:
    """Yield all variants, the last param changing fastest."""
    for values in space.completions(space.order, {}, points):
        yield space.variant(values)


def sample(space: VariantSpace, number: int, seed: int) -> list[Variant]:
    """Return different variants at random, fewer where there are fewer. Of an interval any number is
    drawn."""
    generator = random.Random(seed)
    found: dict[tuple[str, ...], Variant] = {}
    for _ in range(20 * number):
        if len(found) == number:
            break
        variant = space.variant(_drawn(space, generator))
        found.setdefault(tuple(variant.settings().values()), variant)
    if len(found) < number and not intervals(space) and count(space).number <= 20 * number:
        rest = list(every(space))
        generator.shuffle(rest)
        for variant in rest:
            if len(found) < number:
                found.setdefault(tuple(variant.settings().values()), variant)
    return list(found.values())


def _drawn(space: VariantSpace, generator: random.Random) -> dict[str, StaticValue]:
    chosen: dict[str, StaticValue] = {}
    for part in space.parts:
        chosen.update(_drawn_part(space, part, generator))
    return chosen


def _drawn_part(space: VariantSpace, part: Sequence[str], generator: random.Random) -> dict[str, StaticValue]:
    """Draw each param by itself until the conditions hold; where that is rare, by a search in random
    order."""
    for _ in range(100):
        values: dict[str, StaticValue] = {}
        for name in part:
            choices = space.choices(name, values)
            if isinstance(choices, Interval):
                values[name] = choices.draw(generator)
            elif len(choices):
                values[name] = choices[generator.randrange(len(choices))]
        if len(values) == len(part) and space.holds(values):
            return values
    try:
        found = next(space.completions(part, {}, 9, generator, PATIENCE), None)
    except Unknown:
        found = None
    return found if found is not None else {name: space.defaults[name] for name in part}


def covering(space: VariantSpace, points: int = POINTS) -> list[Variant]:
    """Return few variants, the default first, that cover every pair of choices of two params that any variant
    has.

    Intervals, and ranges of more than 8 integers, are covered by `points` of their numbers and the default.
    """
    levels = {name: _levels(space, name, points) for name in space.order}
    missing = {
        frozenset(((a, x), (b, y)))
        for a, b in itertools.combinations(space.order, 2)
        for x in levels[a]
        for y in levels[b]
    }
    if len(space.order) == 1:
        only = space.order[0]
        return [space.variant({only: value}) for value in levels[only] if space.holds({only: value})]
    default = {name: space.defaults[name] for name in space.order}
    rows = [default]
    missing -= _pairs(default)
    # A set has no order of its own: the smallest by text is taken, so that a run can be repeated.
    waiting = sorted(missing, key=lambda pair: sorted(map(str, pair)))
    for pair in waiting:
        if pair in missing:
            row = _row(space, dict(pair), levels, missing, points)
            missing.discard(pair)
            if row is not None:
                missing -= _pairs(row)
                rows.append(row)
    return [space.variant(row) for row in rows]


def _levels(space: VariantSpace, name: str, points: int) -> tuple[StaticValue, ...]:
    """Return the default first, then the other choices."""
    choices = space.choices(name, _some(space, name))
    if isinstance(choices, Interval):
        choices = choices.points(points)
    elif isinstance(choices, range) and len(choices) > LONG:
        last = len(choices) - 1
        choices = [choices[round(last * i / max(points - 1, 1))] for i in range(points)]
    return tuple(dict.fromkeys([space.defaults[name], *choices]))


def _pairs(row: dict[str, StaticValue]) -> set[frozenset[tuple[str, StaticValue]]]:
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def _row(
    space: VariantSpace,
    start: dict[str, StaticValue],
    levels: dict[str, tuple[StaticValue, ...]],
    missing: set[frozenset[tuple[str, StaticValue]]],
    points: int,
) -> dict[str, StaticValue] | None:
    """Return a whole choice from a start, each param at what brings most missing pairs; None where there is
    none."""
    if not space.holds(start) or not space.feasible(start, points):
        return None
    row = dict(start)
    for name in space.order:
        if name in row:
            continue

        gain = {
            value: sum(frozenset(((name, value), item)) in missing for item in row.items())
            for value in levels[name]
        }
        for value in sorted(gain, key=gain.__getitem__, reverse=True):
            extended = {**row, name: value}
            if space.holds(extended, name) and space.feasible(extended, points):
                row = extended
                break
        else:
            return None
    return row
