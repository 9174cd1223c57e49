"""The step of many tables at once: all tables of a width in one call of C.

What does not change from step to step is worked out once for each set of tables that have gradients
together. Promises: the weights and states that the optimizer has of steps table by table; no step where only
that way can take it (other options, no compiler, a first step).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from specc_runtime.native.rows import Pack
from specc_runtime.ops.handed import Handed
from specc_runtime.train.skipped import LENGTH, History

if TYPE_CHECKING:
    from specc_runtime.train.behind import Behind
    from specc_runtime.train.rowwise import ByRow

Ints = npt.NDArray[np.int64]


class Together:
    """Tables of one group of an optimizer that have gradients together. handed: theirs, one entry a width."""

    def __init__(self, optimizer: ByRow, group: dict[str, Any], handed: Sequence[Handed]) -> None:
        self.optimizer, self.group = optimizer, group
        self.tables = [table for entry in handed for table in entry.tables]
        mine = {id(table) for table in self.tables}
        self.behind = [optimizer.behind[table] for table in self.tables]
        self.others = [(w, own) for w, own in optimizer.behind.items() if id(w) not in mine]
        place = {id(w): n for n, w in enumerate(optimizer.behind)}
        self.places = [place[id(table)] for table in self.tables]
        self.taken = torch.zeros(len(place), device="cpu")
        self.taken[self.places] = 1
        visited = [[optimizer.behind[w].visited(w) for w in entry.tables] for entry in handed]
        self.packs = [Pack.of(optimizer.name, optimizer.kept, held) for held in visited]
        self.addresses = self._addresses()

    def _addresses(self) -> list[int]:
        return [table.data_ptr() for table in self.tables]

    def fits(self) -> bool:
        """Whether all is where it was, and no other table has a gradient."""
        return self._addresses() == self.addresses and all(w.grad is None for w, _ in self.others)

    def step(self, handed: Sequence[Handed]) -> bool:
        """Take a step, or none and return False."""
        optimizer, group = self.optimizer, self.group
        histories = self._histories()
        if histories is None or any(pack is None for pack in self.packs):
            return False
        steps = optimizer.steps
        of_all = (steps + self.taken).tolist()
        now = [of_all[place] for place in self.places]
        settings: dict[float, Any] = {}
        for number in set(now):
            numbers = optimizer._numbers(group, int(number))
            if numbers is None:
                return False
            settings[number] = (ctypes.c_double * len(numbers))(*numbers)
        structures = {id(h): h.in_c() for h in histories}
        begin = 0
        for pack, entry in zip(self.packs, handed, strict=True):
            assert pack is not None
            some = range(begin, begin + len(entry.tables))
            begin = some.stop
            if len(settings) == 1 and len(structures) <= 1:
                told: Any = next((ctypes.addressof(s) for s in structures.values()), 0)
                of: Any = ctypes.addressof(next(iter(settings.values())))
            else:
                told = [
                    ctypes.addressof(structures[id(self.behind[n].history)]) if structures else 0
                    for n in some
                ]
                of = [ctypes.addressof(settings[now[n]]) for n in some]
            pack.step(entry.sums.rows, entry.sums.values, entry.sums.counts, told, of)
        steps.add_(self.taken)
        torch.autograd.graph.increment_version(self.tables)
        for history in histories:
            number = next(n for n, own in zip(now, self.behind, strict=True) if own.history is history)
            optimizer._note(group, history, int(number))
        return True

    def _histories(self) -> list[History] | None:
        """The histories to which the step can be added; None where one is to be begun or parted."""
        if self.group["rows"] != "exact":
            return []
        found = {id(own.history): own.history for own in self.behind}
        histories = [h for h in found.values() if h is not None]
        if not histories:
            none_needed = self.optimizer._history(self.group, 1, self.tables[0]) is None
            return [] if none_needed else None
        if len(histories) < len(found) or any(id(own.history) in found for _, own in self.others):
            return None
        fit = all(h.steps < LENGTH - 1 and self.optimizer._fits(self.group, h) for h in histories)
        return histories if fit else None


class CatchingUp:
    """Tables that are read together: brings the rows that are read up to date, those of all tables of a width
    in one call of C."""

    def __init__(self, held: Sequence[tuple[Behind, Tensor]]) -> None:
        self.held = held
        self.owners = [own for own, _ in held]
        self.seen: list[Tensor] = []
        self.packs: list[tuple[list[int], Pack | None]] = []

    def _prepare(self) -> None:
        kinds: dict[tuple[int, torch.dtype], list[int]] = {}
        for number, (own, weight) in enumerate(self.held):
            if own.history is None:
                continue  # it owes nothing, and has perhaps no states yet
            kinds.setdefault((weight.shape[1], weight.dtype), []).append(number)
        self.seen = [own.seen for own in self.owners]
        rule, kept = self.owners[0].rule, self.owners[0].kept
        self.packs = []
        for of_kind in kinds.values():
            visited = [own.visited(weight.data) for own, weight in (self.held[n] for n in of_kind)]
            self.packs.append((of_kind, Pack.of(rule, kept, visited)))

    def catch_up(self, ids: Ints, counts: Sequence[int]) -> bool:
        """Bring rows up to date. ids, counts: for each table, where its rows' numbers are, int64, and how
        many. Return False, and change nothing, where there is no kernel."""
        for own in self.owners:
            if own.history is not None and own.owes():
                break
        else:
            return True
        if not all(map(is_, self.seen, [own.seen for own in self.owners])) or not self.packs:
            self._prepare()
        if any(pack is None for _, pack in self.packs):
            return False
        histories = {id(own.history): own.history for own in self.owners}
        structures = {key: h.in_c() for key, h in histories.items() if h is not None}
        told = [ctypes.addressof(structures[id(own.history)]) if own.history is not None else 0
                for own in self.owners]  # fmt: skip
        many: Ints = np.array(counts, dtype=np.int64)
        for of_kind, pack in self.packs:
            assert pack is not None
            pack.catch_up(ids[of_kind], many[of_kind], [told[n] for n in of_kind])
        return True
