"""The rows of a batch, as a list of places: nothing of the runtime's layout is read here.

A place is an example (of what is of a request alone, the first of that request's) and a position along each
axis; a row is where a place stands in the list of its domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from specc.interpret import examples_of
from specc.interpret.values import Setting
from specc.interpret.values import Value as Values
from specc.ir.graph import Graph
from specc.lower.shape import Domain
from specc.passes.roles import CANDIDATE, axis_role
from specc.types.axis import Axis, Type, union
from specc_runtime import Batch

Place = tuple[int, dict[Axis, int]]


@dataclass(eq=False)
class Rows:
    """The rows of a domain: their places, in order."""

    axes: tuple[Axis, ...]
    candidate: bool
    places: list[Place]

    @cached_property
    def numbers(self) -> dict[tuple[int, ...], int]:
        return {self._key(place): number for number, place in enumerate(self.places)}

    def _key(self, place: Place) -> tuple[int, ...]:
        return place[0], *(place[1][a] for a in self.axes)

    def number(self, example: int, positions: Mapping[Axis, int]) -> int:
        """The row of a place, which may have further axes."""
        return self.numbers[example, *(positions[a] for a in self.axes)]

    def __len__(self) -> int:
        return len(self.places)


class Layout:
    """The rows of a batch's domains, for one graph."""

    def __init__(self, graph: Graph, batch: Batch, weights: Mapping[str, Tensor], training: bool) -> None:
        self.roles = {space.name: space.role for space in graph.spaces}
        self.examples = examples_of(graph, batch)
        self.settings = [
            Setting(x, weights, training, n, tuple(self.examples)) for n, x in enumerate(self.examples)
        ]
        each = [1] * batch.size if batch.candidates is None else batch.candidates.tolist()
        # By example the first one of its request.
        self.first = [first for n, first in zip(each, _starts(each), strict=True) for _ in range(n)]
        self._rows: dict[Domain, Rows] = {}

    def rows(self, domain: Domain) -> Rows:
        if domain not in self._rows:
            axes = {step for axis in domain.axes for step in axis.chain}
            candidate = domain.candidate or any(axis_role(a, self.roles) == CANDIDATE for a in axes)
            # Axes that are made of others have no position there.
            ordered = union(Type(tuple(sorted(axes, key=lambda a: (len(a.chain), a.name, str(a.key)))), 1))
            starts = range(len(self.examples)) if candidate else sorted(set(self.first))
            places = [(e, place) for e in starts for place in self.settings[e].places(ordered)]
            self._rows[domain] = Rows(ordered, candidate, places)
        return self._rows[domain]

    def rank(self, axis: Axis, rows: Rows, places: Tensor) -> None:
        """From now on it is known which positions an axis has along its source."""
        for example, setting in enumerate(self.settings):
            own = example if rows.candidate else self.first[example]
            found = {
                tuple(place[1][a] for a in rows.axes): places[number]
                for number, place in enumerate(rows.places) if place[0] == own
            }  # fmt: skip
            setting.ranked[axis] = Values(rows.axes, found)

    def without(self, rows: Rows, axis: Axis) -> Rows:
        """The rows that remain when one axis is gone."""
        return self.rows(Domain(frozenset(rows.axes) - {axis}, rows.candidate))

    def with_axis(self, rows: Rows, axis: Axis) -> Rows:
        return self.rows(Domain(frozenset((*rows.axes, axis)), rows.candidate))

    def row_of(self, rows: Rows, place: Place, instead: Mapping[Axis, int] | None = None) -> int:
        """The row that belongs to a place. instead: positions along axes that the place has otherwise."""
        example, positions = place
        at = example if rows.candidate else self.first[example]
        return rows.number(at, {**positions, **(instead or {})})

    def index(self, of: Rows, to: Rows) -> Tensor:
        """For each row of `to` the row of `of` that belongs to it."""
        return torch.tensor([self.row_of(of, place) for place in to.places], dtype=torch.int64)

    def length(self, axis: Axis, place: Place) -> int:
        return self.settings[place[0]].length(axis, place[1])

    def sequences(self, rows: Rows, axis: Axis, without: Rows) -> list[list[int]]:
        """For each row without an axis its rows along it, in order."""
        found: list[list[int]] = []
        for place in without.places:
            along = range(self.length(axis, place))
            found.append([self.row_of(rows, place, {axis: position}) for position in along])
        return found


def _starts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:number]) for number in range(len(sizes))]
