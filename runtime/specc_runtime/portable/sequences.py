"""Rows along one axis as a table: a row of it for each sequence, a column for each position.

Along an axis that is a part of a grid by itself that is a dimension; else the table is padded, and a mask
says which places there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from specc_runtime.layout import Axis
from specc_runtime.portable.layout import Rows, merged

Where = Tensor | None


class Sequences:
    """mask: which places of the table [sequences, longest] there are, bool; None for all."""

    def __init__(self, rows: Rows, axis: Axis) -> None:
        self.rows, self.axis, self.out = rows, axis, rows.without(axis)
        self.number = rows.number(axis)
        part = self.part = rows.parts[self.number]
        self.dense = part.single
        layout = rows.layout
        self.mask: Where = None
        if self.dense:
            self.longest: int = part.count
            return
        self.longest = layout.longest(axis)
        rest = self.rest = self.out.parts[self.number]
        positions = torch.arange(self.longest, device=layout.device).unsqueeze(0)
        self.lengths = rest.lengths_of(axis)
        valid = positions < self.lengths.unsqueeze(1)
        place = rest.locate(part, {axis.id: positions})
        self.place = torch.where(valid, place, part.count).reshape(-1)
        self.mask = self.out.spread(valid, self.number)

    def table(self, x: Tensor) -> Tensor:
        """Rows [rows.count, ...] as [sequences, longest, ...], 0 where there is none."""
        rest, rows, dim = x.shape[1:], self.rows, self.number
        last = len(rows.parts) - 1
        if self.dense and dim == last:
            return x.reshape(self.out.count, self.longest, *rest)
        grid = x.reshape(*rows.sizes, *rest) if last else x
        if self.dense:
            return merged(grid.movedim(dim, last), self.out.count, self.longest, *rest)
        shape = list(grid.shape)
        shape[dim] = 1
        whole = torch.cat([grid, grid.new_zeros(shape)], dim).index_select(dim, self.place)
        sizes = self.out.sizes
        apart = whole.reshape(*sizes[: dim + 1], self.longest, *sizes[dim + 1 :], *rest)
        if dim == last:
            return apart.reshape(self.out.count, self.longest, *rest)
        return merged(apart.movedim(dim + 1, last + 1), self.out.count, self.longest, *rest)

    def packed(self, table: Tensor) -> Tensor:
        """The inverse: [sequences, longest, ...] as [rows.count, ...]."""
        rest, rows, dim = table.shape[2:], self.rows, self.number
        last = len(rows.parts) - 1
        if self.dense and dim == last:
            return table.reshape(rows.count, *rest)
        grid = table.reshape(*self.out.sizes, self.longest, *rest)
        if self.dense:
            return merged(grid.movedim(last, dim), rows.count, *rest)
        sizes = self.out.sizes
        shape = (*sizes[:dim], self.rest.count * self.longest, *sizes[dim + 1 :], *rest)
        flat = grid.reshape(shape) if dim == last else merged(grid.movedim(last + 1, dim + 1), *shape)
        return flat.index_select(dim, self.places).reshape(rows.count, *rest)

    def steps(self, x: Tensor, backward: bool) -> Tensor:
        """Rows [rows.count, ...] as [longest, sequences * ...]: a step's values side by side, each sequence
        from its last position if `backward`."""
        wide = self.out.count * prod(x.shape[1:])
        if self.dense:
            ordered = x if self.number == 0 else x.index_select(0, self.turned)
            found = ordered.reshape(self.longest, wide)
            return found.flip(0) if backward else found
        table = self.table(x)
        return (self.backward(table) if backward else table).transpose(0, 1).reshape(self.longest, wide)

    def unstepped(self, steps: Tensor, rest: Sequence[int], backward: bool) -> Tensor:
        """The inverse of `steps`: [rows.count, *rest]."""
        if self.dense:
            grid = steps.flip(0) if backward else steps
            found = grid.reshape(self.rows.count, *rest)
            return found if self.number == 0 else found.index_select(0, self.turned_back)
        table = steps.reshape(self.longest, self.out.count, *rest).transpose(0, 1)
        return self.packed(self.backward(table) if backward else table)

    @property
    def turned(self) -> Tensor:
        """The rows step by step. An index, as torch.export asks for the strides of what is transposed."""
        return self._ordered(self.number, 0)

    @property
    def turned_back(self) -> Tensor:
        return self._ordered(0, self.number)

    def _ordered(self, of: int, to: int) -> Tensor:
        """Numbers of rows with the dimension of the axis, where it is at `of`, at `to`."""
        sizes = list(self.out.sizes)
        sizes.insert(of, self.longest)
        numbers = torch.arange(self.rows.count, device=self.rows.layout.device)
        return numbers.reshape(sizes).movedim(of, to).reshape(-1)

    @property
    def places(self) -> Tensor:
        """The place in the table of each row of the part, int64 [part.count]."""
        return self.part.index(self.rest) * self.longest + self.part.position(self.axis)

    def flat(self, index: Tensor) -> Tensor:
        """Places [sequences, longest, ...] along the axis, as places among all of the table's."""
        begin = torch.arange(self.out.count, device=index.device) * self.longest
        return begin.reshape(-1, *([1] * (index.dim() - 1))) + index

    def backward(self, table: Tensor) -> Tensor:
        """A table with each sequence from its last position to its first; its own inverse."""
        if self.mask is None:
            return table.flip(1)
        lengths = self.mask.sum(1, keepdim=True)
        positions = torch.arange(self.longest, device=table.device).unsqueeze(0)
        turned = torch.where(self.mask, lengths - 1 - positions, positions)
        return table.flatten(0, 1).index_select(0, self.flat(turned).reshape(-1)).reshape(table.shape)

    def kept(self, like: Tensor, where: Where) -> Where:
        """Which places count, as a mask for a table like one; None for all."""
        mask = None if self.mask is None else self.mask.reshape(*self.mask.shape, *([1] * (like.dim() - 2)))
        if where is None:
            return mask
        table = self.table(where)
        return table if mask is None else table & mask

    def some(self, x: Tensor, where: Where) -> tuple[Tensor, Tensor]:
        """A table with at least one column, and which of its places count."""
        table = self.table(x)
        mask = self.kept(table, where)
        if self.mask is not None:
            assert mask is not None
            return table, mask
        if mask is None:
            mask = torch.ones_like(table[..., :1], dtype=torch.bool)
        return _wider(table), _wider(mask)


def _wider(table: Tensor) -> Tensor:
    """One more column, of zeros."""
    return torch.cat([table, table.new_zeros(table.shape[0], 1, *table.shape[2:])], 1)


def along(rows: Rows, axis: Axis) -> Sequences:
    """The sequences of some rows along an axis."""
    return rows.layout.once(("along", rows.key, axis.id), lambda: Sequences(rows, axis))
