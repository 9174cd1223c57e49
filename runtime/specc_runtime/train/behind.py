"""How far each row of a table is, and bringing rows up to date.

An optimizer by row (rowwise) visits the rows that a gradient names; the steps that the others skip are
carried out when they are read (see skipped, stale).

Promises: rows are moved in blocks, so that what is read of the table and its state stays in the processor's
cache until it is written back, and no copy of all of a batch's rows is made.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from specc_runtime.native import pages
from specc_runtime.native import rows as native_rows
from specc_runtime.native.rows import Visit
from specc_runtime.ops.handed import Inbox
from specc_runtime.train.skipped import History
from specc_runtime.train.together import CatchingUp

# Elements of each tensor in a block on a CPU, as measured: below it calls dominate, above it cache misses.
_PIECE = 2**16


class Behind:
    """For each row of one table, up to which step it is up to date. It is the table's owner (see stale).

    seen: by row, the index in the history up to which it is up to date, int32 [rows]. whole: an index up
    to which all rows are.
    """

    def __init__(self, rule: str, state: dict[str, Any], kept: tuple[str, ...]) -> None:
        self.rule, self.state, self.kept = rule, state, kept
        self.inbox: Callable[[], Inbox | None] = _no_inbox
        self.history: History | None = None
        self.seen = torch.zeros(0, dtype=torch.int32, device="cpu")
        self.whole = 0

    def begin(self, history: History | None, weight: Tensor) -> None:
        """Start a new history, in which all rows are up to date."""
        self.history, self.whole = history, 0
        if history is not None:
            self.seen = pages.large(torch.zeros(len(weight), dtype=torch.int32, device=weight.device))

    def owes(self) -> bool:
        """Return whether any row may be behind."""
        return self.history is not None and self.whole != self.history.steps

    def catch_up(self, weight: Tensor, rows: Tensor | None = None) -> None:
        history = self.history
        if history is None or not self.owes():
            return
        if rows is not None:
            Behind.catch_up_rows([(self, weight, rows)])
            return
        # No row that autograd has saved is changed here, so the weight's version counter stays (`.data`).
        held = self._held(weight.data)
        with torch.no_grad():
            size = min(_size(weight), len(weight))
            for begin in range(0, len(weight), size):
                some = slice(begin, min(begin + size, len(weight)))
                part, seen = [x[some] for x in held], self.seen[some]
                every = torch.arange(len(seen), device=seen.device)
                if native_rows.run(self.rule, self.kept, [Visit(every, part, seen, self._told({}))]):
                    history.move(seen.long(), *part)
            self.seen.fill_(history.steps)
            self.whole = history.steps

    @staticmethod
    def catch_up_rows(reads: Sequence[tuple[Behind, Tensor, Tensor]]) -> None:
        """Bring rows of tables of one optimizer up to date."""
        owed = [(own, weight, rows) for own, weight, rows in reads if own.owes()]
        if not owed:
            return
        told: dict[int, ctypes.Structure] = {}
        visits = [
            Visit(rows.flatten(), own._held(w.data), own.seen, own._told(told)) for own, w, rows in owed
        ]
        own = owed[0][0]
        with torch.no_grad():
            for number in native_rows.run(own.rule, own.kept, visits):
                owed[number][0]._carry(visits[number])

    def _carry(self, visit: Visit) -> None:
        """Bring rows up to date in torch alone."""
        assert self.history is not None
        rows, since = self._behind(visit.rows)
        if not len(rows):
            return
        for those, their in self.history.groups(rows, since):
            moved(self.history.move, those, [their], visit.held)
        self.seen.index_fill_(0, rows, self.history.steps)

    def visit(
        self,
        weight: Tensor,
        rows: Tensor,
        grad: Tensor,
        numbers: tuple[float, ...],
        told: dict[int, ctypes.Structure],
    ) -> Visit:
        """Return the visit that brings rows up to date and updates them by the coming step, which the history
        is about to record. told: by its history's id(), what the kernel is told of it.
        """
        return Visit(rows, self._held(weight), self.seen, self._told(told), grad, numbers)

    def _held(self, weight: Tensor) -> list[Tensor]:
        state = self.state
        return [weight, *[state[name] for name in self.kept]]

    @staticmethod
    def catching(held: Sequence[tuple[Behind, Tensor]]) -> CatchingUp:
        """Return what brings rows of tables of one optimizer up to date, again and again."""
        return CatchingUp(held)

    def visited(self, weight: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return a table with its states, and how far its rows are."""
        return self._held(weight), self.seen

    def _told(self, told: dict[int, ctypes.Structure]) -> ctypes.Structure | None:
        history = self.history
        if history is None or not self.seen.is_cpu:
            return None
        found = told.get(id(history))
        if found is None:
            found = told[id(history)] = history.in_c()
        return found

    def done(self, rows: Tensor) -> None:
        """Note that rows have been updated by the step that the history is about to record."""
        if self.history is not None:
            self.seen.index_fill_(0, rows, self.history.steps + 1)

    def _behind(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows that are not up to date, without duplicates, and their indices in the history. On
        an accelerator return all rows, as counting them would wait for it.
        """
        assert self.history is not None
        since = self.seen.index_select(0, rows)
        if rows.device.type != "cpu":
            return rows, since.long()
        behind = (since != self.history.steps).nonzero().squeeze(1)
        rows, since = rows[behind], since[behind]
        # Of duplicates keep the last: each writes its mark, and the last one written is the one that is read.
        marks = torch.arange(-1, -1 - len(rows), -1, dtype=torch.int32, device="cpu")
        self.seen.index_copy_(0, rows, marks)
        last = (self.seen.index_select(0, rows) == marks).nonzero().squeeze(1)
        self.seen.index_copy_(0, rows, since)
        return rows[last], since[last].long()


def _no_inbox() -> None:
    return None


def _size(weight: Tensor) -> int:
    """Return how many rows to update at once."""
    return max(_PIECE // weight[0].numel(), 1) if weight.device.type == "cpu" else 2**31


def moved(move: Callable[..., None], rows: Tensor, given: Sequence[Tensor], held: Sequence[Tensor]) -> None:
    """Update some rows of tensors with `move`, in place. given: per-row arguments of `move`."""
    size = min(_size(held[0]), len(rows))
    pieces = [x.new_empty(size, *x.shape[1:]) for x in held]
    for some, *parts in zip(rows.split(size), *(g.split(size) for g in given), strict=True):
        read = [torch.index_select(x, 0, some, out=p[: len(some)]) for x, p in zip(held, pieces, strict=True)]
        move(*parts, *read)
        for x, moved in zip(held, read, strict=True):
            x.index_copy_(0, some, moved)
