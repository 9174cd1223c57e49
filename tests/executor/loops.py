"""Functions that kernels call: tiles a row at a time, loops a sequence and a position at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specc.lower.cell import Cell
from specc.types.axis import Axis
from tests.executor.cells import Walk
from tests.executor.places import Rows

if TYPE_CHECKING:
    from tests.executor.program import Execution


def _call(run: Execution, function: Callable[..., list[Tensor]]) -> Tensor:
    return function()[0]


def _by_tile(run: Execution, function: Callable[..., list[Tensor]], rows: int, *values: Tensor) -> Tensor:
    """A row at a time: a tile may see nothing else."""
    each = [function(*(x[n : n + 1] for x in values))[0] for n in range(len(values[0]))]
    return torch.cat(each) if each else function(*values)[0]


def _scan(
    run: Execution, step: Callable[..., list[Tensor]], rows: Rows, axis: Axis,
    values: list[Tensor], constants: list[Tensor], states: list[Tensor], backward: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    found: list[dict[int, Tensor]] = [{} for _ in states]
    for number, sequence in enumerate(run.layout.sequences(rows, axis, run.layout.without(rows, axis))):
        current = [s[number : number + 1] for s in states]
        held = [c[number : number + 1] if len(c) > 1 else c[:1] for c in constants]
        for row in reversed(sequence) if backward else sequence:
            current = step(*(x[row : row + 1] for x in values), *held, *current)
            for trace, state in zip(found, current, strict=True):
                trace[row] = state
    return tuple(
        torch.cat([trace[n] for n in range(len(rows))]) if trace else s.new_zeros(0, *s.shape[1:])
        for trace, s in zip(found, states, strict=True)
    )


def _scan_together(
    run: Execution, step: Callable[..., list[Tensor]], axis: Axis,
    values: list[Any], states: list[Any], backward: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    layout = run.layout
    without = [rows for _, rows in states]
    lengths = [[layout.length(axis, place) for place in rows.places] for rows in without]
    current = [s for s, _ in states]
    found: list[dict[int, Tensor]] = [{} for _ in states]
    whole = [layout.with_axis(rows, axis) for rows in without]
    for number in range(max((n for each in lengths for n in each), default=0)):
        seen = []
        for x, rows in values:
            others = layout.without(rows, axis)
            each = []
            for place in others.places:
                length = layout.length(axis, place)
                position = length - 1 - number if backward else number
                inside = 0 <= position < length
                # Of a sequence that has ended, something.
                there = x[layout.row_of(rows, place, {axis: position})] if inside else x.new_ones(x.shape[1:])
                each.append(there)
            seen.append(torch.stack(each) if each else x[:0])
        following = step(*seen, *current)
        for k, (rows, new, old) in enumerate(zip(without, following, current, strict=True)):
            parts = [n if number < length else o for n, o, length in zip(new, old, lengths[k], strict=True)]
            current[k] = torch.stack(parts) if parts else old
            for n, place in enumerate(rows.places):
                if number < lengths[k][n]:
                    position = lengths[k][n] - 1 - number if backward else number
                    found[k][layout.row_of(whole[k], place, {axis: position})] = current[k][n]
    return tuple(
        torch.stack([trace[n] for n in range(len(rows))]) if trace else s.new_zeros(0, *s.shape[1:])
        for trace, rows, (s, _) in zip(found, whole, states, strict=True)
    )


def _settled(run: Execution, x: Tensor, rows: Rows, axis: Axis) -> Tensor:
    each = [
        v if run.layout.length(axis, place) else torch.ones_like(v)
        for v, place in zip(x, rows.places, strict=True)
    ]
    return torch.stack(each) if each else x


def _scan_along(
    run: Execution, step: Callable[..., list[Tensor]], values: list[Any], states: list[Tensor],
    size: int, dims: list[int], backward: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    current, trace = states, {}
    for number in reversed(range(size)) if backward else range(size):
        current = step(*(x[number] for x in values), *current)
        trace[number] = current
    return tuple(torch.stack([trace[n][k] for n in range(size)], dim) for k, dim in enumerate(dims))


def _recur(
    run: Execution, cell: Cell, rows: Rows, axis: Axis, values: list[Any], constants: list[Tensor],
    matrices: list[Tensor], biases: list[Tensor], starts: list[Tensor], backward: bool = False,
    wanted: Sequence[str] = (),
) -> tuple[Tensor | None, ...]:  # fmt: skip
    given = [_projected(run, *x) if isinstance(x, tuple) else x for x in values]
    sequences = run.layout.sequences(rows, axis, run.layout.without(rows, axis))
    if backward:
        sequences = [s[::-1] for s in sequences]
    groups = (given, constants, matrices, biases, starts)
    sizes = [len(group) for group in groups]
    found = Walk.apply(cell, run.setting, run.model.native, sequences, sizes, *(x for g in groups for x in g))
    results: list[Tensor | None] = []
    for number, want in enumerate(wanted or ["ALL"] * len(starts)):
        results.append(None if want == "NONE" else found[number + len(starts) * (want == "FINAL")])
        results += results[-1:] if want == "BOTH" else []
    return tuple(results)


def _projected(
    run: Execution,
    x: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    of: Rows | None,
    to: Rows | None,
    in_steps: Tensor | None,
) -> Tensor:
    """in_steps: another recurrence's states, which are the values where both have the same rows."""
    same = of is None or to is None or of.places == to.places
    whole = (x if in_steps is None or not same else in_steps) @ matrix.t() + (0 if bias is None else bias)
    return whole if of is None or to is None else whole[run.layout.index(of, to)]


FORMS: dict[str, Callable[..., Any]] = {
    "call": _call,
    "by_tile": _by_tile,
    "scan": _scan,
    "scan_together": _scan_together,
    "settled": _settled,
    "scan_along": _scan_along,
    "recur": _recur,
}
