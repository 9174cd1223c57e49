"""Recurrences as `while_loop` over tables [step, sequence], which become a loop of the exported program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

from specc_runtime.layout import Axis
from specc_runtime.ops.recurrent import scan_along as scan_along
from specc_runtime.portable.layout import Rows
from specc_runtime.portable.sequences import Sequences, along

Step = Callable[..., tuple[Tensor, ...]]


def scan(
    step: Step,
    rows: Rows,
    axis: Axis,
    values: Sequence[Tensor],
    constants: Sequence[Tensor],
    states: Sequence[Tensor],
    backward: bool = False,
) -> tuple[Tensor, ...]:
    """States at each position of a ragged axis, for a step that treats every sequence by itself."""
    own = along(rows, axis)

    def following(seen: Sequence[Tensor], current: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return step(*seen, *constants, *current)

    tables = [(own, x) for x in values]
    return _walked(following, tables, [(own, s) for s in states], backward)


def scan_together(
    step: Step,
    axis: Axis,
    values: Sequence[tuple[Tensor, Rows]],
    states: Sequence[tuple[Tensor, Rows]],
    backward: bool = False,
) -> tuple[Tensor, ...]:
    """As `scan`, for a step that looks at rows of several combinations of axes at once."""
    layout = states[0][1].layout
    tables = [(along(rows, axis), x) for x, rows in values]
    starts = [(along(layout[(*rows.axes, axis)], axis), s) for s, rows in states]

    def following(seen: Sequence[Tensor], current: Sequence[Tensor]) -> tuple[Tensor, ...]:
        # What the layout works out within a step is the step's alone.
        before, layout.known = layout.known, dict(layout.known)
        found = step(*seen, *current)
        layout.known = before
        return found

    return _walked(following, tables, starts, backward)


def _walked(
    step: Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, ...]],
    values: Sequence[tuple[Sequences, Tensor]],
    states: Sequence[tuple[Sequences, Tensor]],
    backward: bool,
) -> tuple[Tensor, ...]:
    """Every sequence takes every step of the longest; the state of one that has ended stays."""
    tables = [own.steps(x, backward) for own, x in values]
    # -1, as the body of a loop cannot read a number of rows that only a tensor says.
    shapes = [(-1, *x.shape[1:]) for _, x in values]
    running = [None if own.mask is None else own.mask.transpose(0, 1).contiguous() for own, _ in states]
    starts = [s.contiguous() for _, s in states]
    outs = [s.new_zeros(own.longest, prod(s.shape)) for own, s in states]
    count = len(starts)
    # A number that the loop reads must be a tensor.
    last = torch.ones(states[0][0].longest, dtype=torch.int64, device=starts[0].device).sum()
    number = torch.zeros((), dtype=torch.int64, device=starts[0].device)

    def going(number: Tensor, *carried: Tensor) -> Tensor:
        return number < last

    def body(number: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        current, traces = carried[:count], carried[count:]
        at = number.reshape(1)
        following = step(
            [t.index_select(0, at).reshape(shape) for t, shape in zip(tables, shapes, strict=True)], current
        )
        found, written = [], []
        for new, old, mask, trace in zip(following, current, running, traces, strict=True):
            if mask is not None:
                there = mask.index_select(0, at).squeeze(0)
                new = torch.where(there.reshape(-1, *([1] * (new.dim() - 1))), new, old)
            found.append(new.clone())
            written.append(trace.index_copy(0, at, new.reshape(1, -1)))
        return (number + 1, *found, *written)

    loop = while_loop if torch.compiler.is_exporting() else _run
    _, *carried = loop(going, body, (number, *starts, *outs))
    traces = carried[count:]
    return tuple(
        own.unstepped(trace, s.shape[1:], backward)
        for (own, _), s, trace in zip(states, starts, traces, strict=True)
    )


def _run(
    going: Callable[..., Tensor], body: Callable[..., tuple[Tensor, ...]], carried: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """The loop itself, where nothing is traced."""
    while going(*carried):
        carried = body(*carried)
    return carried


def settled(x: Tensor, rows: Rows, axis: Axis) -> Tensor:
    """A value that a step of `scan_together` reads, 1 where the sequence along the axis is empty."""
    there = rows.lengths_of(axis) > 0
    return torch.where(there.reshape(-1, *([1] * (x.dim() - 1))), x, 1)
