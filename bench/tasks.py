"""The tasks that contenders are timed on: the same dimensions and the same data for all.

Lengths are drawn from a power law, bound * u^3 with u uniform, so that the mean is a quarter of the
bound; every history has at least one position, because some contenders fail without any.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

WIDTH = 64  # of an item's embedding, and of a category's
ITEMS, CATEGORIES, USERS = 10_000, 100, 1_000
FIELDS, FIELD_WIDTH, FIELD_ROWS = 26, 16, 1_000  # of AFM
GROUPS, SPANS, ACTIONS = (60, 20, 20), 10, 8  # of ATRank: bounds of views, keeps, buys


@dataclass(frozen=True)
class Task:
    """model: a spec's name. batch: examples a step. bound: positions of a history (AFM and DSTN have
    none to vary). sessions: for DSIN; `bound` is then that of a session. full: every history is at
    its bound, so that there is no padding to save."""

    model: str
    batch: int = 512
    bound: int = 100
    sessions: int = 0
    full: bool = False

    @property
    def name(self) -> str:
        shape = {"afm": f"{FIELDS} x {FIELD_WIDTH}", "dsin": f"{self.sessions} x {self.bound}"}
        text = f"{self.model.upper()}, {shape.get(self.model, f'T {self.bound}')}"
        return f"{text}, all at the bound" if self.full else text

    @cached_property
    def _random(self) -> torch.Generator:
        return torch.Generator().manual_seed(20)

    def lengths(self, count: int, bound: int) -> Tensor:
        """int64 [count], each 1..bound."""
        if self.full:
            return torch.full((count,), bound)
        u = torch.rand(count, generator=self._random)
        return (bound * u**3).ceil().long().clamp(1, bound)

    def ids(self, rows: int, *shape: int) -> Tensor:
        """Ids 1..rows-1, int64: 0 is every contender's padding or unknown."""
        return torch.randint(1, rows, shape, generator=self._random)

    def labels(self) -> Tensor:
        """float32 [batch], 0 or 1."""
        return torch.randint(0, 2, (self.batch,), generator=self._random).float()


@dataclass(frozen=True)
class Padded:
    """Examples as every contender but the compiled model wants them: histories filled up with 0.

    user, item, category, label: [B]. items, categories, and negative ones, not clicked: [B, T], or
    [B, sessions, T]. lengths: [B], or [B, sessions].
    """

    user: Tensor
    item: Tensor
    category: Tensor
    items: Tensor
    categories: Tensor
    other_items: Tensor
    other_categories: Tensor
    lengths: Tensor
    label: Tensor

    @property
    def mask(self) -> Tensor:
        """True where there is a position, like `items`."""
        return torch.arange(self.items.shape[-1]) < self.lengths.unsqueeze(-1)

    @property
    def auxiliary(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Three kinds of ads beside the target, each (items, categories, lengths)."""
        clicked = (self.items, self.categories, self.lengths)
        passed = (self.other_items, self.other_categories, self.lengths)
        return [(self.items.flip(0), self.categories.flip(0), self.lengths.flip(0)), clicked, passed]

    @staticmethod
    def of(task: Task) -> Padded:
        shape = (task.batch, task.sessions, task.bound) if task.sessions else (task.batch, task.bound)
        if task.sessions:
            count = task.lengths(task.batch, task.sessions)
            lengths = task.lengths(task.batch * task.sessions, task.bound).view(shape[:2])
            lengths = lengths * (torch.arange(task.sessions) < count.unsqueeze(-1))
        else:
            lengths = task.lengths(task.batch, task.bound)
        there = torch.arange(task.bound) < lengths.unsqueeze(-1)
        return Padded(
            user=task.ids(USERS, task.batch),
            item=task.ids(ITEMS, task.batch),
            category=task.ids(CATEGORIES, task.batch),
            items=task.ids(ITEMS, *shape) * there,
            categories=task.ids(CATEGORIES, *shape) * there,
            other_items=task.ids(ITEMS, *shape) * there,
            other_categories=task.ids(CATEGORIES, *shape) * there,
            lengths=lengths,
            label=task.labels(),
        )


@dataclass(frozen=True)
class Fields:
    """AFM's examples: ids [B, fields], label [B]."""

    ids: Tensor
    label: Tensor

    @staticmethod
    def of(task: Task) -> Fields:
        return Fields(task.ids(FIELD_ROWS, task.batch, FIELDS), task.labels())


@dataclass(frozen=True)
class Group:
    """Behaviours of one kind, ids [B, bound], filled up with 0; lengths [B]."""

    items: Tensor
    categories: Tensor
    spans: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.items.shape[1]) < self.lengths.unsqueeze(-1)


@dataclass(frozen=True)
class Behaviours:
    """ATRank's examples: views, keeps (each with an action) and buys. item, category, label: [B]."""

    item: Tensor
    category: Tensor
    groups: tuple[Group, Group, Group]
    action: Tensor
    label: Tensor

    @staticmethod
    def of(task: Task) -> Behaviours:
        groups = []
        for bound in GROUPS:
            lengths = task.lengths(task.batch, bound)
            there = torch.arange(bound) < lengths.unsqueeze(-1)
            ids = (task.ids(rows, task.batch, bound) * there for rows in (ITEMS, CATEGORIES, SPANS))
            groups.append(Group(*ids, lengths))
        views, keeps, buys = groups
        return Behaviours(
            item=task.ids(ITEMS, task.batch),
            category=task.ids(CATEGORIES, task.batch),
            groups=(views, keeps, buys),
            action=task.ids(ACTIONS, *keeps.items.shape) * keeps.mask,
            label=task.labels(),
        )
