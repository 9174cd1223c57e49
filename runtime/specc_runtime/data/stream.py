"""Batches of example files, shuffled, in an order that can be taken up again anywhere.

Promises: an epoch gives every example once. Units (row groups, or some thousand rows of text) come in a
random order, and the examples of as many units as fill a buffer are shuffled together; the order depends on
the seed and the epoch alone. A `Place` is where an epoch stands: from it the rest comes exactly as it would
have. Of ranks each has its part of every batch: joined they are the batches of one process, and all give
equally many, some perhaps without an example. A rank reads every unit, and encodes its own examples.
Workers of a DataLoader read different units, and together give every example once.
Memory: two buffers of encoded examples, of which one is read ahead, and one unit.
Leaves to others: encoding (encode), moving batches to devices (train).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from specc_runtime.batch import Batch
from specc_runtime.data.columns import Column, columns_of
from specc_runtime.data.examples import Examples, Unit
from specc_runtime.data.select import part, select
from specc_runtime.encode import DataError, Encoders


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

    batch: examples a batch, of all ranks together; the last one of an epoch may be smaller.
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
        """How many batches an epoch has."""
        return -(-self.examples // self.batch)

    def epoch(self, start: Place) -> Iterator[tuple[Batch, Place]]:
        """The batches of an epoch from a place on, each with the place after it."""
        units = self._order(start.epoch)
        if (worker := get_worker_info()) is not None:
            units = units[worker.id :: worker.num_workers]
        with ThreadPoolExecutor(1, "arec-reading") as reading:
            yield from self._batches(start, units, reading)

    def _batches(
        self, start: Place, units: Sequence[Unit], reading: ThreadPoolExecutor
    ) -> Iterator[tuple[Batch, Place]]:
        left: Batch | None = None  # examples of the buffer before, too few for a batch
        waiting = at = 0  # how many they are, and how many have been taken since the start
        unit, row = start.unit, start.row
        share = _Share(self.rank, self.ranks, self.batch, sum(u.rows for u in units[unit:]) - row)
        ahead = self._ahead(units, unit, start.epoch, share, -row, reading)
        while unit < len(units):
            after = self._buffer_end(units, unit)
            begin, end = at - row, at - row + sum(u.rows for u in units[unit:after])
            assert ahead is not None
            some = ahead.result()
            ahead = self._ahead(units, after, start.epoch, share, end, reading)
            while at < end:
                size = share.size(at - waiting)
                until = min(at + size - waiting, end)
                own = share.own(at - waiting)
                found = some(*(min(max(edge, at), until) - begin for edge in own))
                left = found if left is None else Batch.collate([left, found])
                waiting, at = waiting + until - at, until
                if waiting == size:
                    yield (
                        left,
                        Place(start.epoch, after, 0) if at == end else Place(start.epoch, unit, at - begin),
                    )
                    left, waiting = None, 0
            unit, row = after, 0

    def __iter__(self) -> Iterator[Batch]:
        for batch, _ in self.epoch(Place(self.at)):
            yield batch

    def _ahead(
        self,
        units: Sequence[Unit],
        unit: int,
        epoch: int,
        share: _Share,
        begin: int,
        reading: ThreadPoolExecutor,
    ) -> Future[Taken] | None:
        """What gives the examples of the buffer that begins at a unit, while it is being read. begin: how
        many examples were taken before its first one."""
        if unit >= len(units):
            return None
        return reading.submit(
            self._encoded, units[unit : self._buffer_end(units, unit)], epoch, unit, share, begin
        )

    def _order(self, epoch: int) -> list[Unit]:
        if not self.shuffle:
            return self.units
        return [self.units[i] for i in _permutation(len(self.units), self.seed, epoch, -1).tolist()]

    def _buffer_end(self, units: Sequence[Unit], unit: int) -> int:
        rows = 0
        while unit < len(units) and rows < self.buffer:
            rows += units[unit].rows
            unit += 1
        return unit

    def _encoded(self, units: Sequence[Unit], epoch: int, unit: int, share: _Share, begin: int) -> Taken:
        """What gives the examples of a buffer from one to another, in the epoch's order: this rank's."""
        size = sum(u.rows for u in units)
        order = _permutation(size, self.seed, epoch, unit) if self.shuffle else None
        if share.ranks == 1:
            parts = [self._read(u) for u in units]
            whole = parts[0] if len(parts) == 1 else Batch.collate(parts)
            if order is None:
                return partial(part, whole)
            return lambda first, end: select(whole, order[first:end])
        places = share.places(begin, size)
        rows = places if order is None else order[places]
        ascending, back = rows.sort()
        parts, first = [], 0
        for u in units:
            own = torch.searchsorted(ascending, torch.tensor([first, first + u.rows], device="cpu"))
            parts.append(self._read(u, ascending[own[0] : own[1]] - first))
            first += u.rows
        chosen = select(Batch.collate(parts), back.argsort())
        return lambda first, end: part(
            chosen, *torch.searchsorted(places, torch.tensor([first, end])).tolist()
        )

    def _read(self, unit: Unit, rows: Tensor | None = None) -> Batch:
        """The examples of a unit, or some of them."""
        encode = partial(self.encoders.encode, labels=self.labels, keys=self.keys)
        table = self.source.read(unit)
        if rows is None:
            return encode(table, unit.origin)
        try:
            return encode(table.take(pa.array(rows.numpy())), unit.origin)
        except DataError:
            encode(table, unit.origin)  # which knows the rows by their numbers
            raise


Taken = Callable[[int, int], Batch]


@dataclass(frozen=True)
class _Share:
    """Which examples are a rank's: of every batch a run of them. Examples are counted from where an epoch, or
    the rest of one, begins, and there are `total`."""

    rank: int
    ranks: int
    batch: int
    total: int

    def size(self, begin: int) -> int:
        """How many examples the batch that begins with one has, on all ranks."""
        return min(self.batch, self.total - begin)

    def own(self, begin: int) -> tuple[int, int]:
        """The first of them that is the rank's, and the one after its last."""
        size = self.size(begin)
        return begin + size * self.rank // self.ranks, begin + size * (self.rank + 1) // self.ranks

    def places(self, begin: int, size: int) -> Tensor:
        """The places of the rank's examples among `size` from one on, int64, ascending. The first ones may
        lie before the start (begin below 0)."""
        first = max(begin, 0) // self.batch * self.batch
        edges = [self.own(at) for at in range(first, min(begin + size, self.total), self.batch)]
        runs = [torch.arange(max(low, begin, 0), min(high, begin + size), device="cpu") for low, high in edges
                if max(low, begin, 0) < min(high, begin + size)]  # fmt: skip
        return torch.cat([torch.zeros(0, dtype=torch.int64, device="cpu"), *runs]) - begin


def _permutation(size: int, seed: int, epoch: int, unit: int) -> Tensor:
    """On the CPU, whatever torch's default device is."""
    # Spread by large odd numbers, so that neighbouring seeds and epochs share no order.
    mixed = (seed * 0x9E3779B1 + epoch * 0x85EBCA77 + (unit + 1) * 0xC2B2AE3D) % (1 << 63)
    generator = torch.Generator("cpu").manual_seed(mixed)
    return torch.randperm(size, generator=generator, device="cpu")
