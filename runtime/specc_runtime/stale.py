"""Tables whose rows may have skipped optimizer steps, and are brought up to date when they are read.

An optimizer that visits only the rows of a batch owes the others the steps that they skipped. It
registers here as the owner of a table's weight; whoever reads rows asks for them to be brought up to date
first (`ops.lookup`, `layers.Table`), and so does whoever reads the weight as a whole. Promises: a weight
without owner costs one dictionary lookup; a weight that is no longer referenced is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class Owner(Protocol):
    def catch_up(self, weight: Tensor, rows: Tensor | None) -> None:
        """Bring the rows that an index names (any shape, repeatedly too), or all, up to date, in place."""

    @staticmethod
    def catch_up_rows(reads: Sequence[tuple[Any, Tensor, Tensor]]) -> None:
        """Bring rows of several tables, each with its owner, up to date."""


_OWNERS = WeakTensorKeyDictionary()


def own(weight: Tensor, owner: Owner | None) -> None:
    """Give a table another owner, or none. Steps that the owner before still owes are carried out first."""
    catch_up(weight)
    if owner is not None:
        _OWNERS[weight] = owner
    elif weight in _OWNERS:
        del _OWNERS[weight]


def owner_of(weight: Tensor) -> Owner | None:
    """Return a table's owner, or None. The gradient of a table with an owner is sparse."""
    found: Owner | None = _OWNERS.get(weight) if _OWNERS.data else None
    return found


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
