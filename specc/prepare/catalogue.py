"""What a file of items says of the items of a log: the same at any time.

Promises: an item's first line counts. Items that the log does not have are left out: they are no candidates,
as nobody knows since when they were on offer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.codes import Keys, Numbers, Values
from specc.prepare.mapping import Input
from specc.prepare.reading import Reader
from specc.prepare.scan import values_of

ITEM = Input("items", "item", "key")


class Catalogue:
    """By input, what its codes stand for (values), and the code or number of each item (held)."""

    def __init__(self) -> None:
        self.values: dict[Input, Values] = {}
        self.held: dict[Input, npt.NDArray[Any]] = {}
        self.notes: list[str] = []


def read_catalogue(reader: Reader, inputs: Sequence[Input], items: Keys, file: str) -> Catalogue:
    """Read what a file says of the log's items. Raises DataError."""
    found = Catalogue()
    known = len(items.values)
    seen = np.zeros(known, dtype=bool)
    twice = 0
    for columns, _, _ in reader.pieces([ITEM, *inputs], timed=False):
        codes = items.known(columns[ITEM])
        here = np.flatnonzero(codes >= 0)
        _, first = np.unique(codes[here], return_index=True)
        rows = here[first]
        rows = rows[~seen[codes[rows]]]
        twice += len(here) - len(rows)
        seen[codes[rows]] = True
        for wanted in inputs:
            values = columns[wanted]
            if wanted not in found.values:
                found.values[wanted] = values_of(wanted, values.type)
                number = isinstance(found.values[wanted], Numbers)
                found.held[wanted] = np.full(known, np.nan) if number else np.full(known, -1, dtype=np.int32)
            found.held[wanted][codes[rows]] = found.values[wanted].codes(values.take(pa.array(rows)))
    found.notes += reader.notes
    if twice:
        found.notes.append(f"{file}: {twice:,} lines are of items that it had before, and are left out")
    if not seen.all():
        found.notes.append(f"{file}: {int((~seen).sum()):,} of the log's {known:,} items are not in it")
    return found
