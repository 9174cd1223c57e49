"""Tables whose rows may be behind: brought up to date when they are read.

An optimizer that visits only the rows of a batch owes the others the steps that they missed. It owns the
table here, by its weight; whoever reads rows asks for them to be caught up first (`ops.lookup`,
`layers.Table`), and so does whoever takes the weight as a whole. Promises: what is not owned costs a look
into a dictionary; a weight that is no longer used is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class Owner(Protocol):
    def catch_up(self, weight: Tensor, rows: Tensor | None) -> None:
        """Bring the rows that an index names (any shape, repeatedly too), or all, up to date, in place."""


_OWNERS = WeakTensorKeyDictionary()


def own(weight: Tensor, owner: Owner | None) -> None:
    """Give a table another owner, or none. What the one before owes is done first."""
    catch_up(weight)
    if owner is not None:
        _OWNERS[weight] = owner
    elif weight in _OWNERS:
        del _OWNERS[weight]


def owner_of(weight: Tensor) -> Owner | None:
    """The owner: a table that has one has a gradient that holds only the rows that are named."""
    found: Owner | None = _OWNERS.get(weight)
    return found


def catch_up(weight: Tensor, rows: Tensor | None = None) -> None:
    """Bring rows of a table, or all, up to date."""
    owner = owner_of(weight)
    if owner is not None and not _kept:
        owner.catch_up(weight, rows)


_kept: list[None] = []


@contextmanager
def as_it_is() -> Iterator[None]:
    """Leave rows behind: what is written within, weights with what they owe, is where training stands.

    A row that is carried on in two parts is rounded twice: training would not go on exactly as it did.
    """
    _kept.append(None)
    try:
        yield
    finally:
        _kept.pop()


def is_left() -> bool:
    """Whether rows are to be left as they are now."""
    return bool(_kept)
