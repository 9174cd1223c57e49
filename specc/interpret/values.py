"""What the definition computes with: an example, a value, and the place in a program where one is read.

Promises: a value has a vector at every position that exists and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from specc.types import kinds
from specc.types.axis import Axis, Type, union

Positions = tuple[int, ...]
"""Positions along some axes, in their order."""

Place = Mapping[Axis, int]
"""Positions by axis."""


@dataclass(frozen=True)
class Weighted:
    """The ids of a bag, and what the row of each is multiplied with."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


Held = Tensor | int | tuple[int, ...] | Weighted
"""What a field holds at one position: numbers [n], an id, or the ids of a bag."""


@dataclass(frozen=True)
class Example:
    """One example: a request with one candidate.

    fields: by path, what is held at each position of the field's axes.
    lengths: by the key of a space's own axis, its length at each position of its parents.
    labels: by prediction, a scalar. May be empty. request: which request of the batch it is of, from 0.
    """

    fields: Mapping[str, Mapping[Positions, Held]]
    lengths: Mapping[Axis, Mapping[Positions, int]]
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    request: int = 0


@dataclass(frozen=True)
class Value:
    """A vector of channels at every position of some axes. `states` are those of a scan, each at every
    position; the value itself is the first."""

    axes: tuple[Axis, ...]
    at: Mapping[Positions, Tensor]
    states: tuple[Value, ...] = ()

    def __getitem__(self, place: Place) -> Tensor:
        """Return the vector at a place; axes that the value lacks do not matter: it is
        the same along them."""
        return self.at[tuple(place[a] for a in self.axes)]

    @property
    def only(self) -> Tensor:
        """The vector of a value without axes."""
        return self.at[()]


@dataclass(frozen=True)
class Setting:
    """Where nodes are evaluated: for one example, with the model's weights, and inside of a scan at one
    position (`here`) of its axis and that axis's parents.

    number_of, examples: which example of the batch it is, counted from 0, and all of them.
    captures, states: what the region's `capture` and `state` nodes stand for.
    ranked: by axis of positions chosen by a score, where along its source each is, as far as that is known.
    """

    example: Example
    weights: Mapping[str, Tensor]
    training: bool = False
    number_of: int = 0
    examples: tuple[Example, ...] = ()
    here: Place = field(default_factory=dict)
    captures: tuple[Value, ...] = ()
    states: tuple[Value, ...] = ()
    ranked: dict[Axis, Value] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return dtype_of(self.weights)

    def inside(self, here: Place, captures: tuple[Value, ...], states: tuple[Value, ...]) -> Setting:
        return replace(self, here={**self.here, **here}, captures=captures, states=states)

    def number(self, value: float) -> Tensor:
        return torch.tensor([float(value)], dtype=self.dtype)

    def length(self, axis: Axis, place: Place) -> int:
        """Return how many positions an axis has, at a place that says where along its parents."""
        if axis.kind == "batch":
            return max(len(self.examples), 1)
        if axis.size is not None:
            return axis.size
        if axis.kind == "space":
            return self.example.lengths[axis][_parents(axis, {**self.here, **place})]
        place = {**self.here, **place}
        if axis.kind == "across":
            batch, *outer = axis.chain[:-1]
            return self.examples[place[batch]].lengths[axis.source[0]][tuple(place[a] for a in outer)]
        if axis.kind == "inside":
            place |= kinds.origin_of(axis, place, self.stands)
        before = kinds.before(axis, place)
        return int(kinds.length(axis, *(self.length(source, place) - before for source in axis.source)))

    def stands(self, axis: Axis, place: Place) -> int:
        """Return the position along its source that a place along a derived axis stands for."""
        ranked = self.ranked.get(axis)
        return kinds.position(axis, place) if ranked is None else int(ranked[place])

    def places(self, axes: tuple[Axis, ...]) -> Iterator[dict[Axis, int]]:
        """Yield every place along some axes that exists. Inside of a scan the axes of `here` are settled."""
        yield from self._places(union(Type(axes, 1)), {})

    def along(self, axes: tuple[Axis, ...], place: Place) -> Iterator[dict[Axis, int]]:
        """Yield every place that there is along some axes at one along others, their parents among them."""
        yield from self._places(union(Type(axes, 1)), dict(place))

    def _places(self, axes: tuple[Axis, ...], place: dict[Axis, int]) -> Iterator[dict[Axis, int]]:
        if not axes:
            yield place
            return
        axis, *rest = axes
        settled = self.here.get(axis)
        for p in range(self.length(axis, place)) if settled is None else (settled,):
            yield from self._places(tuple(rest), {**place, axis: p})

    def value(self, type_: Type, channels: Callable[[Place], Tensor]) -> Value:
        """Return a value of a type, given its channels at each place."""
        at: dict[Positions, Tensor] = {}
        for place in self.places(type_.axes):
            found = channels(place)
            assert found.shape == (type_.width,), (type_, tuple(found.shape))
            at[tuple(place[a] for a in type_.axes)] = found
        return Value(type_.axes, at)


def dtype_of(weights: Mapping[str, Tensor]) -> torch.dtype:
    """Return what a model computes in: the type of its weights."""
    for weight in weights.values():
        if weight.dtype.is_floating_point:
            return weight.dtype
    return torch.get_default_dtype()


def _parents(axis: Axis, place: Place) -> Positions:
    """Return where a place is along an axis's parents, outermost first."""
    return () if axis.parent is None else (*_parents(axis.parent, place), place[axis.parent])
