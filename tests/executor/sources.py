"""What kernels compute that read a batch, weights or numbers, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specc.interpret.sources import NO_KEY, labelled
from specc.interpret.values import Weighted
from specc.types.axis import Axis
from tests.executor.forms import form
from tests.executor.places import Rows

if TYPE_CHECKING:
    from tests.executor.program import Execution


@form("input")
def _input(run: Execution, held: list[Any]) -> Tensor:
    return torch.stack([x.reshape(-1).to(run.setting.dtype) for x in held]) if held else empty(run, 1)


@form("keys")
def _keys(run: Execution, held: list[Any]) -> Tensor:
    return torch.stack([x.reshape(1) for x in held]) if held else torch.zeros(0, 1, dtype=torch.int64)


@form("same_key")
def _same_key(run: Execution, a: Tensor, b: Tensor) -> Tensor:
    return (a == b) & (a != NO_KEY)


@form("embed")
def _embed(run: Execution, table: Tensor, held: list[int]) -> Tensor:
    return _looked_up(run, [[table, held]])


@form("embed_bag")
def _embed_bag(run: Execution, table: Tensor, held: list[Any], mode: str) -> Tensor:
    return _looked_up(run, [[table, held, mode]])


@form("lookup")
def _lookup(run: Execution, *values: Any) -> tuple[Tensor, ...]:
    return tuple(_looked_up(run, parts) for parts in values)


def _looked_up(run: Execution, parts: Sequence[Any]) -> Tensor:
    found = []
    for table, held, *mode in parts:
        rows = [_bag(table, ids, mode[0]) if mode else table[ids] for ids in held]
        found.append(torch.stack(rows) if rows else table[:0])
    return torch.cat(found, 1)


def _bag(table: Tensor, held: Any, mode: str) -> Tensor:
    ids = list(held.ids if isinstance(held, Weighted) else held)
    rows = table[ids]
    if isinstance(held, Weighted):
        rows = rows * torch.tensor(held.weights, dtype=table.dtype).unsqueeze(1)
    if not ids:
        return table.new_zeros(table.shape[1])
    return rows.amax(0) if mode == "max" else rows.mean(0) if mode == "mean" else rows.sum(0)


@form("whole")
def _whole(run: Execution, weight: Tensor) -> Tensor:
    return weight.unsqueeze(0)


@form("learned")
def _learned(run: Execution, weight: Tensor, *turned: int) -> Tensor:
    return (weight.permute(turned) if turned else weight).unsqueeze(0)


@form("along")
def _by_position(run: Execution, weight: Tensor, *given: Any) -> Tensor:
    turned = [g for g in given if not isinstance(g, Tensor)]
    positions = [g for g in given if isinstance(g, Tensor)]
    return (weight.permute(turned) if turned else weight)[tuple(positions)]


@form("constant")
def _constant(run: Execution, value: float, *device: str) -> Tensor:
    return torch.full((1, 1), value, dtype=run.setting.dtype)


@form("label")
def _label(run: Execution, labels: list[Tensor]) -> Tensor:
    return torch.tensor([[float(x) if labelled(x) else 0.0] for x in labels], dtype=run.setting.dtype)


@form("log_frequency")
def _log_frequency(run: Execution, counts: Tensor, held: list[int]) -> Tensor:
    counts = counts.clamp(min=1)
    return (counts[held] / counts.sum()).log().unsqueeze(1)


@form("positions")
def _positions(run: Execution, size: int, *device: str) -> Tensor:
    return torch.arange(size, dtype=run.setting.dtype).reshape(1, size, 1)


@form("numbers")
def _numbers(run: Execution, values: Tensor) -> Tensor:
    return values.to(run.setting.dtype).unsqueeze(1)


@form("zeros")
def _zeros(run: Execution, rows: Rows, *sizes: int) -> Tensor:
    return torch.zeros(len(rows), *sizes, dtype=run.setting.dtype)


@form("across")
def _across(run: Execution, x: Tensor, dim: int) -> Tensor:
    return x.movedim(0, dim - 1).unsqueeze(0)


@form("across_each")
def _across_each(
    run: Execution, x: Tensor, of: Rows, to: Rows, old: Sequence[Axis], new: Sequence[Axis]
) -> Tensor:
    pairs = list(zip(old, new, strict=True))

    def row(positions: Mapping[Axis, int]) -> int:
        (example,) = (p for axis, p in positions.items() if axis.kind == "batch")
        return of.number(example, {a: positions[b] for a, b in pairs})

    return x[[row(positions) for _, positions in to.places]]


@form("from_rows")
def _from_rows(run: Execution, x: Tensor, of: Rows, to: Rows, axis: Axis, dim: int) -> Tensor:
    examples = range(len(run.layout.examples))
    rows = [[run.layout.row_of(of, place, {axis: n}) for n in examples] for place in to.places]
    index = torch.tensor(rows, dtype=torch.int64).reshape(len(to.places), len(examples))
    return x[index.flatten()].unflatten(0, index.shape).movedim(1, dim)


@form("own")
def _own(run: Execution, rows: Rows) -> Tensor:
    return torch.eye(len(rows), dtype=torch.bool).unsqueeze(-1)


@form("predicted")
def _predicted(run: Execution, name: str) -> Tensor:
    return run.predicted[name]


def empty(run: Execution, *shape: int) -> Tensor:
    return torch.zeros(0, *shape, dtype=run.setting.dtype)
