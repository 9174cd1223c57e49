"""Gradients of a batch of which each process has a part, added up.

Promises: afterwards every process has the gradients of the whole batch, in the same bits: layers' as one sum
of all, those of tables by row as the distinct rows that any process named, each with the sum over the
processes in their order. A weight that no process has a gradient of has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from specc_runtime.ops import gradients
from specc_runtime.ranks import Ranks

NONE, DENSE = -1, -2  # beside the number of rows of a gradient by row


def add_up(weights: Iterable[Tensor], ranks: Ranks, *beside: int) -> list[list[int]]:
    """Replace the gradients of weights by their sums over all processes. beside: whole numbers that are told
    with it. Returns those of each process."""
    kept = [w for w in weights if w.requires_grad]
    for weight in kept:
        if weight.grad is not None and weight.grad.is_sparse:
            weight.grad = _distinct(weight.grad)
    said = ranks.numbers(*beside, *(_kind(w.grad) for w in kept))
    kinds = list(zip(*(numbers[len(beside) :] for numbers in said), strict=True))
    dense: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    by_row: dict[tuple[torch.device, torch.dtype], list[tuple[Tensor, Sequence[int]]]] = {}
    for weight, kind in zip(kept, kinds, strict=True):
        place = weight.device, weight.dtype
        if all(number < 0 for number in kind) and DENSE in kind:
            dense.setdefault(place, []).append(weight)
        elif any(number >= 0 for number in kind):
            by_row.setdefault(place, []).append((weight, [max(number, 0) for number in kind]))
    for some in dense.values():
        _add_dense(some, ranks)
    for named in by_row.values():
        _add_rows(named, ranks)
    return [numbers[: len(beside)] for numbers in said]


def _kind(grad: Tensor | None) -> int:
    if grad is None:
        return NONE
    return grad._values().shape[0] if grad.is_sparse else DENSE


def _distinct(grad: Tensor) -> Tensor:
    """The same gradient with each row once; on an accelerator padded with rows of 0."""
    ids, values = grad._indices()[0], grad._values()
    if ids.device.type == "cpu":
        rows, sums = gradients.summed(ids, values)
    else:
        rows, sums, _ = gradients.summed_in_as_many(ids, values)
    return _sparse(rows, sums, grad.shape)


def _sparse(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    return torch.sparse_coo_tensor(rows.unsqueeze(0), values, shape, check_invariants=False)


def _add_dense(weights: Sequence[Tensor], ranks: Ranks) -> None:
    """As one tensor, since each exchange takes its time."""
    grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    whole = ranks.reduced(torch.cat([grad.flatten() for grad in grads]))
    for weight, part in zip(weights, whole.split([w.numel() for w in weights]), strict=True):
        weight.grad = part.view_as(weight)


def _add_rows(named: Sequence[tuple[Tensor, Sequence[int]]], ranks: Ranks) -> None:
    """Of all tables, of whatever widths, as two tensors: ids and values. named: tables, each with how many
    rows each process names."""
    own = [_held(weight) for weight, _ in named]
    most = max(sum(counts[r] for _, counts in named) for r in range(ranks.count))
    most_values = max(sum(counts[r] * w.shape[1] for w, counts in named) for r in range(ranks.count))
    ids = ranks.each(_padded([rows for rows, _ in own], most))
    values = ranks.each(_padded([part.flatten() for _, part in own], most_values))
    of_ids = [part.split([*(counts[r] for _, counts in named), most - sum(c[r] for _, c in named)])
              for r, part in enumerate(ids)]  # fmt: skip
    sizes = [[counts[r] * w.shape[1] for w, counts in named] for r in range(ranks.count)]
    of_values = [
        part.split([*size, most_values - sum(size)]) for part, size in zip(values, sizes, strict=True)
    ]
    for number, (weight, _) in enumerate(named):
        rows = [part[number] for part in of_ids]
        parts = [part[number].view(-1, weight.shape[1]) for part in of_values]
        weight.grad = _sparse(*_summed(rows, parts), weight.shape)


def _held(weight: Tensor) -> tuple[Tensor, Tensor]:
    if weight.grad is None:
        return weight.new_zeros(0, dtype=torch.int64), weight.new_zeros(0, weight.shape[1])
    return weight.grad._indices()[0], weight.grad._values()


def _padded(parts: Sequence[Tensor], size: int) -> Tensor:
    found = torch.cat(list(parts))
    return torch.cat([found, found.new_zeros(size - len(found))])


def _summed(rows: Sequence[Tensor], values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The distinct rows of several lists of rows, and the sum of their values, added in the order of the
    lists; on an accelerator padded with rows of 0. No list has a row twice but with values of 0."""
    every = torch.cat(list(rows))
    if every.device.type == "cpu":
        distinct, places = torch.unique(every, return_inverse=True)
    else:
        ordered, order = every.sort()
        place = torch.zeros_like(ordered)
        torch.cumsum(ordered[1:] != ordered[:-1], 0, out=place[1:])
        distinct, places = ordered.index_copy(0, place, ordered), torch.empty_like(place)
        places[order] = place
    sums = values[0].new_zeros(len(distinct), values[0].shape[1])
    for at, part in zip(places.split([len(part) for part in rows]), values, strict=True):
        sums.index_add_(0, at, part)
    return distinct, sums
