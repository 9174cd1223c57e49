"""Tables whose rows may be behind: brought up to date when they are read.

An optimizer that visits only the rows of a batch owes the others the steps that they missed. It owns the
table here, by its weight; whoever reads rows asks for them to be caught up first (`ops.lookup`,
`layers.Table`), and so does whoever takes the weight as a whole. Promises: what is not owned costs a look
into a dictionary; a weight that is no longer used is forgotten.
"""

from __future__ import annotations

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
    if owner is not None:
        owner.catch_up(weight, rows)
