"""Fields read through tables.

Promises: values that are looked up side by side are written side by side, without a copy. All lookups made
together give one gradient for each table: the sum for each distinct row, as a sparse gradient of the rows
that ids name if the table is updated by row (it has an owner, see stale), else as large as the table. The
time of a step therefore depends on the number of distinct rows, not on how often ids name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from specc_runtime import stale
from specc_runtime.batch import Bag
from specc_runtime.devices import transfer
from specc_runtime.native.gather import gather
from specc_runtime.ops.autocast import in_single
from specc_runtime.tracing import untraced

# A table [n, w] with int64 ids [rows], or with bags of ids and "sum" or "mean".
Part = tuple[Tensor, Tensor] | tuple[Tensor, Bag, str]

# A table of at most this many rows for each id: distinct rows are found by marking rows, without sorting.
_MARKS = 16

# A part's rows are computed with once each if ids name each at least this often on average.
_REPEATED = 4

# Finding the distinct rows takes as long as this many multiplications.
_WORTH = 2**24

# From this many numbers on, 16 MB in single precision, backward reads a value again instead of saving it.
_LARGE = 2**22


@untraced
def whole(weight: Tensor) -> Tensor:
    """Return all rows of a table [rows, width] as one value, [1, rows, width]. A view: no memory is used."""
    stale.catch_up(weight)
    return weight.unsqueeze(0)


@untraced
def embed(weight: Tensor, ids: Tensor) -> Tensor:
    """Return the rows of a table [n, w] at ids, int64 [rows]: [rows, w]."""
    return lookup([(weight, ids)])[0]


@untraced
def embed_bag(weight: Tensor, bag: Bag, mode: str) -> Tensor:
    """Return the sum, mean or max over the table rows of each bag: [rows, w]; 0 for an empty one. If the bag
    has weights, the sum is weighted."""
    if mode != "max":
        return lookup([(weight, bag, mode)])[0]
    values, lengths = transfer(bag.values, weight.device), transfer(bag.lengths, weight.device)
    found = embed(weight, values)
    owner = torch.repeat_interleave(lengths, output_size=len(values))
    index = owner.unsqueeze(-1).expand_as(found)
    return weight.new_zeros(len(lengths), weight.shape[1]).scatter_reduce(
        0, index, found, "amax", include_self=False
    )


@untraced
def lookup(*values: Sequence[Part]) -> tuple[Tensor, ...]:
    """Return each value's parts side by side: [rows, sum of w]. The parts of a value have the same rows."""
    tables = {id(part[0]): part[0] for parts in values for part in parts}
    numbers = {key: number for number, key in enumerate(tables)}
    uses = tuple(_uses(parts, numbers) for parts in values)
    held = list(tables.values())
    owners = {key: stale.owner_of(table) for key, table in tables.items()}
    stale.catch_up_rows([(held[use.table], use.ids) for of_value in uses for use in of_value], owners)
    by_row = [owner is not None for owner in owners.values()]
    found: tuple[Tensor, ...] = _Lookup.apply(uses, by_row, *held)  # type: ignore[no-untyped-call]
    return found


def _uses(parts: Sequence[Part], numbers: Mapping[int, int]) -> tuple[_Use, ...]:
    """Return the uses of tables that make one value. numbers: the number of each table, by its id()."""
    columns = _begins([part[0].shape[1] for part in parts])
    return tuple(_Use.of(numbers[id(part[0])], at, *part) for at, part in zip(columns, parts, strict=False))


def _alone(parts: Sequence[Part]) -> list[tuple[_Use, Tensor]]:
    """Return the parts of one value, each with its table."""
    tables = [part[0] for part in parts]
    return list(zip(_uses(parts, {id(table): 0 for table in tables}), tables, strict=True))


class Repeated(NamedTuple):
    """Columns start .. stop of a looked-up value: its row i there is row places[i] of `rows` [few, w]."""

    start: int
    stop: int
    rows: Tensor
    places: Tensor


def repeated(x: Tensor, looked_up: Sequence[Part], work: int) -> tuple[list[Repeated], slice]:
    """Return the parts at either end of a value that consist of few distinct table rows, and the columns
    between them.

    What is computed from such a part alone is cheaper for its distinct rows. looked_up: the parts, if the
    value is the result of `lookup`. work: how many multiplications each number of a part takes; if they are
    too few in all, finding the distinct rows would take longer, and the part is left out.
    """
    parts = _alone(looked_up) if x.device.type == "cpu" else []
    found: list[Repeated] = []
    start, stop = 0, x.shape[1]
    while parts and (few := _few(*parts[-1], work)) is not None:
        found.append(few)
        stop = few.start
        parts.pop()
    while parts and (few := _few(*parts[0], work)) is not None:
        found.append(few)
        start = few.stop
        parts.pop(0)
    return found, slice(start, stop)


def _few(use: _Use, table: Tensor, work: int) -> Repeated | None:
    count = len(use.ids)
    if count * table.shape[1] * work < _WORTH:
        return None
    # Only where finding the distinct rows is cheap.
    if table.device.type != "cpu" or use.lengths is not None or not count or len(table) > _MARKS * count:
        return None
    rows, places = _distinct(use.ids, len(table))
    if len(rows) * _REPEATED > count:
        return None
    return Repeated(use.column, use.column + table.shape[1], embed(table, rows), places)


@dataclass(frozen=True)
class Again:
    """A looked-up value [rows, width] that backward reads from its tables again, instead of saving it.

    tables: each with its version, to notice a table that changed in the meantime.
    """

    uses: tuple[_Use, ...]
    tables: tuple[tuple[Tensor, int], ...]
    shape: torch.Size
    device: torch.device

    @staticmethod
    def of(x: Tensor, looked_up: Sequence[Part]) -> Again | None:
        """Return a large value that `lookup` returned for these parts; None for any other value."""
        if not looked_up or x.numel() < _LARGE or x.device.type != "cpu":
            return None
        parts = _alone(looked_up)
        if any(use.lengths is not None or table.device.type != "cpu" for use, table in parts):
            return None
        uses, tables = zip(*parts, strict=True)
        return Again(uses, tuple((table, table._version) for table in tables), x.shape, x.device)

    def new_empty(self, shape: torch.Size) -> Tensor:
        return self.tables[0][0].new_empty(shape)

    def __getitem__(self, rows: slice) -> Tensor:
        """Return some rows. Raises RuntimeError if a table has changed since."""
        return self._read(use._replace(ids=use.ids[rows]) for use in self.uses)

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Return rows at an index along dimension 0. Raises RuntimeError as `__getitem__` does."""
        return self._read(use._replace(ids=use.ids.index_select(dim, rows)) for use in self.uses)

    def _read(self, uses: Iterable[_Use]) -> Tensor:
        if any(table._version != version for table, version in self.tables):
            raise RuntimeError("a table was modified in place between a value and its gradient")
        return _side_by_side(list(uses), [table.detach() for table, _ in self.tables])


def _begins(sizes: Sequence[int]) -> list[int]:
    """Return where each of several consecutive ranges begins, and where the last one ends."""
    return [0, *accumulate(sizes)]


class _Use(NamedTuple):
    """One part of a value.

    table: its number. column: the part's first column. ids: table rows, int64 [m], one for each row of the
    value; with `lengths`, that many for each. mean: whether these are averaged. weights: what each is
    multiplied by, [m].
    """

    table: int
    column: int
    ids: Tensor
    lengths: Tensor | None = None
    mean: bool = False
    weights: Tensor | None = None

    @staticmethod
    def of(table: int, column: int, weight: Tensor, ids: Tensor | Bag, mode: str = "sum") -> _Use:
        if isinstance(ids, Tensor):
            return _Use(table, column, ids if ids.is_cpu and weight.is_cpu else transfer(ids, weight.device))
        named, lengths = transfer(ids.values, weight.device), transfer(ids.lengths, weight.device)
        if ids.weights is not None:
            shares = transfer(ids.weights, weight.device).to(weight.dtype)
            return _Use(table, column, named, lengths, weights=shares)
        if ids.single:
            return _Use(table, column, named)
        return _Use(table, column, named, lengths, mode == "mean")

    @property
    def rows(self) -> int:
        return (self.ids if self.lengths is None else self.lengths).shape[0]

    def read(self, weight: Tensor, into: Tensor) -> None:
        """Write the part into its columns of the value."""
        if self.lengths is None:
            torch.index_select(weight, 0, self.ids, out=into)
        else:
            begins = self.lengths.cumsum(0) - self.lengths
            mode = "mean" if self.mean else "sum"
            into.copy_(F.embedding_bag(self.ids, weight, begins, mode=mode, per_sample_weights=self.weights))


def _side_by_side(uses: Sequence[_Use], tables: Sequence[Tensor]) -> Tensor:
    """Return the parts of one value side by side."""
    ends = _begins([table.shape[1] for table in tables])
    value = tables[0].new_empty(uses[0].rows, ends[-1])
    rows = value.shape[0]
    for use in uses:
        if use.rows != rows:
            raise ValueError(f"fields side by side have {rows} and {use.rows} rows")
    single = [n for n, use in enumerate(uses) if use.lengths is None]
    ids, columns = [uses[n].ids for n in single], [uses[n].column for n in single]
    gathered = set(single) if gather([tables[n] for n in single], ids, columns, value) else ()
    for n, use in enumerate(uses):
        if n not in gathered:
            use.read(tables[n], value[:, use.column : ends[n + 1]])
    return value


@in_single
class _Lookup(Function):
    @staticmethod
    def forward(
        ctx: Any, values: Sequence[Sequence[_Use]], by_row: Sequence[bool], *tables: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.values = values
        ctx.tables = [(table.shape, own) for table, own in zip(tables, by_row, strict=True)]
        ctx.on_host = all(table.is_cpu for table in tables)
        ctx.set_materialize_grads(False)
        return tuple(_side_by_side(uses, [tables[use.table] for use in uses]) for uses in values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        found: list[Tensor | None] = [None] * len(ctx.tables)
        read = {use.table for uses, g in zip(ctx.values, grads, strict=True) if g is not None for use in uses}
        wanted = [n for n in sorted(read) if ctx.needs_input_grad[2 + n]]
        given = [(use, g) for uses, g in zip(ctx.values, grads, strict=True) if g is not None for use in uses]
        if not ctx.on_host:
            for number in wanted:
                parts = [(use, grad) for use, grad in given if use.table == number]
                found[number] = _gradient_there(parts, *ctx.tables[number])
            return (None, None, *found)
        for width in {ctx.tables[n][0][1] for n in wanted}:
            # Tables of equal width are summed as one: a table's rows follow those of the tables before it.
            own = [n for n in wanted if ctx.tables[n][0][1] == width]
            begins = _begins([ctx.tables[n][0][0] for n in own])
            first = dict(zip(own, begins, strict=False))
            sources = [
                source
                for uses, grad in zip(ctx.values, grads, strict=True)
                if grad is not None
                for source in _sources([use for use in uses if use.table in first], grad, first, width)
            ]
            rows, sums = _summed(sources, begins[-1])
            for number, named, total in zip(own, *_parted(rows, sums, begins), strict=True):
                found[number] = _gradient(named, total, *ctx.tables[number])
        return (None, None, *found)


def _parted(rows: Tensor, sums: Tensor, begins: Sequence[int]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return the rows of each of several tables, counted from the table's first, and their sums. rows:
    ascending. begins: of the rows of all, each table's first, and where the last one's end.
    """
    if len(begins) == 2:
        return [rows], [sums]
    starts = torch.tensor(begins)
    counts = torch.searchsorted(rows, starts).diff()
    sizes = counts.tolist()
    own = rows - torch.repeat_interleave(starts[:-1], counts, output_size=len(rows))
    return own.split(sizes), sums.split(sizes)


def _gradient(rows: Tensor, sums: Tensor, shape: torch.Size, by_row: bool) -> Tensor:
    """Return a table's gradient; the rows that are not given are 0."""
    if by_row:
        index = rows.unsqueeze(0)
        return torch.sparse_coo_tensor(index, sums, shape, is_coalesced=True, check_invariants=False)
    return sums if len(rows) == shape[0] else sums.new_zeros(shape).index_copy_(0, rows, sums)


def _gradient_there(parts: Sequence[tuple[_Use, Tensor]], shape: torch.Size, by_row: bool) -> Tensor:
    """Return a table's gradient without reading the number of distinct rows back from a device: for a table
    updated by row an entry for each id, else a tensor as large as the table."""
    entries = [_entries(use, grad[:, use.column : use.column + shape[1]]) for use, grad in parts]
    if by_row:
        ids, values = (torch.cat(some) for some in zip(*entries, strict=True))
        return torch.sparse_coo_tensor(ids.unsqueeze(0), values, shape, check_invariants=False)
    total = entries[0][1].new_zeros(shape)
    for ids, values in entries:
        total.index_add_(0, ids, values)
    return total


def _entries(use: _Use, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ids of a part and the upstream gradient of the table row of each."""
    if use.lengths is None:
        return use.ids, grad
    owner = torch.repeat_interleave(use.lengths, output_size=len(use.ids))
    each = grad.index_select(0, owner)
    if use.mean:
        each.div_(use.lengths.index_select(0, owner).unsqueeze(1))
    if use.weights is not None:
        each.mul_(use.weights.to(each.dtype).unsqueeze(1))
    return use.ids, each


# ------------------------------------------------------------------------ sums


def summed_in_as_many(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums as `summed` does, without reading the number of distinct rows back from a device:
    (rows int64 [m], sums [m, w], count [1]). The first `count` entries are the distinct rows; the other sums
    are 0."""
    if not len(rows):
        return rows, values, rows.new_zeros(1)
    ordered, order = rows.sort()
    place = torch.zeros_like(ordered)
    torch.cumsum(ordered[1:] != ordered[:-1], 0, out=place[1:])
    found = ordered.index_copy(0, place, ordered)
    sums = torch.zeros_like(values).index_add_(0, place, values.index_select(0, order))
    return found, sums, place[-1:] + 1


def summed(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of int64 [m], ascending, and for each the sum of its values [m, w]."""
    return _summed_alone(_Source(rows, values))


@dataclass(frozen=True)
class _Source:
    """Values to be summed by row, with an entry for each of int64 [m] rows. Entry i is row at[i] of `values`
    [n, w] (row i if `at` is None), times share[i]."""

    rows: Tensor
    values: Tensor
    at: Tensor | None = None
    share: Tensor | None = None


def _sources(uses: Sequence[_Use], grad: Tensor, first: dict[int, int], width: int) -> list[_Source]:
    """Return the entries of one value's parts that have this width. first: for each table, the number of its
    first row."""
    if not uses:
        return []
    grad = grad.contiguous()
    whole = grad.shape[1]
    if whole % width or any(use.column % width for use in uses):
        columns = [grad[:, use.column : use.column + width].contiguous() for use in uses]
        return [_source([use], part, [0], 1, first) for use, part in zip(uses, columns, strict=True)]
    # The part's columns are seen as every k-th row of a narrower matrix, so that nothing is copied.
    return [_source(uses, grad.view(-1, width), [use.column // width for use in uses], whole // width, first)]


def _source(
    uses: Sequence[_Use], values: Tensor, places: Sequence[int], parts: int, first: dict[int, int]
) -> _Source:
    offsets = [first[use.table] for use in uses]
    if all(use.lengths is None for use in uses):
        if len(uses) == 1:
            rows = uses[0].ids + offsets[0] if offsets[0] else uses[0].ids
        else:
            rows = torch.stack([use.ids for use in uses], 1).add_(torch.tensor(offsets)).flatten()
        if len(uses) == parts:
            return _Source(rows, values)
        begins = torch.arange(0, len(values), parts, device=rows.device)
        at = torch.stack([begins + place for place in places], 1)
        return _Source(rows, values, at.flatten())
    ids = [use.ids + offset if offset else use.ids for use, offset in zip(uses, offsets, strict=True)]
    ats, shares = [], []
    for use, place in zip(uses, places, strict=True):
        owner = torch.arange(len(values) // parts, device=use.ids.device)
        share = values.new_ones(len(use.ids))
        if use.lengths is not None:
            owner = torch.repeat_interleave(use.lengths, output_size=len(use.ids))
            share = use.lengths.to(values.dtype).reciprocal()[owner] if use.mean else share
        share = share if use.weights is None else use.weights.to(values.dtype)
        ats.append(owner * parts + place)
        shares.append(share)
    shared = any(use.mean or use.weights is not None for use in uses)
    return _Source(torch.cat(ids), values, torch.cat(ats), torch.cat(shares) if shared else None)


def _summed(sources: Sequence[_Source], count: int) -> tuple[Tensor, Tensor]:
    """Return the distinct rows below `count` that have entries, ascending, and for each the sum of its
    entries."""
    # Summing in the order of rows is fastest but needs sorted entries: this is done for the largest source;
    # the others are added to its result.
    largest, *others = sorted(sources, key=lambda source: -len(source.rows))
    if not others:
        return _summed_alone(largest)
    ordered, order = largest.rows.sort()
    rows, places = _distinct(torch.cat([source.rows for source in (largest, *others)]), count)
    found = _in_order(largest, order, torch.searchsorted(ordered, rows))
    _, *rest = places.split([len(source.rows) for source in (largest, *others)])
    for source, place in zip(others, rest, strict=True):
        part = source.values if source.at is None else source.values.index_select(0, source.at)
        found.index_add_(0, place, part if source.share is None else part * source.share.unsqueeze(1))
    return rows, found


def _summed_alone(source: _Source) -> tuple[Tensor, Tensor]:
    ordered, order = source.rows.sort()
    rows, counts = torch.unique_consecutive(ordered, return_counts=True)
    return rows, _in_order(source, order, counts.cumsum(0) - counts)


def _in_order(source: _Source, order: Tensor, begins: Tensor) -> Tensor:
    """Return the sums of a source's entries, taken in an order, from each of `begins` to the next."""
    if not len(order):
        return source.values.new_zeros(len(begins), source.values.shape[1])
    at = order if source.at is None else source.at.index_select(0, order)
    share = None if source.share is None else source.share.index_select(0, order)
    return F.embedding_bag(at, source.values, begins, mode="sum", per_sample_weights=share)


def _distinct(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the distinct ids below `count`, ascending, and for each id its index among them."""
    if count > _MARKS * len(ids):
        rows, places = torch.unique(ids, return_inverse=True)
        return rows, places
    rows = ids.new_zeros(count, dtype=torch.bool).index_fill_(0, ids, True).nonzero().squeeze(1)
    places = ids.new_empty(count)
    places[rows] = torch.arange(len(rows), device=ids.device)
    return rows, places.index_select(0, ids)
