"""A lookup of the same tables at every step of a training, worked out once: what it reads, and where its
gradients go.

For tables on the CPU whose optimizer takes gradients itself (see handed), with one id a row, in bags or not,
where there is a C compiler. Promises: values and gradients are those of every lookup. Where tables are in
memory is looked at anew each time, and so are the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from specc_runtime import stale
from specc_runtime.batch import Bag
from specc_runtime.native import gather, sums
from specc_runtime.native.say import wanted
from specc_runtime.ops.autocast import in_single
from specc_runtime.ops.gradients import Sums, by_table
from specc_runtime.ops.handed import Inbox, inbox_of
from specc_runtime.ops.use import Use, begins

if TYPE_CHECKING:  # numpy.typing takes as long to import as some of these modules
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


class Ids:
    """The ids of all parts of a lookup. addresses: where each one's are; counts: how many."""

    def __init__(self, tensors: list[Tensor], counts: list[int]) -> None:
        self.tensors, self.counts = tensors, counts
        self.addresses: Ints = np.array([x.data_ptr() for x in tensors], dtype=np.int64)

    @staticmethod
    def of(tensors: list[Any], last: Ids | None) -> Ids | None:
        """Return ids as they are looked up; None where they are in another form. last: the ids before, which
        are often the same."""
        if last is not None and len(last.tensors) == len(tensors) and all(map(is_, last.tensors, tensors)):
            return last
        shapes = []
        for x in tensors:
            if type(x) is not Tensor or x.dtype is not torch.int64 or not x.is_cpu or not x.is_contiguous():
                return None
            shapes.append(x.shape)
        if any(len(shape) != 1 for shape in shapes):
            return None
        return Ids(tensors, [shape[0] for shape in shapes])


class Plan:
    """A lookup of parts [(table, ids), …], side by side for each of some values."""

    def __init__(self, values: Sequence[Sequence[Any]], inbox: Inbox) -> None:
        parts = [part[0] for of_value in values for part in of_value]
        self.tables = list({id(table): table for table in parts}.values())
        number = {id(table): n for n, table in enumerate(self.tables)}
        self.numbers = [number[id(table)] for table in parts]
        self.inbox = inbox
        self.dtype = parts[0].dtype
        self.addresses = self._addresses()
        size = parts[0].element_size()
        bounds = begins([len(of_value) for of_value in values])
        self.values = [_Value(parts[a:b], slice(a, b), size) for a, b in pairwise(bounds)]
        owners = [stale.owner_of(table) for table in parts]
        self.owned = [n for n, owner in enumerate(owners) if owner is not None]
        held = [(owner, table) for owner, table in zip(owners, parts, strict=True) if owner is not None]
        self.catching = held[0][0].catching(held)
        taken = [n for n, table in enumerate(self.tables) if stale.owner_of(table) is not None]
        widths = dict.fromkeys(self.tables[n].shape[1] for n in taken)
        self.backs = [_Back(self, [n for n in taken if self.tables[n].shape[1] == w], w) for w in widths]

    @staticmethod
    def of(values: Sequence[Sequence[Any]], inbox: Inbox) -> Plan | None:
        """Return the plan of a lookup, of whose tables one has this inbox; None where there is none."""
        tables = [part[0] for of_value in values for part in of_value]
        dtype = tables[0].dtype
        if not wanted(tables[0].device, dtype) or gather.library() is None or sums.library(dtype) is None:
            return None
        for table in tables:
            owner = stale.owner_of(table)
            if inbox_of(owner) is not (inbox if table.requires_grad else None):
                return None
            if (
                table.dtype is not dtype
                or not table.is_cpu
                or not table.is_contiguous()
                or len(table) > sums.MOST
            ):
                return None
        return Plan(values, inbox)

    def _addresses(self) -> list[int]:
        return [table.data_ptr() for table in self.tables]

    def fits(self) -> bool:
        """Whether all tables are where they were."""
        return self._addresses() == self.addresses

    def read(self, ids: Ids) -> tuple[Tensor, ...] | None:
        """Return the values as they are now; None where parts of one have not the same number of rows."""
        if any(len(set(ids.counts[value.parts])) > 1 for value in self.values):
            return None
        if not stale.is_left():
            counts = [ids.counts[n] for n in self.owned]
            if not self.catching.catch_up(ids.addresses[self.owned], counts):
                return None
        found: tuple[Tensor, ...] = _Handing.apply(self.inbox.anchor, self, ids)  # type: ignore[no-untyped-call]
        return found

    def hand(self, ids: Ids, grads: Sequence[Tensor | None]) -> None:
        """Put the tables' gradients into the inbox. grads: the values' upstream gradients."""
        if all(grad is not None for grad in grads):
            given = [grad.contiguous() for grad in grads if grad is not None]
            counts: Ints = np.array(ids.counts, dtype=np.int64)
            for back in self.backs:
                self.inbox.put(back.tables, back.summed(ids.addresses, counts, given))
            return
        some = [(value, grad) for value, grad in zip(self.values, grads, strict=True) if grad is not None]
        named = [(self._uses(value, ids), grad) for value, grad in some]
        read = {use.table for uses, _ in named for use in uses}
        for back in self.backs:
            own = [n for n in back.own if n in read]
            if own:
                tables = [self.tables[n] for n in own]
                self.inbox.put(tables, by_table(named, own, [len(table) for table in tables], back.width))

    def _uses(self, value: _Value, ids: Ids) -> list[Use]:
        parts = range(value.parts.start, value.parts.stop)
        return [Use(self.numbers[n], at, ids.tensors[n]) for n, at in zip(parts, value.columns, strict=True)]


class _Value:
    """One value of a plan, its parts from tables as C reads them. size: bytes of a number."""

    def __init__(self, tables: Sequence[Tensor], parts: slice, size: int) -> None:
        *self.columns, self.width = begins([table.shape[1] for table in tables])
        self.parts = parts
        self.offsets: Ints = np.array(self.columns, dtype=np.int64) * size
        self.given: Ints = np.zeros((len(tables), 5), dtype=np.int64)
        self.given[:, 0] = [len(table) for table in tables]
        self.given[:, 1] = [table.shape[1] * size for table in tables]
        self.given[:, 2] = [table.data_ptr() for table in tables]
        self.at = self.given.ctypes.data
        self.next = self.width * size

    def read(self, ids: Ids, dtype: torch.dtype) -> Tensor:
        rows = ids.counts[self.parts.start]
        value = torch.empty(rows, self.width, dtype=dtype, device="cpu")
        self.given[:, 3] = ids.addresses[self.parts]
        self.given[:, 4] = self.offsets + value.data_ptr()
        if gather.library()(len(self.given), self.at, rows, self.next):
            raise IndexError("an id is not a row of its table")
        return value


class _Back:
    """The gradients of a plan's tables of one width. own: their numbers."""

    def __init__(self, plan: Plan, own: Sequence[int], width: int) -> None:
        self.own, self.width, self.dtype = own, width, plan.dtype
        self.tables = [plan.tables[n] for n in own]
        place = {number: n for n, number in enumerate(own)}
        reads = [
            (place[plan.numbers[n]], n, number, at)
            for number, value in enumerate(plan.values)
            for n, at in zip(range(value.parts.start, value.parts.stop), value.columns, strict=True)
            if plan.numbers[n] in place
        ]
        reads.sort(key=lambda read: read[0])
        self.of_part, self.of_value = ([read[k] for read in reads] for k in (1, 2))
        size = plan.tables[0].element_size()
        self.offsets: Ints = np.array([read[3] * size for read in reads], dtype=np.int64)
        self.starts = [n for n, read in enumerate(reads) if not n or read[0] != reads[n - 1][0]]
        self.sizes: Ints = np.array([len(table) for table in self.tables], dtype=np.int64)
        self.given: Ints = np.zeros((len(reads), sums.NUMBERS), dtype=np.int64)
        self.given[:, 0] = [read[0] for read in reads]
        self.given[:, 3] = [plan.values[read[2]].width for read in reads]

    def summed(self, addresses: Ints, counts: Ints, grads: Sequence[Tensor]) -> Sums:
        given, many = self.given, counts[self.of_part]
        given[:, 1] = given[:, 2] = many
        given[:, 5] = addresses[self.of_part]
        where: Ints = np.array([grad.data_ptr() for grad in grads], dtype=np.int64)
        given[:, 8] = where[self.of_value] + self.offsets
        most = int(np.add.reduceat(many, self.starts).max())
        return Sums(*sums.run(given, self.sizes, self.width, self.dtype, int(many.sum()), most, False))


@in_single
class _Handing(Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, plan: Plan, ids: Ids) -> tuple[Tensor, ...]:
        ctx.plan, ctx.ids = plan, ids
        ctx.set_materialize_grads(False)
        return tuple([value.read(ids, plan.dtype) for value in plan.values])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        ctx.plan.hand(ctx.ids, grads)
        return None, None, None


def _single(ids: Any) -> Any:
    """Return ids, of a bag with one in each row those, and of any other None."""
    if type(ids) is not Bag:
        return ids
    return ids.values if ids.weights is None and ids.single else None


def planned(values: Sequence[Sequence[Any]]) -> tuple[Tensor, ...] | None:
    """Return the values of a lookup by its plan; None where it has none."""
    inbox = inbox_of(stale.owner_of(values[0][0][0])) if torch.is_grad_enabled() else None
    if inbox is None:
        return None
    ids = Ids.of([_single(part[1]) for of_value in values for part in of_value], inbox.last)
    if ids is None:
        return None
    inbox.last = ids
    key = tuple([tuple([id(part[0]) for part in of_value]) for of_value in values])
    plan = inbox.plans.get(key)
    if plan is None or not plan.fits():
        plan = Plan.of(values, inbox)
        if plan is None:
            return None
        inbox.plans[key] = plan  # it holds the tables, so that no other has one's id
    return plan.read(ids)
