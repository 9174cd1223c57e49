"""Sums by key in the order of the keys, of any number of rows in a bounded amount of memory.

Promises: `blocks` gives every key once, ascending, with the exact sums of its values (integers below 2^53;
others as far as doubles add up). What does not fit into the budget is sorted, and written as one run of many
to a temporary file in TMPDIR; at the end the runs are merged. Equal keys are added up before anything is
written, so that few distinct keys never need the disk.
Memory: about the budget, however many rows there are (above 10^10 the 16 rows of each run that a merge holds
come to more). Disk: the rows' own bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from specc_runtime.files import FileError, unwritable

Column = npt.NDArray[Any]
Columns = tuple[Column, ...]
# Copies while columns are sorted: the parts, their concatenation, the permutation, the result.
_COPIES = 5
_FEWEST = 16  # rows of a run that are read at once


class Sorted:
    """Rows of some key columns and some value columns (float64), in the order of the keys.

    keys: the types of the key columns, the most significant first. budget: bytes of memory.
    """

    def __init__(self, keys: Sequence[npt.DTypeLike], values: int, budget: int) -> None:
        self.keys = len(keys)
        self.types = [np.dtype(k) for k in keys] + [np.dtype(np.float64)] * values
        self.most = max(budget // (_COPIES * sum(t.itemsize for t in self.types)), _FEWEST)
        self._parts: list[Columns] = []
        self._rows = 0
        self._spilled: _Spilled | None = None

    def add(self, *columns: Column) -> None:
        """Note rows: the key columns, and the value columns to be added up. Raises FileError."""
        typed = tuple(np.ascontiguousarray(c, t) for c, t in zip(columns, self.types, strict=True))
        for at in range(0, len(typed[0]), self.most):
            part = tuple(column[at : at + self.most] for column in typed)
            if self._rows + len(part[0]) > self.most:
                self._make_room()
            self._parts.append(part)
            self._rows += len(part[0])

    def blocks(self) -> Iterator[Columns]:
        """All rows, in order; a key is never in two blocks. Can be asked for again. Raises FileError."""
        if self._spilled is None:
            whole = self._together()
            if len(whole[0]):
                yield whole
            return
        if self._rows:
            self._spill(self._together())
        runs = [_Head(self._spilled, *run, self.keys) for run in self._spilled.runs]
        for run in runs:
            run.block = max(self.most // len(runs), _FEWEST)
        while runs:
            for run in runs:
                run.fill()
            first = min(runs, key=lambda run: run.last)
            bound = first.last
            taken = [run.take(bound) for run in runs]
            # Where runs hardly overlap, most rows come from the run that ends first: it may read ahead.
            first.block = min(2 * first.block, self.most)
            runs = [run for run in runs if not run.done]
            parts = zip(*(part for part in taken if len(part[0])), strict=True)
            yield self._combined(tuple(np.concatenate(column) for column in parts))

    def close(self) -> None:
        """Give back the temporary file."""
        if self._spilled is not None:
            self._spilled.file.close()
            self._spilled = None

    def _together(self) -> Columns:
        """Merge what is in memory into one sorted part, and keep that."""
        parts = [tuple(np.zeros(0, t) for t in self.types), *self._parts]
        whole = self._combined(tuple(np.concatenate(column) for column in zip(*parts, strict=True)))
        self._parts, self._rows = [whole], len(whole[0])
        return whole

    def _combined(self, columns: Columns) -> Columns:
        """Return rows sorted, with the values of equal keys added up."""
        if not len(columns[0]):
            return columns
        order = np.lexsort(columns[: self.keys][::-1])
        columns = tuple(column[order] for column in columns)
        fresh = np.zeros(len(order), bool)
        fresh[0] = True
        for key in columns[: self.keys]:
            fresh[1:] |= key[1:] != key[:-1]
        if fresh.all():
            return columns
        starts = np.flatnonzero(fresh)
        keys = (key[starts] for key in columns[: self.keys])
        return (*keys, *(np.add.reduceat(value, starts) for value in columns[self.keys :]))

    def _make_room(self) -> None:
        """Add up equal keys, and where that is not enough write a run."""
        whole = self._together()
        if len(whole[0]) > self.most // 2:
            self._spill(whole)

    def _spill(self, whole: Columns) -> None:
        if self._spilled is None:
            self._spilled = _Spilled(self.types)
        self._spilled.write(whole)
        self._parts, self._rows = [], 0


class _Spilled:
    """A temporary file of runs. runs: where each begins, and its rows; its columns lie one after another."""

    def __init__(self, types: Sequence[np.dtype[Any]]) -> None:
        self.types, self.runs = types, list[tuple[int, int]]()
        self.place = tempfile.gettempdir()
        try:
            self.file = tempfile.TemporaryFile(prefix="specc-metrics-")  # noqa: SIM115
        except OSError as error:
            raise self._advised(error) from None

    def write(self, columns: Columns) -> None:
        try:
            start = self.file.seek(0, os.SEEK_END)
            for column in columns:
                self.file.write(column.data)
            self.file.flush()
        except OSError as error:
            raise self._advised(error) from None
        self.runs.append((start, len(columns[0])))

    def read(self, start: int, rows: int, at: int, count: int) -> Columns:
        """Some rows of a run."""
        found = []
        try:
            for t in self.types:
                data = os.pread(self.file.fileno(), count * t.itemsize, start + at * t.itemsize)
                found.append(np.frombuffer(data, t))
                start += rows * t.itemsize
        except OSError as error:
            raise self._advised(error) from None
        return tuple(found)

    def _advised(self, error: OSError) -> FileError:
        said = unwritable(self.place, error)
        return FileError(f"{said}; exact metrics sort there what memory does not hold: set TMPDIR to a "
                         "folder on a disk with more room")  # fmt: skip


@dataclass
class _Head:
    """The next rows of a run while runs are merged. block: how many to hold."""

    spilled: _Spilled
    start: int
    rows: int
    keys: int
    block: int = _FEWEST
    at: int = 0
    held: Columns = ()

    def fill(self) -> None:
        have = len(self.held[0]) if self.held else 0
        if have >= self.block // 2 or self.at == self.rows:
            return
        count = min(self.block - have, self.rows - self.at)
        fresh = self.spilled.read(self.start, self.rows, self.at, count)
        joined = zip(self.held, fresh, strict=True)
        self.held = tuple(np.concatenate(pair) for pair in joined) if have else fresh
        self.at += count

    @property
    def last(self) -> tuple[Any, ...]:
        """The key of the last row that is held."""
        return tuple(key[-1] for key in self.held[: self.keys])

    def take(self, bound: tuple[Any, ...]) -> Columns:
        """Return and drop the held rows up to a key."""
        low, high = 0, len(self.held[0])
        for key, value in zip(self.held, bound, strict=False):
            part = key[low:high]
            low, high = low + int(part.searchsorted(value)), low + int(part.searchsorted(value, "right"))
        taken = tuple(column[:high] for column in self.held)
        self.held = tuple(column[high:] for column in self.held)
        return taken

    @property
    def done(self) -> bool:
        return self.at == self.rows and not len(self.held[0])
