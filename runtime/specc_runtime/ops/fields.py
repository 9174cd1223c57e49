"""Fields read through tables.

Promises: values that are looked up side by side are written side by side, without a copy. All lookups made
together give one gradient for each table: the sum for each distinct row, as a sparse gradient of the rows
that ids name if the table is updated by row (it has an owner, see stale), else as large as the table. The
time of a step therefore depends on the number of distinct rows, not on how often ids name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from specc_runtime import fetched, stale
from specc_runtime.batch import Bag
from specc_runtime.devices import transfer
from specc_runtime.native.gather import gather
from specc_runtime.ops.autocast import in_single
from specc_runtime.ops.gradients import MARKS, by_row, by_table, distinct
from specc_runtime.ops.handed import Inbox, inbox_of
from specc_runtime.ops.plan import planned
from specc_runtime.ops.use import Use, begins
from specc_runtime.tracing import untraced

# A table [n, w] with int64 ids [rows], or with bags of ids and "sum" or "mean".
Part = tuple[Tensor, Tensor] | tuple[Tensor, Bag, str]

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
    if (known := planned(values)) is not None:
        return known
    tables = {id(part[0]): part[0] for parts in values for part in parts}
    numbers = {key: number for number, key in enumerate(tables)}
    uses = tuple(_uses(parts, numbers) for parts in values)
    held = list(tables.values())
    owners = {key: stale.owner_of(table) for key, table in tables.items()}
    stale.catch_up_rows([(held[use.table], use.ids) for of_value in uses for use in of_value], owners)
    found: tuple[Tensor, ...] = _Lookup.apply(uses, list(owners.values()), *held)  # type: ignore[no-untyped-call]
    return found


def _uses(parts: Sequence[Part], numbers: Mapping[int, int]) -> tuple[Use, ...]:
    """Return the uses of tables that make one value. numbers: the number of each table, by its id()."""
    columns = begins([part[0].shape[1] for part in parts])
    return tuple(Use.of(numbers[id(part[0])], at, *part) for at, part in zip(columns, parts, strict=False))


def _alone(parts: Sequence[Part]) -> list[tuple[Use, Tensor]]:
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


def _few(use: Use, table: Tensor, work: int) -> Repeated | None:
    count = len(use.ids)
    if count * table.shape[1] * work < _WORTH:
        return None
    # Only where finding the distinct rows is cheap, and they are known by their ids.
    if fetched.is_fetched(table):
        return None
    if table.device.type != "cpu" or use.lengths is not None or not count or len(table) > MARKS * count:
        return None
    rows, places = distinct(use.ids, len(table))
    if len(rows) * _REPEATED > count:
        return None
    return Repeated(use.column, use.column + table.shape[1], embed(table, rows), places)


@dataclass(frozen=True)
class Again:
    """A looked-up value [rows, width] that backward reads from its tables again, instead of saving it.

    tables: each with its version, to notice a table that changed in the meantime.
    """

    uses: tuple[Use, ...]
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

    def _read(self, uses: Iterable[Use]) -> Tensor:
        if any(table._version != version for table, version in self.tables):
            raise RuntimeError("a table was modified in place between a value and its gradient")
        return _side_by_side(list(uses), [table.detach() for table, _ in self.tables])


def _side_by_side(uses: Sequence[Use], tables: Sequence[Tensor]) -> Tensor:
    """Return the parts of one value side by side."""
    ends = begins([table.shape[1] for table in tables])
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
        ctx: Any, values: Sequence[Sequence[Use]], owners: Sequence[stale.Owner | None], *tables: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.values = values
        ctx.tables = [(table.shape, own is not None) for table, own in zip(tables, owners, strict=True)]
        ctx.held = [(inbox_of(own), table) for table, own in zip(tables, owners, strict=True)]
        ctx.on_host = all(table.is_cpu for table in tables)
        ctx.set_materialize_grads(False)
        return tuple(_side_by_side(uses, [tables[use.table] for use in uses]) for uses in values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        found: list[Tensor | None] = [None] * len(ctx.tables)
        read = {use.table for uses, g in zip(ctx.values, grads, strict=True) if g is not None for use in uses}
        wanted = [n for n in sorted(read) if ctx.needs_input_grad[2 + n]]
        given = [(uses, grad) for uses, grad in zip(ctx.values, grads, strict=True) if grad is not None]
        if not ctx.on_host:
            for number in wanted:
                parts = [(use, grad) for uses, grad in given for use in uses if use.table == number]
                found[number] = _gradient_there(parts, *ctx.tables[number])
            return (None, None, *found)
        groups: dict[tuple[int, Inbox | None], list[int]] = {}
        for number in wanted:
            groups.setdefault((ctx.tables[number][0][1], ctx.held[number][0]), []).append(number)
        for (width, inbox), own in groups.items():
            sums = by_table(given, own, [ctx.tables[n][0][0] for n in own], width)
            if inbox is not None:
                inbox.put([ctx.held[n][1] for n in own], sums)
                continue
            for number, (named, total) in zip(own, sums.of_each(), strict=True):
                found[number] = _gradient(named, total, *ctx.tables[number])
        return (None, None, *found)


def _gradient(rows: Tensor, sums: Tensor, shape: torch.Size, goes_by_row: bool) -> Tensor:
    """Return a table's gradient; the rows that are not given are 0."""
    if goes_by_row:
        return by_row(rows, sums, shape)
    return sums if len(rows) == shape[0] else sums.new_zeros(shape).index_copy_(0, rows, sums)


def _gradient_there(parts: Sequence[tuple[Use, Tensor]], shape: torch.Size, by_row: bool) -> Tensor:
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


def _entries(use: Use, grad: Tensor) -> tuple[Tensor, Tensor]:
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
