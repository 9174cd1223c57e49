"""Recurrences: a state that is carried along an axis.

`step(*values, *constants, *states)` returns the next states, each [n, ...] like the state it replaces.
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
    """Return the states at each position of a ragged axis, [rows.count, ...], for a step that treats every
    sequence by itself.

    values: [rows.count, ...]; a step sees one position. constants, states (at the start):
    [rows.without(axis).count, ...]; a constant [1, ...] is the same for all. The sequences run together,
    longest first; each drops out when it ends.
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
    """Return the states as `scan` does, for a step that reads rows of several combinations of axes at once.

    Every sequence takes as many steps as the longest; the state of a sequence that has ended stays. values:
    with the rows that they have with the axis; states: with the rows that they have without it. The step
    closes over its constants.
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
    """Return a value that a step of `scan_together` reads, replaced by 1 where the sequence along the axis
    is empty.

    Steps of an empty sequence are computed and discarded. Without this, a division by its length would be
    infinite and the gradient of the discarded value NaN.
    """
    return torch.where(_running(rows, axis, 0, x), x, 1)


def _at(x: Tensor, rows: Rows, axis: Axis, number: int, backward: bool) -> Tensor:
    """Return the values of a step, [rows without axis, ...]; arbitrary ones for a sequence that has ended."""
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
    """Return the states along a static axis of `size` positions.

    values: for each its value at every position. dims: for each state the dimension that the axis gets in
    the result.
    """
    current = tuple(states)
    trace: list[tuple[Tensor, ...]] = []
    for number in reversed(range(size)) if backward else range(size):
        current = step(*(x[number] for x in values), *current)
        trace.append(current)
    if backward:
        trace.reverse()
    return tuple(torch.stack(state, dim) for state, dim in zip(zip(*trace, strict=True), dims, strict=True))
