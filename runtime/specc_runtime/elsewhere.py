"""What goes from a batch on the host to another device: index tensors, and tensors of the batch itself.

Promises: index tensors are worked out on the host, where the lengths are, and moved: no device is ever asked
how many rows there are. Each is moved when it is first asked for; what batches before were asked for can be
worked out ahead, by another thread too, and goes in one copy for each type of numbers (`Shipment`).
Leaves to others: what the index tensors hold (layout), when a batch is made ready (feed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from specc_runtime.devices import transfer
from specc_runtime.layout import Axis, Layout, P, Planned, Rows, Steps
from specc_runtime.tracing import once

# A question about a layout: a function of it (see `Layout.planned`) and the function's arguments.
Question = tuple[Callable[..., Planned], tuple[Any, ...]]


class Elsewhere(Layout):
    """A layout whose index tensors are on another device than its lengths.

    host: the layout that they are taken from. plans: those that are there, by question.
    """

    def __init__(self, host: Layout, device: torch.device) -> None:
        super().__init__(host.size, host.given, host.candidates, device)
        self._host = host

    @property
    def host(self) -> Layout:
        return self._host

    def rows(self, axes: tuple[Axis, ...]) -> Rows:
        rows = self._rows.get(axes)
        if rows is None:
            prefix = self.rows(axes[:-1]) if axes else None
            rows = self._rows[axes] = _Rows(self, axes, prefix)
        return rows

    def within(self, axis: Axis) -> Rows:
        return self.rows(self._host.within(axis).axes)

    def lengths(self, axis: Axis) -> Tensor:
        return self.planned(_lengths, axis)

    def longest(self, axis: Axis) -> int:
        return self._host.longest(axis)

    def planned(self, question: Callable[..., P], *about: Any) -> P:
        found: P | None = self.plans.get((question, about))
        if found is None:
            found = _moved(self._host.planned(question, *about), self.device)
            self.plans[question, about] = found
        return found


class _Rows(Rows):
    """Rows of an `Elsewhere`."""

    @property
    def _layout(self) -> Elsewhere:
        assert isinstance(self.layout, Elsewhere)
        return self.layout

    @once
    def count(self) -> int:
        return self._layout.host.rows(self.axes).count

    @once
    def lengths(self) -> Tensor:
        return self.layout.planned(_of_rows, self.axes, "lengths")

    @once
    def starts(self) -> Tensor:
        return self.layout.planned(_of_rows, self.axes, "starts")

    @once
    def example(self) -> Tensor:
        return self.layout.planned(_of_rows, self.axes, "example")

    def position(self, axis: Axis) -> Tensor:
        return self.layout.planned(_position, self.axes, axis)

    def index(self, to: Rows) -> Tensor:
        return self.layout.planned(_index, self.axes, to.axes)

    def lengths_of(self, axis: Axis) -> Tensor:
        return self.layout.planned(_lengths_of, self.axes, axis)

    def steps(self, axis: Axis, backward: bool) -> Steps:
        return self.layout.planned(_steps, self.axes, axis, backward)


# Functions of their own, as two layouts' questions are the same where function and arguments are.


def _lengths(layout: Layout, axis: Axis) -> Tensor:
    return layout.lengths(axis)


def _of_rows(layout: Layout, axes: tuple[Axis, ...], what: str) -> Tensor:
    found: Tensor = getattr(layout.rows(axes), what)
    return found


def _position(layout: Layout, axes: tuple[Axis, ...], axis: Axis) -> Tensor:
    return layout.rows(axes).position(axis)


def _index(layout: Layout, axes: tuple[Axis, ...], to: tuple[Axis, ...]) -> Tensor:
    return layout.rows(axes).index(layout.rows(to))


def _lengths_of(layout: Layout, axes: tuple[Axis, ...], axis: Axis) -> Tensor:
    return layout.rows(axes).lengths_of(axis)


def _steps(layout: Layout, axes: tuple[Axis, ...], axis: Axis, backward: bool) -> Steps:
    return layout.rows(axes).steps(axis, backward)


def _moved(plan: P, device: torch.device) -> P:
    return _each(plan, lambda x: transfer(x, device))


def _each(thing: P, change: Callable[[Tensor], Tensor]) -> P:
    """A tensor, or what consists of several, changed."""
    changed: Any = change(thing) if isinstance(thing, Tensor) else thing.each(change)
    found: P = changed
    return found


@dataclass(frozen=True, eq=False)
class Shipment:
    """Things of tensors that go to a device together.

    things: tensors, and what has `each`. wholes: by type their numbers one after another, page-locked where
    that lets a copy overlap with work.
    """

    things: Sequence[Planned]
    wholes: dict[torch.dtype, Tensor]

    @staticmethod
    def of(things: Sequence[Planned]) -> Shipment:
        """Things on the host, packed. May run in any thread."""
        parts: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors_of(things):
            parts.setdefault(tensor.dtype, []).append(tensor.flatten())
        pinned = torch.cuda.is_available()
        wholes = {}
        for dtype, some in parts.items():
            wholes[dtype] = torch.empty(sum(map(len, some)), dtype=dtype, device="cpu", pin_memory=pinned)
            torch.cat(some, out=wholes[dtype])
        return Shipment(things, wholes)

    def to(self, device: torch.device) -> list[Planned]:
        """The things there, in order."""
        sizes: dict[torch.dtype, list[int]] = {dtype: [] for dtype in self.wholes}
        for tensor in tensors_of(self.things):
            sizes[tensor.dtype].append(tensor.numel())
        parts = {
            dtype: iter(transfer(whole, device).split(sizes[dtype])) for dtype, whole in self.wholes.items()
        }

        def there(x: Tensor) -> Tensor:
            part: Tensor = next(parts[x.dtype])
            return part.view(x.shape)

        return [_each(thing, there) for thing in self.things]


def tensors_of(things: Sequence[Planned]) -> list[Tensor]:
    """The tensors of things, in the order in which `each` meets them."""
    found: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        found.append(x)
        return x

    for thing in things:
        _each(thing, note)
    return found
