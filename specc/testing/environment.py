"""What a random program may mention: its values with their types, and the names its axes go by.

Promises: the rules of types are stated here once more, apart from the compiler's, so that a program is well
typed by them and the checker can be held to it. Leaves what is done with the values to `expressions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

T = TypeVar("T")

WIDEST = 12  # channels of a value
MOST_AXES = 4
MOST_PLACES = 120  # positions of a value at its bounds


@dataclass(frozen=True)
class Ax:
    """An axis. `id` says how it came about, and is all that makes two axes the same."""

    id: tuple[Any, ...]
    name: str = field(compare=False)
    bound: int = field(compare=False)
    static: bool = field(compare=False, default=False)
    parent: Ax | None = field(compare=False, default=None)


def copied(old: Ax, name: str, scope: tuple[Any, ...]) -> Ax:
    """Return what `rename` makes of an axis: a static axis is its name and its size, another a copy of its
    root."""
    if old.static:
        return Ax(("static", name, old.bound, scope), name, old.bound, True)
    root = old.id[1] if old.id[0] == "renamed" else old.id
    return Ax(("renamed", root, name, scope), name, old.bound, False, old.parent)


@dataclass(frozen=True)
class Ty:
    axes: tuple[Ax, ...]
    width: int

    def without(self, axis: Ax) -> Ty:
        return Ty(tuple(a for a in self.axes if a != axis), self.width)

    def wide(self, width: int) -> Ty:
        return Ty(self.axes, width)

    def replaced(self, old: Ax, new: Ax) -> Ty:
        return Ty(tuple(new if a == old else a for a in self.axes), self.width)

    @property
    def leaves(self) -> tuple[Ax, ...]:
        """The axes in which no other axis of the value lives."""
        parents = {a.parent for a in self.axes}
        return tuple(a for a in self.axes if a not in parents)

    @property
    def sound(self) -> bool:
        """Small enough, and no two axes under one name."""
        places = 1
        for axis in self.axes:
            places *= max(axis.bound, 1)
        names = [a.name for a in self.axes]
        if len(set(self.axes)) < len(names):
            return False  # one axis, under two names
        return (
            1 <= self.width <= WIDEST and len(names) == len(set(names)) <= MOST_AXES and places <= MOST_PLACES
        )


def union(types: Iterable[Ty], width: int = 1) -> Ty:
    """Return all axes, in order of first appearance."""
    axes: dict[Ax, Ax] = {}
    for type_ in types:
        for axis in type_.axes:
            axes.setdefault(axis, axis)
    return Ty(tuple(axes.values()), width)


def closed(axes: Iterable[Ax]) -> tuple[Ax, ...]:
    """Return the axes with their parents, parents first."""
    found: list[Ax] = []
    for axis in axes:
        for one in (*(closed([axis.parent]) if axis.parent else ()), axis):
            if one not in found:
                found.append(one)
    return tuple(found)


@dataclass(frozen=True)
class Val:
    """A value by its text, which is a name or stands in parentheses. `space` if it is a space by name."""

    text: str
    type: Ty
    space: bool = False


class Choice(Protocol):
    """Who decides what comes next in a program."""

    def one(self, among: Sequence[T]) -> T: ...

    def number(self, low: int, high: int) -> int: ...


@dataclass(frozen=True)
class Drawn:
    """Hypothesis decides, so that what fails is made small."""

    draw: DrawFn

    def one(self, among: Sequence[T]) -> T:
        from hypothesis import strategies as st

        return self.draw(st.sampled_from(among))

    def number(self, low: int, high: int) -> int:
        from hypothesis import strategies as st

        return self.draw(st.integers(low, high))


@dataclass(frozen=True)
class Thrown:
    """Dice decide, each time the same ones of a number."""

    dice: Random

    def one(self, among: Sequence[T]) -> T:
        return self.dice.choice(among)

    def number(self, low: int, high: int) -> int:
        return self.dice.randint(low, high)


@dataclass
class Env:
    """One scope of a program: what can be named in it.

    scope: tells apart the axes that different instances make. walked: the axis of the scan whose body
    this is. allowed: in a scan's body, the axes that a value may have there. chunked: by the axis of the
    positions in chunks, the axis that was split.
    """

    choice: Choice
    counter: list[int]
    scope: tuple[Any, ...] = ()
    values: list[Val] = field(default_factory=list)
    names: dict[str, list[Ax]] = field(default_factory=dict)
    chunked: dict[Ax, Ax] = field(default_factory=dict)
    walked: Ax | None = None
    allowed: frozenset[Ax] | None = None

    def fresh(self, stem: str) -> str:
        self.counter[0] += 1
        return f"{stem}{self.counter[0]}"

    def one(self, among: Sequence[T]) -> T:
        return self.choice.one(among)

    def chance(self) -> bool:
        return self.choice.one((False, True))

    def number(self, low: int, high: int) -> int:
        return self.choice.number(low, high)

    def register(self, name: str, axis: Ax) -> None:
        known = self.names.setdefault(name, [])
        if axis not in known:
            known.append(axis)

    @property
    def settled(self) -> tuple[Ax, ...]:
        """In a scan's body, its axis and those that it lives in: there is one position of each."""
        return closed([self.walked]) if self.walked else ()

    def name(self, axis: Ax, type_: Ty) -> str | None:
        """Return a name that means this axis for a value of that type, if there is one."""
        for name, axes in self.names.items():
            if [a for a in type_.axes if a in axes] == [axis]:
                return name
        return None

    def plain_name(self, axis: Ax) -> str | None:
        """Return a name that means this axis wherever it stands: others of that name are derived from it."""
        for name, axes in self.names.items():
            ids = [a.id for a in axes]
            if [i for i in ids if not (i[0] in ("shorter", "inside") and i[1] in ids)] == [axis.id]:
                return name
        return None

    def fits(self, type_: Ty) -> bool:
        """Return whether a value of that type may be made here."""
        return type_.sound and (self.allowed is None or set(type_.axes) <= self.allowed)

    def usable(self, value: Val) -> bool:
        return self.fits(value.type)

    def partners(self, type_: Ty, widths: Iterable[int] | None = None) -> list[Val]:
        """Return the values that can be combined with one of that type."""
        wanted = None if widths is None else set(widths)
        return [
            v
            for v in self.values
            if (wanted is None or v.type.width in wanted)
            and self.usable(v)
            and self.fits(union([type_, v.type], max(type_.width, v.type.width)))
        ]
