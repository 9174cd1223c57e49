"""Batches of example files, shuffled, in an order that can be taken up again anywhere.

Promises: an epoch gives every example once. Units (row groups, or some thousand rows of text) come in a
random order, and the examples of as many units as fill a buffer are shuffled together; the order depends on
the seed and the epoch alone. A `Place` is where an epoch stands: from it the rest comes exactly as it would
have. Ranks read different units, and all give equally many batches. Workers of a DataLoader read different
units, too, and together give every example once.
Memory: two buffers of encoded examples, of which one is read ahead, and one unit.
Leaves to others: encoding (encode), moving batches to devices (train).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from specc_runtime.batch import Batch
from specc_runtime.data.columns import Column, columns_of
from specc_runtime.data.examples import Examples, Unit
from specc_runtime.data.select import part, select
from specc_runtime.encode import Encoders


@dataclass(frozen=True)
class Place:
    """The first example that has not been given: unit counts units in the epoch's order, row counts
    examples of the buffer that begins there."""

    epoch: int = 0
    unit: int = 0
    row: int = 0


class Stream(IterableDataset[Batch]):
    """The batches of some examples, epoch by epoch; `DataLoader(stream, batch_size=None, num_workers=2)`
    takes it.

    batch: examples a batch; the last one of an epoch may be smaller.
    buffer: how many examples are shuffled together, at least.
    keys: a column whose hashes go along as `labels["@keys"]`.
    """

    def __init__(
        self,
        files: str | Path | Iterable[str | Path] | Examples,
        encoders: Encoders,
        batch: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        buffer: int = 1 << 16,
        labels: bool = True,
        keys: str | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        columns = columns_of(encoders.manifest, labels=labels)
        if keys is not None:
            columns.setdefault(keys, Column("key"))
        self.source = files if isinstance(files, Examples) else Examples(files, columns)
        self.units = self.source.units
        self.at = 0
        self.encoders, self.batch, self.seed, self.shuffle = encoders, batch, seed, shuffle
        self.buffer, self.labels, self.keys, self.rank, self.ranks = buffer, labels, keys, rank, ranks

    @property
    def examples(self) -> int:
        """How many examples an epoch has, on all processes together."""
        return self.source.rows

    def set_epoch(self, epoch: int) -> None:
        """Which epoch's order iteration gives from now on."""
        self.at = epoch

    def steps(self, epoch: int = 0) -> int:
        """How many batches an epoch has. Unequal units would give ranks unequally many: the fewest."""
        if self.ranks == 1:
            return -(-self.examples // self.batch)
        return min(
            sum(unit.rows for unit in self._order(epoch, rank)) // self.batch for rank in range(self.ranks)
        )

    def epoch(self, start: Place) -> Iterator[tuple[Batch, Place]]:
        """The batches of an epoch from a place on, each with the place after it."""
        units = self._order(start.epoch, self.rank)
        if (worker := get_worker_info()) is not None:
            units = units[worker.id :: worker.num_workers]
        with ThreadPoolExecutor(1, "arec-reading") as reading:
            yield from self._batches(start, units, reading)

    def _batches(
        self, start: Place, units: Sequence[Unit], reading: ThreadPoolExecutor
    ) -> Iterator[tuple[Batch, Place]]:
        given = 0
        most = self.steps(start.epoch) if self.ranks > 1 else None
        left: Batch | None = None  # examples of the buffer before, too few for a batch
        unit, row = start.unit, start.row
        ahead = self._ahead(units, unit, reading)
        while unit < len(units):
            after = self._buffer_end(units, unit)
            assert ahead is not None
            whole = ahead.result()
            ahead = self._ahead(units, after, reading)
            some = self._in_order(whole, start.epoch, unit)
            last = after == len(units)
            while row < whole.size:
                need = self.batch - (0 if left is None else left.size)
                if whole.size - row < need and not last:
                    break
                found = some(row, min(row + need, whole.size))
                row += found.size
                done = row == whole.size
                place = Place(start.epoch, after if done else unit, 0 if done else row)
                yield (found if left is None else Batch.collate([left, found])), place
                left = None
                given += 1
                if given == most:
                    return
            if row < whole.size:
                rest = some(row, whole.size)
                left = rest if left is None else Batch.collate([left, rest])
            unit, row = after, 0

    def __iter__(self) -> Iterator[Batch]:
        for batch, _ in self.epoch(Place(self.at)):
            yield batch

    def _ahead(self, units: Sequence[Unit], unit: int, reading: ThreadPoolExecutor) -> Future[Batch] | None:
        """The buffer that begins at a unit, while it is being read."""
        if unit >= len(units):
            return None
        return reading.submit(self._encoded, units[unit : self._buffer_end(units, unit)])

    def _order(self, epoch: int, rank: int) -> list[Unit]:
        units = self.units
        if self.shuffle:
            order = _permutation(len(units), self.seed, epoch, -1)
            units = [units[i] for i in order.tolist()]
        return units[rank :: self.ranks]

    def _buffer_end(self, units: Sequence[Unit], unit: int) -> int:
        rows = 0
        while unit < len(units) and rows < self.buffer:
            rows += units[unit].rows
            unit += 1
        return unit

    def _encoded(self, units: Sequence[Unit]) -> Batch:
        parts = [
            self.encoders.encode(self.source.read(unit), unit.origin, labels=self.labels, keys=self.keys)
            for unit in units
        ]
        return parts[0] if len(parts) == 1 else Batch.collate(parts)

    def _in_order(self, whole: Batch, epoch: int, unit: int) -> Callable[[int, int], Batch]:
        """Gives the examples of a buffer from one to another, in the epoch's order."""
        if not self.shuffle:
            return partial(part, whole)
        order = _permutation(whole.size, self.seed, epoch, unit)
        return lambda begin, end: select(whole, order[begin:end])


def _permutation(size: int, seed: int, epoch: int, unit: int) -> Tensor:
    """On the CPU, whatever torch's default device is."""
    # Spread by large odd numbers, so that neighbouring seeds and epochs share no order.
    mixed = (seed * 0x9E3779B1 + epoch * 0x85EBCA77 + (unit + 1) * 0xC2B2AE3D) % (1 << 63)
    generator = torch.Generator("cpu").manual_seed(mixed)
    return torch.randperm(size, generator=generator, device="cpu")
