"""Rows of fixed width that do not fit into memory: kept by part, in memory while they are few, then in files.

Promises: the rows of some neighbouring parts come back in the order in which they were added, whether they
were written to files or not. The parts of a row are numbered 0 to 255.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PARTS = 256
Rows = npt.NDArray[Any]  # a structured array


class Spill:
    """folder: where its files go, made at need. most: bytes that are kept in memory."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.kept: list[tuple[Rows, npt.NDArray[np.int64]]] = []  # rows by part, and where each part ends
        self.bytes_kept = 0
        self.counts = np.zeros(PARTS, dtype=np.int64)
        self.written = np.zeros(PARTS, dtype=bool)
        self.kind: np.dtype[Any] | None = None

    def add(self, part: npt.NDArray[np.uint8], columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add rows. part: of each row."""
        self.kind = np.dtype([(name, values.dtype) for name, values in columns.items()])
        order = np.argsort(part, kind="stable")
        rows = np.empty(len(part), dtype=self.kind)
        for name, values in columns.items():
            rows[name] = values[order]
        counts = np.bincount(part, minlength=PARTS)
        self.counts += counts
        self.kept.append((rows, np.cumsum(counts)))
        self.bytes_kept += rows.nbytes
        if self.bytes_kept > self.most:
            self._write()

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in range(PARTS):
            pieces = [p for p in (_piece(kept, part, part + 1) for kept in self.kept) if len(p)]
            if pieces:
                with (self.folder / str(part)).open("ab") as file:
                    for piece in pieces:
                        file.write(piece.tobytes())
                self.written[part] = True
        self.kept, self.bytes_kept = [], 0

    def groups(self, most: int) -> Iterator[Rows]:
        """Yield all rows, in groups of neighbouring parts with at most so many bytes, or of a single part."""
        if self.kind is None:
            return
        begin = 0
        while begin < PARTS:
            end = begin + 1
            total = int(self.counts[begin])
            while end < PARTS and (total + int(self.counts[end])) * self.kind.itemsize <= most:
                total += int(self.counts[end])
                end += 1
            if total:
                yield self._rows(begin, end)
            begin = end

    def _rows(self, begin: int, end: int) -> Rows:
        pieces = [np.fromfile(self.folder / str(part), dtype=self.kind)
                  for part in range(begin, end) if self.written[part]]  # fmt: skip
        pieces += [_piece(kept, begin, end) for kept in self.kept]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _piece(kept: tuple[Rows, npt.NDArray[np.int64]], begin: int, end: int) -> Rows:
    rows, ends = kept
    return rows[int(ends[begin - 1]) if begin else 0 : int(ends[end - 1])]
