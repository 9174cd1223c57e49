"""Axes and types of values: `[session, step, 64]`.

Promises: two axes are the same exactly when their `key` is equal; names are for people.
A value that has a nested axis always has its parent axis too.
"""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from typing import Any

from specc.frozen import dataclass


@dataclass(frozen=True)
class Axis:
    """One named axis.

    `key` is the identity: how the axis came about, as nested tuples, headed by its kind (specc.types.kinds)
    `size` is the length of a static axis, None for a ragged one; `bound` is the largest
    length; `parent` is the axis that a nested ragged axis lives in; `source` is the axis
    (for joined sequences: the two axes) that a derived axis comes from.
    """

    key: tuple[Any, ...]
    name: str = field(compare=False)
    bound: int = field(compare=False)
    size: int | None = field(default=None, compare=False)
    parent: Axis | None = field(default=None, compare=False)
    source: tuple[Axis, ...] = field(default=(), compare=False)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return _stem(self.key)

    @property
    def ragged(self) -> bool:
        return self.size is None

    @property
    def kind(self) -> str:
        return str(self.key[0])

    @property
    def number(self) -> Any:
        """The number that its identity has beside its source or its name: how many are taken, a size, a
        shift."""
        return self.key[2] if len(self.key) > 2 else None

    @property
    def chain(self) -> tuple[Axis, ...]:
        """The axes that it lives in, outermost first, and itself."""
        return (self,) if self.parent is None else (*self.parent.chain, self)

    def __str__(self) -> str:
        return self.name


def _stem(key: tuple[Any, ...]) -> int:
    """Return a hash that equal keys share. Sizes are left out, because they may be numbers of
    many variants."""
    first = key[1]
    return hash((key[0], first)) if isinstance(first, str) else hash((key[0], _stem(first)))


@dataclass(frozen=True)
class Type:
    """`width` channels at each position of `axes`. The order of axes is only for display."""

    axes: tuple[Axis, ...]
    width: int

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Type)
            and self.width == other.width
            and frozenset(self.axes) == frozenset(other.axes)
        )

    def __hash__(self) -> int:
        return hash((frozenset(self.axes), self.width))

    def has(self, axis: Axis) -> bool:
        return axis in self.axes

    def without(self, axis: Axis) -> Type:
        return Type(tuple(a for a in self.axes if a != axis), self.width)

    def with_width(self, width: int) -> Type:
        return Type(self.axes, width)

    def __str__(self) -> str:
        return "[" + ", ".join([*(a.name for a in self.axes), str(self.width)]) + "]"


def union(*types: Type) -> tuple[Axis, ...]:
    """Return all axes of the given types, in order of first appearance, parents before children."""
    axes: list[Axis] = []
    for type_ in types:
        for axis in type_.axes:
            if axis not in axes:
                axes.append(axis)
    ordered: list[Axis] = []

    def place(axis: Axis) -> None:
        if axis.parent is not None and axis.parent in axes and axis.parent not in ordered:
            place(axis.parent)
        if axis not in ordered:
            ordered.append(axis)

    for axis in axes:
        place(axis)
    return tuple(ordered)
