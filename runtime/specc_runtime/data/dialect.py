"""How a user says that a text file is to be read: what its own words and first line do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Dialect:
    """separator: between cells, None to find it in the file. Where it has several characters (`::`), a quote
    is a character like any other.
    columns: by name, the column of the file that it is for: a place, counted from 0, or a name of its header.
    header: whether the first line is names; None: it is, unless `columns` has places only.
    nulls: texts that stand for no value, besides the empty one.
    integral: key columns in which `7.0` is the integer 7.
    """

    separator: str | None = None
    columns: Mapping[str, int | str] = field(default_factory=dict)
    header: bool | None = None
    nulls: tuple[str, ...] = ()
    integral: frozenset[str] = frozenset()

    @property
    def has_header(self) -> bool:
        """Whether the first line of a file has names."""
        if self.header is not None:
            return self.header
        return not self.columns or any(isinstance(place, str) for place in self.columns.values())
