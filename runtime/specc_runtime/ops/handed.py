"""Gradients of tables that are handed to their optimizer, those of all tables of a lookup at once.

A gradient in `weight.grad` is a tensor a table, which takes some twenty microseconds a step to make, pass on
and read: of a small batch and many tables most of the step. An optimizer by row that takes gradients itself
(train.rowwise) has an inbox: lookups put rows and sums there, and `weight.grad` stays None. Whoever looks at
gradients meanwhile must ask for these, too (`held_for`). `specc_runtime.train.train`, and a loop that asks
for it with `take_gradients`, has optimizers take them: any other finds every gradient in `weight.grad`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from specc_runtime import stale
from specc_runtime.ops import gradients
from specc_runtime.ops.gradients import Sums
from specc_runtime.ops.use import Use

if TYPE_CHECKING:
    from specc_runtime.ops.plan import Ids, Plan


class Handed(NamedTuple):
    """Gradients of tables of one width."""

    tables: Sequence[Tensor]
    sums: Sums


class Inbox:
    """What lookups have for one optimizer. anchor: stands for its tables where autograd looks for what needs
    a gradient."""

    def __init__(self) -> None:
        self.anchor = torch.empty(0, device="cpu", requires_grad=True)
        self.handed: list[Handed] = []
        # What lookups know of their tables (ops.plan), and of the ids that were read last.
        self.plans: dict[tuple[tuple[int, ...], ...], Plan] = {}
        self.last: Ids | None = None

    def put(self, tables: Sequence[Tensor], sums: Sums) -> None:
        self.handed.append(Handed(tables, sums))

    def settle(self) -> list[Handed]:
        """Have each table in one entry, and return these; none where some of them have a `weight.grad`, too,
        which everything is then added to."""
        held = [table for entry in self.handed for table in entry.tables]
        if any(table.grad is not None for table in held):
            self.give_out()
        elif len(set(map(id, held))) != len(held):
            kinds: dict[tuple[int, torch.dtype], list[Handed]] = {}
            for entry in self.handed:
                values = entry.sums.values
                kinds.setdefault((values.shape[1], values.dtype), []).append(entry)
            self.handed = [_joined(entries) for entries in kinds.values()]
        return self.handed

    def give_out(self) -> None:
        """Have every gradient in `weight.grad`, added to what is there."""
        for tables, sums in self.handed:
            for table, (rows, values) in zip(tables, sums.of_each(), strict=True):
                found = gradients.by_row(rows, values, table.shape)
                table.grad = found if table.grad is None else table.grad + found
        self.handed = []


def _joined(entries: Sequence[Handed]) -> Handed:
    if len(entries) == 1:
        return entries[0]
    tables = list({id(table): table for entry in entries for table in entry.tables}.values())
    number = {id(table): n for n, table in enumerate(tables)}
    given = [
        ([Use(number[id(table)], 0, rows)], values)
        for entry in entries
        for table, (rows, values) in zip(entry.tables, entry.sums.of_each(), strict=True)
    ]
    sizes = [table.shape[0] for table in tables]
    return Handed(tables, gradients.by_table(given, range(len(tables)), sizes, tables[0].shape[1]))


def held_for(weights: Iterable[Tensor]) -> list[Tensor]:
    """Return what inboxes hold for weights instead of their `weight.grad`: sums by row [m, w], each row of a
    table once. They may be changed in place. To be asked before any `weight.grad` is: a weight has one or the
    other afterwards."""
    if not stale.is_any_owned():
        return []
    inboxes = {id(box): box for w in weights if (box := inbox_of(stale.owner_of(w))) is not None}
    return [entry.sums.values for box in inboxes.values() for entry in box.settle()]


def inbox_of(owner: stale.Owner | None) -> Inbox | None:
    """Return where the gradients of an owner's table go; None for `weight.grad`."""
    return None if owner is None or _given else owner.inbox()


_given: list[None] = []


@contextmanager
def in_grads() -> Iterator[None]:
    """Have every gradient in `weight.grad` meanwhile."""
    _given.append(None)
    try:
        yield
    finally:
        _given.pop()
