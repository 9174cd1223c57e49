"""Optimizers that visit only the rows of a table that a gradient names.

Promises: the rules, the names of their options and their states are torch's own (torch.optim.Adam, AdamW,
Adagrad, SGD, RMSprop, Adadelta). Gradients of a row that is named several times are added up; a dense
gradient names every row. Steps that a row skips are carried out when it is next read (`rows = "exact"`,
see behind, skipped and stale), or never (`rows = "lazy"`: such a row keeps weight and state).
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from specc_runtime import stale
from specc_runtime.native import pages
from specc_runtime.native import rows as native_rows
from specc_runtime.ops import gradients
from specc_runtime.ops.handed import Handed, Inbox
from specc_runtime.train.behind import Behind, moved
from specc_runtime.train.skipped import LENGTH, History, restored, without_closed_form
from specc_runtime.train.together import Together


class ByRow(Optimizer):
    """What the update rules have in common.

    kept: the names of the states that are as large as the weight. `_start` allocates them, `_move`
    updates rows of the weight, and of the states in this order, in place. `_history` and `_note` say what
    a step does to the other rows; without history it does nothing to them.
    """

    name: ClassVar[str]  # as build_optimizer has it
    kept: tuple[str, ...] = ()
    inbox: Inbox | None = None

    def __init__(self, params: Iterable[Tensor], defaults: dict[str, Any], rows: str = "exact") -> None:
        super().__init__(params, {**defaults, "rows": rows})
        self._own()

    def _own(self) -> None:
        weights = [weight for group in self.param_groups for weight in group["params"]]
        # Each table's number of steps is one of these, so that all are counted in one operation.
        self.steps = torch.zeros(len(weights), dtype=torch.float32, device="cpu")
        self.step_of = dict(zip(weights, self.steps.unbind(), strict=True))
        self._together: dict[tuple[int, ...], Together] = {}
        self.behind: dict[Tensor, Behind] = {}
        for weight in weights:
            state = self.state[weight]
            if "step" in state:
                self.step_of[weight].copy_(state["step"])
                state["step"] = self.step_of[weight]
            self.behind[weight] = Behind(self.name, state, self.kept)
            stale.own(weight, self.behind[weight])
        if self.inbox is not None:
            self.take_gradients()

    def take_gradients(self) -> None:
        """Have lookups hand the gradients of tables over, from now on: `weight.grad` stays None (see
        ops.handed)."""
        self.inbox = Inbox()
        for behind in self.behind.values():
            # A table's owner outlives its optimizer, which would outlive its tables.
            behind.inbox = weakref.ref(self.inbox)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.drop()
        super().zero_grad(set_to_none)

    def drop(self) -> None:
        """Forget the gradients that were handed over."""
        if self.inbox is not None:
            self.inbox.handed = []

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update rows by their gradients. Raises ValueError where options were changed to what cannot go by
        row.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.advance()
        return loss

    def advance(self) -> None:
        """Take a step, as a part of an optimizer whose own `step` has hooks and profile."""
        with torch.no_grad():
            if self.inbox is not None and self.inbox.handed:
                handed = self.inbox.settle()
                if handed and self._stepped_together(handed):
                    self.inbox.handed = []
                    return
                self.inbox.give_out()
            self._together = {}  # where rows are may change now
            for group in self.param_groups:
                found = {w: w.grad for w in group["params"] if w.grad is not None}
                for weight in found:
                    self._begin(group, weight)
                if len(found) == len(self.step_of):
                    self.steps.add_(1)
                else:
                    for weight in found:
                        self.step_of[weight].add_(1)
                if group["rows"] == "exact":
                    self._open(group, found)
                left = self._in_c(group, {w: _entries(g) for w, g in found.items()})
                # The kernel takes distinct rows: of most gradients they are.
                distinct = {weight: summed(found[weight]) for weight in left}
                for weight in self._in_c(group, distinct):
                    if len(distinct[weight][0]):
                        self._step(group, weight, *distinct[weight])
                if group["rows"] == "exact":
                    self._close(group, found)

    def _stepped_together(self, handed: Sequence[Handed]) -> bool:
        """Take the step of all tables in one go, or none and return False."""
        if len(self.param_groups) > 1:
            return False
        key = tuple([table for entry in handed for table in map(id, entry.tables)])
        known = self._together.get(key)
        if known is None:
            if not all(self.state[table] for entry in handed for table in entry.tables):
                return False
            known = self._together[key] = Together(self, self.param_groups[0], handed)
        return known.fits() and known.step(handed)

    def _begin(self, group: dict[str, Any], weight: Tensor) -> None:
        state = self.state[weight]
        if stale.owner_of(weight) is not self.behind[weight]:
            raise ValueError("another optimizer was made for this table since: only the newest can go on")
        if not state:
            state["step"] = self.step_of[weight].zero_()
            self._start(group, state, weight)
            for held in (weight, *(state[name] for name in self.kept)):
                pages.large(held)

    def _open(self, group: dict[str, Any], found: Iterable[Tensor]) -> None:
        """Give the tables a history to which the coming step can be added."""
        why = without_closed_form(self.name, group)
        if why is not None:
            raise ValueError(f"{why}: train tables as a whole")
        made: dict[Any, History | None] = {}
        for weight in found:
            behind, number = self.behind[weight], int(self.state[weight]["step"]) - 1
            history = behind.history
            fits = history is not None and self._fits(group, history) and history.steps < LENGTH - 1
            if not fits:
                key = (number, weight.device, weight.dtype)
                if key not in made:
                    made[key] = self._history(group, number, weight)
                if history is not None or made[key] is not None:
                    behind.catch_up(weight)
                    behind.begin(made[key], weight)

    def _close(self, group: dict[str, Any], found: Iterable[Tensor]) -> None:
        """Add a step to the histories of its tables."""
        self._part(group, found)
        for history in {id(h): h for w in found if (h := self.behind[w].history) is not None}.values():
            number = next(int(self.state[w]["step"]) for w in found if self.behind[w].history is history)
            self._note(group, history, number)

    def _part(self, group: dict[str, Any], found: Iterable[Tensor]) -> None:
        """Give tables without gradient the history that they had for themselves: they take no step."""
        others = [w for w in group["params"] if w not in found and self.behind[w].history is not None]
        for history in {id(h): h for w in found if (h := self.behind[w].history) is not None}.values():
            sharing = [w for w in others if self.behind[w].history is history]
            if sharing:
                own = deepcopy(history)
                for weight in sharing:
                    self.behind[weight].history = own

    def _in_c(self, group: dict[str, Any], rows: Mapping[Tensor, tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Update tables by rows with their gradients, with the C kernel. Return the tables that it does not
        update.
        """
        told: dict[int, ctypes.Structure] = {}
        settings: dict[int, tuple[float, ...] | None] = {}
        tables, left, visits = [], [], []
        for weight, (named, grad) in rows.items():
            number = int(self.state[weight]["step"])
            if number not in settings:
                settings[number] = self._numbers(group, number)
            numbers = settings[number]
            if numbers is None or weight.device.type != "cpu":
                left.append(weight)
            else:
                tables.append(weight)
                visits.append(self.behind[weight].visit(weight, named, grad, numbers, told))
        others = set(native_rows.run(self.name, self.kept, visits))
        torch.autograd.graph.increment_version([w for n, w in enumerate(tables) if n not in others])
        return left + [tables[number] for number in others]

    def _step(self, group: dict[str, Any], weight: Tensor, rows: Tensor, grad: Tensor) -> None:
        state, behind = self.state[weight], self.behind[weight]
        behind.catch_up(weight, rows)
        held = [weight, *(state[name] for name in self.kept)]
        number = state["step"]
        if len(rows) == len(weight) and (weight.device.type == "cpu" or grad is weight.grad):
            self._move(group, number, grad, *held)
        else:
            moved(lambda part, *read: self._move(group, number, part, *read), rows, [grad], held)
        behind.done(rows)

    def catch_up(self) -> None:
        """Bring every row of every table up to date."""
        for weight in self.behind:
            stale.catch_up(weight)

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state dict, after bringing all rows up to date; under `stale.as_it_is` with the
        skipped steps instead.
        """
        self.catch_up()
        found: dict[str, Any] = super().state_dict()
        if stale.is_left():
            behind = list(self.behind.values())
            histories = {id(b.history): b.history for b in behind if b.history is not None}
            found["histories"] = [history.state() for history in histories.values()]
            found["behind"] = [
                None if b.history is None
                else {"history": list(histories).index(id(b.history)), "seen": b.seen, "whole": b.whole}
                for b in behind
            ]  # fmt: skip
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises ValueError for the state of another algorithm."""
        mine = {group["rows"] for group in self.param_groups}
        theirs = {group.get("rows", "lazy") for group in state_dict["param_groups"]}
        if mine != theirs:
            raise ValueError(
                f"the optimizer's state is of {self.name} with tables that are trained {_named(theirs)}, "
                f"not {_named(mine)}: that is another algorithm"
            )
        self.catch_up()
        super().load_state_dict(state_dict)
        self._own()
        if "behind" in state_dict:
            self._owe(state_dict["histories"], state_dict["behind"])

    def _owe(self, histories: list[dict[str, Any]], behind: list[dict[str, Any] | None]) -> None:
        """Restore how far rows are behind, from a saved state."""
        made: dict[tuple[int, torch.device], History] = {}
        for (weight, own), theirs in zip(self.behind.items(), behind, strict=True):
            if theirs is not None:
                key = (theirs["history"], weight.device)
                if key not in made:
                    made[key] = restored(histories[theirs["history"]], weight.device)
                own.begin(made[key], weight)
                own.seen.copy_(theirs["seen"])
                own.whole = theirs["whole"]

    def __getstate__(self) -> dict[str, Any]:
        self.catch_up()
        return {**super().__getstate__(), "kept": self.kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._own()

    # ------------------------------------------------------------------ a rule

    def _start(self, group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> None:
        for name in self.kept:
            state[name] = torch.zeros_like(weight)

    def _move(self, group: dict[str, Any], step: Tensor, grad: Tensor, *held: Tensor) -> None:
        raise NotImplementedError

    def _numbers(self, group: dict[str, Any], step: int) -> tuple[float, ...] | None:
        """Return the scalars that the rule's C kernel needs for a step; None if it does not support the
        options.
        """
        raise NotImplementedError

    def _history(self, group: dict[str, Any], step: int, weight: Tensor) -> History | None:
        """Return a history that begins after a step; None if a step leaves rows that are not named as they
        are.
        """
        return None

    def _fits(self, group: dict[str, Any], history: History) -> bool:
        """Return whether a step with these options can be added to a history."""
        return True

    def _note(self, group: dict[str, Any], history: History, step: int) -> None:
        raise NotImplementedError


def _named(rows: set[str]) -> str:
    return " and ".join(sorted("lazily" if r == "lazy" else "exactly" for r in rows))


def _entries(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows that a gradient names, as it names them, and the values of each: [n], [n, w]."""
    if grad.is_sparse:
        return grad._indices()[0], grad._values()
    return torch.arange(len(grad), device=grad.device), grad


def summed(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of a gradient, ascending, and the sum of its values for each: [rows], [rows,
    w].

    On an accelerator, which is not asked how many they are, duplicates remain, each with the whole sum:
    as all rows are read before any is written, each is still updated once.
    """
    if not grad.is_sparse:
        return torch.arange(len(grad), device=grad.device), grad
    ids, values = grad._indices()[0], grad._values()
    if ids.device.type != "cpu":
        rows, sums, count = gradients.summed_in_as_many(ids, values)
        again = torch.arange(len(rows), device=rows.device).remainder_(count.clamp(min=1))
        return rows.index_select(0, again), sums.index_select(0, again)
    # Autograd drops the flag that a gradient is coalesced when it accumulates it.
    if grad.is_coalesced() or bool((ids[1:] > ids[:-1]).all()):
        return ids, values
    return gradients.summed(ids, values)
