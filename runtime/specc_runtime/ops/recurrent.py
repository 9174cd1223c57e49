"""Recurrences: a state that is carried along an axis.

`step(*values, *constants, *states)` gives the next states, each [n, ...] as it got it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from specc_runtime.layout import Axis, Rows
from specc_runtime.ops.rows import pick
from specc_runtime.tracing import untraced

Step = Callable[..., tuple[Tensor, ...]]


@untraced
def scan(
    step: Step,
    rows: Rows,
    axis: Axis,
    values: Sequence[Tensor],
    constants: Sequence[Tensor],
    states: Sequence[Tensor],
    backward: bool = False,
) -> tuple[Tensor, ...]:
    """States at each position of a ragged axis, for a step that treats every sequence by itself.

    values: [rows.count, ...], seen one position at a time. constants, states (at the start):
    [rows.without(axis).count, ...]; a constant [1, ...] is the same for all. The sequences are
    walked together, longest first, and drop out as they end.
    Returns every state at each position, [rows.count, ...].
    """
    steps = rows.steps(axis, backward)
    sorted_values = [pick(x, steps.gather).split(steps.active) for x in values]
    sorted_constants = [pick(c, steps.order) if c.shape[0] == len(steps.order) else c for c in constants]
    current = tuple(pick(s, steps.order) for s in states)
    trace: list[tuple[Tensor, ...]] = []
    for number, active in enumerate(steps.active):
        current = step(
            *(x[number] for x in sorted_values),
            *(c[:active] for c in sorted_constants),
            *(s[:active] for s in current),
        )
        trace.append(current)
    if not trace:
        return tuple(s.new_zeros(0, *s.shape[1:]) for s in states)
    return tuple(pick(torch.cat(state), steps.scatter) for state in zip(*trace, strict=True))


@untraced
def scan_together(
    step: Step,
    axis: Axis,
    values: Sequence[tuple[Tensor, Rows]],
    states: Sequence[tuple[Tensor, Rows]],
    backward: bool = False,
) -> tuple[Tensor, ...]:
    """As `scan`, for a step that looks at rows of several combinations of axes at once.

    Every sequence takes every step of the longest; the state of one that has ended stays.
    values: with the rows that they have with the axis; states: with the rows that they have
    without it. Constants are the step's own.
    """
    layout = states[0][1].layout
    longest = layout.longest(axis)
    current = tuple(s for s, _ in states)
    trace: list[tuple[Tensor, ...]] = []
    for number in range(longest):
        seen = [_at(x, rows, axis, number, backward) for x, rows in values]
        following = step(*seen, *current)
        current = tuple(
            torch.where(_running(rows, axis, number, new), new, old)
            for (_, rows), new, old in zip(states, following, current, strict=True)
        )
        trace.append(current)
    results = []
    for index, (start, without) in enumerate(states):
        rows = layout[(*without.axes, axis)]
        if not trace:
            results.append(start.new_zeros(0, *start.shape[1:]))
            continue
        position, sequence = rows.position(axis), rows.index(without)
        if backward:
            position = without.lengths_of(axis)[sequence] - 1 - position
        whole = torch.cat([state[index] for state in trace])
        results.append(pick(whole, position * without.count + sequence))
    return tuple(results)


@untraced
def settled(x: Tensor, rows: Rows, axis: Axis) -> Tensor:
    """A value that a step of `scan_together` reads, 1 where the sequence along the axis is empty.

    No step is ever taken there, but all are computed: what divides by the length of nothing would be
    infinite, and its gradient not a number, though nobody reads it.
    """
    return torch.where(_running(rows, axis, 0, x), x, 1)


def _at(x: Tensor, rows: Rows, axis: Axis, number: int, backward: bool) -> Tensor:
    """The values of a step [rows without axis, ...]; of a sequence that has ended, some value."""
    without = rows.without(axis)
    if rows.count == 0:
        return x.new_zeros(without.count, *x.shape[1:])
    lengths = without.lengths_of(axis)
    position = lengths - 1 - number if backward else torch.full_like(lengths, number)
    index = without.locate(rows, {axis: position.clamp(min=0)})
    return pick(x, index.clamp(0, rows.count - 1))


def _running(rows: Rows, axis: Axis, number: int, like: Tensor) -> Tensor:
    running = (rows.lengths_of(axis) > number).to(like.device)
    return running.reshape(-1, *([1] * (like.dim() - 1)))


@untraced
def scan_along(
    step: Step,
    values: Sequence[Sequence[Tensor]],
    states: Sequence[Tensor],
    size: int,
    dims: Sequence[int],
    backward: bool = False,
) -> tuple[Tensor, ...]:
    """States along a static axis of `size` positions.

    values: for each its value at every position. dims: for each state the dimension that the axis
    has in the result.
    """
    current = tuple(states)
    trace: list[tuple[Tensor, ...]] = []
    for number in reversed(range(size)) if backward else range(size):
        current = step(*(x[number] for x in values), *current)
        trace.append(current)
    if backward:
        trace.reverse()
    return tuple(torch.stack(state, dim) for state, dim in zip(zip(*trace, strict=True), dims, strict=True))
