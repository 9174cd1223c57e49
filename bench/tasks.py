"""The tasks that contenders are timed on: the same dimensions and the same data for all.

Lengths follow a power law with a mean of a quarter of the bound, exactly so in every batch: quantiles are
spread evenly and only their order is drawn, so that contenders which draw batches of their own have the
same work. Where a contender fails without any history, each has at least one position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

D = TypeVar("D")

WIDTH = 64  # of an item's embedding, and of a category's
ITEMS, CATEGORIES, USERS = 10_000, 100, 1_000
FIELDS, FIELD_WIDTH, FIELD_ROWS = 26, 16, 1_000  # of AFM
GROUPS, SPANS, ACTIONS = (60, 20, 20), 10, 8  # of ATRank: bounds of views, keeps, buys
HEADS = {"bst": (1024, 512, 256), "dstn": (512, 256)}  # the perceptrons on top that are not as DIN's
MAY_BE_EMPTY = ("dsin", "dstn", "atrank")  # histories, as all contenders of these are made for it


@dataclass(frozen=True)
class Task:
    """model: a spec's name. batch: examples a step. bound: positions of a history (AFM and DSTN have
    none to vary). sessions: for DSIN; `bound` is then that of a session. full: every history is at
    its bound, so that there is no padding to save. rows: of the only table, where its size is the task.
    small_head: the perceptron on top, the same work for all, is as small as DIN's. width: of an item's
    embedding, and of a category's; of AFM a field's; 0: as usual. share: the mean length, of the bound.
    fields: of AFM. pooling: of BST. candidates: of one request, whose history is as long as the mean; the
    batch is then theirs, and there is nothing to train. warm: the allocator gives no memory back to the
    system."""

    model: str
    batch: int = 512
    bound: int = 100
    sessions: int = 0
    full: bool = False
    rows: int = 0
    small_head: bool = False
    width: int = 0
    share: float = 0.25
    fields: int = FIELDS
    pooling: str = "target"
    candidates: int = 0
    warm: bool = False

    @property
    def channels(self) -> int:
        """Of an item's embedding; of AFM of a field's."""
        return self.width or (FIELD_WIDTH if self.model == "afm" else WIDTH)

    @property
    def trains(self) -> bool:
        """Whether there is a training step: normalising one example's values over examples is refused."""
        return not self.candidates and self.batch > 1

    @property
    def usual(self) -> bool:
        """Whether the model is one that all contenders have: only batches and lengths may be others."""
        return not self.width and self.fields == FIELDS and self.pooling == "target" and not self.candidates

    @property
    def head(self) -> tuple[int, ...]:
        """Sizes of the perceptron on top: the paper's, or DIN's."""
        return (200, 80) if self.small_head else HEADS.get(self.model, (200, 80))

    @property
    def name(self) -> str:
        if self.rows:
            return f"{self.rows:,} rows"
        shape = {"afm": f"{self.fields} x {self.channels}", "dsin": f"{self.sessions} x {self.bound}"}
        title = {"atrank": "ATRank"}.get(self.model, self.model.upper())
        text = f"{title}, {shape.get(self.model, f'T {self.bound}')}"
        if self.small_head:
            text += f", head {'-'.join(map(str, self.head))}"
        if self.width and self.model != "afm":
            text += f", width {self.width}"
        if self.pooling != "target":
            text += f", {self.pooling} pooling"
        if self.share != 0.25:
            text += f", {self.share:.0%} of the bound"
        if self.candidates:
            text += f", one request of {self.candidates:,}"
        elif self.batch != (2048 if self.model == "afm" else 512):
            text += f", batch {self.batch}"
        if self.warm:
            text += ", warm allocator"
        return f"{text}, all at the bound" if self.full else text

    @property
    def slug(self) -> str:
        """Its name as that of a file."""
        return self.name.replace(",", "").replace("%", "percent").replace(" ", "-").lower()

    @property
    def shortest(self) -> int:
        """Positions of the shortest history."""
        return 0 if self.model in MAY_BE_EMPTY else 1

    @cached_property
    def _random(self) -> torch.Generator:
        return torch.Generator().manual_seed(20)

    def lengths(self, count: int, bound: int, shortest: int | None = None) -> Tensor:
        """int64 [count], each shortest..bound, in a random order: shortest + (bound - shortest) u^p with u
        spread evenly over 0..1 and p such that the mean is a `share` of the bound. At least one is drawn."""
        if self.full:
            return torch.full((count,), bound)
        least = self.shortest if shortest is None else shortest
        mean = self.share * bound
        if mean >= bound or mean <= least:
            return torch.full((count,), min(bound, max(least, round(mean))))
        if count == 1:
            return torch.tensor([round(mean)])
        power = (bound - least) / (mean - least) - 1
        exact = least + (bound - least) * ((torch.arange(count) + 0.5) / max(count, 1)) ** power
        # What rounding takes from one it gives to the next, so that the sum stays.
        total = exact.cumsum(0).round().long()
        found = total.diff(prepend=torch.zeros(1, dtype=torch.int64)).clamp(least, bound)
        return found[torch.randperm(count, generator=self._random)]

    def ids(self, rows: int, *shape: int) -> Tensor:
        """Ids 1..rows-1, int64: 0 is every contender's padding or unknown."""
        return torch.randint(1, rows, shape, generator=self._random)

    def labels(self) -> Tensor:
        """float32 [batch], 0 or 1."""
        return torch.randint(0, 2, (self.batch,), generator=self._random).float()


def where_tensors_are_made(draw: Callable[[Task], D]) -> Callable[[Task], D]:
    """Examples that are drawn on the CPU, the same for all devices, on torch's default device."""

    @wraps(draw)
    def drawn(task: Task) -> D:
        device = torch.get_default_device()
        with torch.device("cpu"):
            found = draw(task)
        moved: D = found if device.type == "cpu" else _moved(found, device)
        return moved

    return drawn


def _moved(x: Any, device: torch.device) -> Any:
    if isinstance(x, Tensor):
        return x.to(device)
    if isinstance(x, tuple):
        return tuple(_moved(each, device) for each in x)
    return replace(x, **{f.name: _moved(getattr(x, f.name), device) for f in fields(x)})


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
        return torch.arange(self.items.shape[-1], device=self.lengths.device) < self.lengths.unsqueeze(-1)

    @property
    def means(self) -> str:
        """The mean length of a history, in words."""
        if self.lengths.dim() == 1:
            return f"{self.lengths.double().mean():.1f} of {self.items.shape[-1]}"
        there = self.lengths > 0
        steps = self.lengths[there].double().mean()
        sessions = there.sum(-1).double().mean()
        return f"{sessions:.2f} sessions of {there.shape[1]}, {steps:.1f} steps of {self.items.shape[-1]}"

    @property
    def auxiliary(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Three kinds of ads beside the target, each (items, categories, lengths)."""
        clicked = (self.items, self.categories, self.lengths)
        passed = (self.other_items, self.other_categories, self.lengths)
        return [(self.items.flip(0), self.categories.flip(0), self.lengths.flip(0)), clicked, passed]

    @staticmethod
    @where_tensors_are_made
    def of(task: Task) -> Padded:
        items = task.rows or ITEMS
        shape = (task.batch, task.sessions, task.bound) if task.sessions else (task.batch, task.bound)
        if task.sessions:
            there = torch.arange(task.sessions) < task.lengths(task.batch, task.sessions).unsqueeze(-1)
            lengths = torch.zeros(shape[:2], dtype=torch.int64)
            # A session that is there has a step.
            lengths[there] = task.lengths(int(there.sum()), task.bound, shortest=1)
        else:
            lengths = task.lengths(task.batch, task.bound)
        there = torch.arange(task.bound) < lengths.unsqueeze(-1)
        return Padded(
            user=task.ids(USERS, task.batch),
            item=task.ids(items, task.batch),
            category=task.ids(CATEGORIES, task.batch),
            items=task.ids(items, *shape) * there,
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

    @property
    def means(self) -> str:
        return ""

    @staticmethod
    @where_tensors_are_made
    def of(task: Task) -> Fields:
        return Fields(task.ids(FIELD_ROWS, task.batch, task.fields), task.labels())


@dataclass(frozen=True)
class Group:
    """Behaviours of one kind, ids [B, bound], filled up with 0; lengths [B]."""

    items: Tensor
    categories: Tensor
    spans: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.items.shape[1], device=self.lengths.device) < self.lengths.unsqueeze(-1)


@dataclass(frozen=True)
class Behaviours:
    """ATRank's examples: views, keeps (each with an action) and buys. item, category, label: [B]."""

    item: Tensor
    category: Tensor
    groups: tuple[Group, Group, Group]
    action: Tensor
    label: Tensor

    @property
    def means(self) -> str:
        """The mean length of each group, in words."""
        each = (f"{g.lengths.double().mean():.1f} of {g.items.shape[1]}" for g in self.groups)
        return ", ".join(each)

    @staticmethod
    @where_tensors_are_made
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


def examples(task: Task) -> Fields | Behaviours | Padded:
    """The padded examples of a task, in the form of its model; of one request the same history in each."""
    kinds: dict[str, type[Fields] | type[Behaviours]] = {"afm": Fields, "atrank": Behaviours}
    kind = kinds.get(task.model, Padded)
    found = kind.of(task)
    if not task.candidates or isinstance(found, Fields):
        return found
    request = kind.of(replace(task, batch=1, candidates=0))
    own = {f.name: getattr(request, f.name) for f in fields(found) if f.name not in OF_CANDIDATE}
    return replace(found, **_repeated(own, task.batch))


OF_CANDIDATE = ("item", "category", "label")


def _repeated(x: Any, times: int) -> Any:
    """Tensors of one row, with so many copies of it."""
    if isinstance(x, Tensor):
        return x.expand(times, *x.shape[1:]).contiguous()
    if isinstance(x, tuple):
        return tuple(_repeated(each, times) for each in x)
    if isinstance(x, dict):
        return {name: _repeated(each, times) for name, each in x.items()}
    return replace(x, **{f.name: _repeated(getattr(x, f.name), times) for f in fields(x)})
