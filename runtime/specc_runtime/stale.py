"""Tables whose rows may have skipped optimizer steps, and are brought up to date when they are read.

An optimizer that visits only the rows of a batch owes the others the steps that they skipped. It
registers here as the owner of a table's weight; whoever reads rows asks for them to be brought up to date
first (`ops.lookup`, `layers.Table`), and so does whoever reads the weight as a whole. Promises: a weight
without owner costs one dictionary lookup; a weight that is no longer referenced is forgotten.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor


class Owner(Protocol):
    def catch_up(self, weight: Tensor, rows: Tensor | None) -> None:
        """Bring the rows that an index names (any shape, repeatedly too), or all, up to date, in place."""

    def inbox(self) -> Any:
        """Where gradients of its tables go (ops.handed.Inbox); None for `weight.grad`."""

    @staticmethod
    def catch_up_rows(reads: Sequence[tuple[Any, Tensor, Tensor]]) -> None:
        """Bring rows of several tables, each with its owner, up to date."""

    @staticmethod
    def catching(held: Sequence[tuple[Any, Tensor]]) -> Any:
        """Of several tables, each with its owner, what brings rows up to date (train.together.CatchingUp)."""


# By a weight's id(): torch's own dictionary for tensors takes six times as long, for each table of each step.
_OWNERS: dict[int, tuple[weakref.ref[Tensor], Owner]] = {}


def own(weight: Tensor, owner: Owner | None) -> None:
    """Give a table another owner, or none. Steps that the owner before still owes are carried out first."""
    catch_up(weight)
    key = id(weight)
    if owner is not None:
        _OWNERS[key] = weakref.ref(weight, lambda _: _OWNERS.pop(key, None)), owner
    else:
        _OWNERS.pop(key, None)


def owner_of(weight: Tensor) -> Owner | None:
    """Return a table's owner, or None. The gradient of a table with an owner is sparse."""
    found = _OWNERS.get(id(weight))
    return found[1] if found is not None and found[0]() is weight else None


def is_any_owned() -> bool:
    """Whether any table has an owner."""
    return len(_OWNERS) > 0


def catch_up(weight: Tensor, rows: Tensor | None = None) -> None:
    """Bring rows of a table, or all, up to date."""
    owner = owner_of(weight)
    if owner is not None and not _kept:
        owner.catch_up(weight, rows)


def catch_up_rows(reads: Sequence[tuple[Tensor, Tensor]], owners: Mapping[int, Owner | None]) -> None:
    """Bring rows of several tables up to date, those of owners of a kind in one go. owners: each table's, by
    the table's id().
    """
    owed: dict[type, list[tuple[Owner, Tensor, Tensor]]] = {}
    for weight, rows in reads:
        owner = owners[id(weight)]
        if owner is not None and not _kept:
            owed.setdefault(type(owner), []).append((owner, weight, rows))
    for kind, of_kind in owed.items():
        kind.catch_up_rows(of_kind)  # type: ignore[attr-defined]


_kept: list[None] = []


@contextmanager
def as_it_is() -> Iterator[None]:
    """Leave rows as far behind as they are: what is written meanwhile is the state of a training, steps owed
    included.

    A row that is brought up to date in two parts is rounded twice: a resumed training would differ.
    """
    _kept.append(None)
    try:
        yield
    finally:
        _kept.pop()


def is_left() -> bool:
    """Whether rows are to be left as they are now."""
    return bool(_kept)
