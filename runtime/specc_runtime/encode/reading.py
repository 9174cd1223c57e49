"""One table while it is read: its columns taken apart field by field, and the faults met on the way.

Promises: a fault of one field leaves the others to be read; `finish` raises them all in one DataError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from specc_runtime.encode.agree import CANDIDATES, Along, Axes
from specc_runtime.encode.columns import Ints, Packed, is_list, unpack
from specc_runtime.encode.faults import DataError, Fault, Origin, Unfit, fault_of, names_in
from specc_runtime.encode.kinds import filled, numbers_of


class Reading:
    """One table while it is read: its columns taken apart, and the faults met on the way."""

    def __init__(
        self,
        manifest: Mapping[str, Any],
        table: pa.Table,
        origin: Origin,
        candidates: bool = False,
        training: bool = True,
    ) -> None:
        self.manifest, self.table, self.origin = manifest, table, origin
        self.names = set(table.column_names)
        self.per_request, self.training = candidates, training
        self.candidates: Ints | None = None
        self.lengths: dict[str, Ints] = {}
        self.faults: list[Fault] = []
        self._bounds = {axis["id"]: axis["bound"] for axis in manifest["axes"]}
        self.all_axes = Axes(())

    def column(self, name: str) -> pa.ChunkedArray:
        if name not in self.names:
            raise self._missing(name, None)
        if self.table.column_names.count(name) > 1:
            raise Unfit("the column is there twice", help="rename one of them")
        return self.table.column(name)

    def fields(self) -> Iterator[tuple[Mapping[str, Any], Packed]]:
        """Yield every field whose column can be taken apart and has the lengths of its axes' other columns.

        An absent column is null everywhere, with the lengths of the others.
        """
        wanted = [f for f in self.manifest["fields"] if self.training or not f.get("training")]
        if wanted and not any(column_of(entry, self.names) for entry in wanted):
            self.faults.append(self._no_column())
            return
        found: list[tuple[Mapping[str, Any], Along]] = []
        for entry in wanted:
            with self.noting(entry, None):
                found.append((entry, self._along(entry)))
        self.all_axes = Axes([along for _, along in found])
        for entry, along in found:
            for level, axis in enumerate(along.axes):
                lengths = self.all_axes.lengths(along.axes[: level + 1])
                if axis == CANDIDATES:
                    if self.candidates is None and self.training:
                        self._refuse_none(along, lengths)
                    self.candidates = lengths
                else:
                    self.lengths[axis] = lengths
            with self.noting(entry, along.packed):
                packed = self.all_axes.agreed(along)
                if (
                    column_of(entry, self.names) is None
                    and len(packed.values)
                    and refuses_null(entry, self.training)
                ):
                    raise self._missing(entry["column"], entry["fallback"])
                yield entry, packed

    def _along(self, entry: Mapping[str, Any]) -> Along:
        """A field's column taken apart. Raises Unfit."""
        name = column_of(entry, self.names)
        if name is None and self.per_request and entry["role"] == "candidate" and not self._has_candidates:
            raise self._missing(entry["column"], entry["fallback"])
        column = pa.nulls(len(self.table)) if name is None else self.column(name)
        axes = self.axes(entry)
        inner = [None] if entry["encoding"] in ("bag", "vector") else []
        packed = unpack(column, [*(self._bounds.get(axis) for axis in axes), *inner])
        return Along(name or entry["column"], tuple(axes), packed)

    def _refuse_none(self, along: Along, lengths: Ints) -> None:
        """Note requests that have no candidates, where some are to be chosen."""
        none = lengths == 0
        if none.any():
            first = int(none.argmax())
            help = "leave requests without candidates out: there is nothing to learn from them"
            unfit = Unfit("the request has no candidates", first, int(none.sum()) - 1, help)
            self.faults.append(fault_of(unfit, self.origin, along.name, first))

    def labels(self, prediction: Mapping[str, Any]) -> Packed:
        """The column of a prediction's labels; of requests with a label for each candidate. Raises Unfit."""
        name = prediction["column"]
        if not self.per_request:
            return unpack(self.column(name), ())
        packed = unpack(self.column(name), (None,))
        if self.candidates is None:  # none of its columns can be read, which is noted
            return packed
        return self.all_axes.agreed(Along(name, (CANDIDATES,), packed))

    def keys(self, name: str) -> pa.Array:
        """A column by which examples are told apart: of requests a value for each candidate. Raises Unfit."""
        column = self.column(name)
        if self.candidates is None:
            return unpack(column, ()).values
        if is_list(column.type):
            return self.all_axes.agreed(Along(name, (CANDIDATES,), unpack(column, (None,)))).values
        rows = np.repeat(np.arange(len(self.table)), self.candidates)
        return unpack(column, ()).values.take(pa.array(rows))

    @property
    def _has_candidates(self) -> bool:
        """Return whether the table has a column of candidates."""
        own = (f for f in self.manifest["fields"] if f["role"] == "candidate")
        return any(column_of(f, self.names) is not None for f in own)

    def axes(self, entry: Mapping[str, Any]) -> list[str]:
        """The axes that a field's column has a level of lists for, outermost first."""
        outer = [CANDIDATES] if self.per_request and entry["role"] == "candidate" else []
        return [*outer, *entry["axes"]]

    @property
    def all_lengths(self) -> Mapping[str, Ints]:
        """By axis, the lengths that are known, of candidates too."""
        return self.lengths if self.candidates is None else {**self.lengths, CANDIDATES: self.candidates}

    def weights(self, entry: Mapping[str, Any], packed: Packed) -> Tensor | None:
        """What each value of a bag is multiplied with, float32; None where the column has a fault, which is
        noted."""
        name = entry["options"]["weight"]
        about = {"column": name}
        with self.noting(about, None):
            if name not in self.names:
                if not packed.lengths[-1].any():
                    return torch.zeros(0, device="cpu")
                raise self._missing(name, None)
            bounds = [*(self._bounds.get(axis) for axis in self.axes(entry)), None]
            found = unpack(self.table.column(name), bounds)
            with self.noting(about, found):
                found = self.all_axes.agreed(Along(name, tuple(self.axes(entry)), found))
                for level, (own, others) in enumerate(zip(found.given, packed.given, strict=True)):
                    wrong = own != others if len(own) == len(others) else np.ones(1, dtype=bool)
                    if wrong.any():
                        place = int(wrong.argmax())
                        values = column_of(entry, self.names)
                        raise Unfit(
                            f"there are {own[place]} weights, and `{values}` has {others[place]} values",
                            place,
                            int(wrong.sum()) - 1,
                            "each value of a bag has one weight",
                            level,
                        )
                return torch.from_numpy(numbers_of(filled(found.values, None)).astype(np.float32))
        return None

    def told(self, column: str) -> bool:
        """Return whether a column is not there, as was told of a field that would be read from it."""
        if column in self.names:
            return False
        known = {fault.column for fault in self.faults}
        fields = (f for f in self.manifest["fields"] if column in (f["column"], f["fallback"]))
        return any(None in known or f["column"] in known for f in fields)  # None: of all columns

    def noting(self, entry: Mapping[str, Any], packed: Packed | None) -> _Noting:
        return _Noting(self, entry, packed)

    def _missing(self, name: str, fallback: str | None) -> Unfit:
        either = f" (nor `{fallback}`)" if fallback else ""
        return Unfit(f"there is no such column{either}", help=self._instead(name, fallback))

    def _instead(self, *wanted: str | None) -> str:
        has = sorted(n for n in names_in(self.table) if n)
        lower = {n.lower(): n for n in has}
        near = [lower[n] for w in wanted if w for n in get_close_matches(w.lower(), lower, 1, 0.75)]
        help = f"did you mean `{near[0]}`? " if near else ""
        where = "what is given" if self.origin.given else "the file"
        return (
            f"{help}{where} has {', '.join(has) or 'none'}; add the column, name another one in the "
            'spec with `from "…"`, or give the field a `default = …`'
        )

    def _no_column(self) -> Fault:
        fields = self.manifest["fields"]
        wanted = ", ".join(f"`{f['column']}`" for f in fields[:6]) + ", …" * (len(fields) > 6)
        help = self._instead(*(f["column"] for f in fields))
        return Fault(self.origin.file, f"it has none of the model's columns: {wanted}", help=help)

    def finish(self) -> None:
        if self.faults:
            raise DataError(self.faults)


@dataclass
class _Noting:
    """Turns an Unfit of its block into a fault of the reading, which goes on."""

    reading: Reading
    entry: Mapping[str, Any]
    packed: Packed | None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, unfit: object, trace: object) -> bool:
        if not isinstance(unfit, Unfit):
            return False
        reading, row = self.reading, unfit.index
        items: tuple[int, ...] = ()
        if row is not None and self.packed is not None:
            row, *within = self.packed.place(row, unfit.level)
            items = tuple(within)
        name = column_of(self.entry, reading.names) or self.entry["column"]
        reading.faults.append(fault_of(unfit, reading.origin, name, row, items))
        return True


def column_of(entry: Mapping[str, Any], names: set[str]) -> str | None:
    """Which of the columns that a field may be read from is there."""
    options = (entry["column"], entry.get("fallback"))
    return next((name for name in options if name is not None and name in names), None)


def default_of(entry: Mapping[str, Any]) -> Any:
    """What a field's null is, or None."""
    return encoding_of(entry)[1].get("default", entry["options"].get("default"))


def refuses_null(entry: Mapping[str, Any], training: bool) -> bool:
    """Whether a field's column must be there: it has no default, and is no vocabulary's, whose null is the
    unknown key when scoring."""
    return default_of(entry) is None and (training or encoding_of(entry)[0] != "vocab")


def encoding_of(entry: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The encoding of a field's values: for a bag that of its table."""
    if entry["encoding"] != "bag":
        return entry["encoding"], entry["options"]
    inner = dict(entry["options"]["of"])
    return inner.pop("encoding"), inner
