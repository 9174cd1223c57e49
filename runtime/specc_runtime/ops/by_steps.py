"""The way back of a recurrence a step at a time, by a cell's derivative.

`steps_in_c` does the same in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specc_runtime.ops.steps_in_c import Chunk

if TYPE_CHECKING:
    from specc_runtime.ops.cells import Perhaps, Tensors


class BySteps:
    """The way back of a cell, a step at a time."""

    def __init__(
        self,
        back: Callable[..., tuple[Perhaps, Perhaps, Tensors]],
        active: tuple[int, ...],
        starts: Tensors,
        matrices: Tensors,
        kept: Sequence[Tensors],
    ) -> None:
        """back: a cell's. kept: by step what it saved."""
        self.back, self.active, self.starts, self.matrices, self.kept = back, active, starts, matrices, kept
        self.carried: Perhaps = (None,) * len(starts)

    def begin(self, each: Sequence[Tensor | None], last: Sequence[Tensor | None]) -> None:
        """each, last: by state the upstream gradient of every position, and of the last one."""
        self.outer = [_Outer(self.active, e, d) for e, d in zip(each, last, strict=True)]

    def backward(
        self,
        chunk: Chunk,
        values: Sequence[Tensor],
        constants: Tensors,
        traces: Tensors,
        d_values: Sequence[Tensor | None],
        d_products: Tensors,
        d_constants: Tensors,
    ) -> list[Tensor]:
        """Go back through a chunk: write the gradients of its values and products, and add to those of
        constants. Return what each matrix was multiplied by, [end - begin, in]."""
        for state in self.outer:
            state.enter(chunk)
        running = self.active[chunk.first : chunk.stop]
        seen = by_step([chunk.of(x) for x in values], running)
        # The states before a step: the starts, or those after the one before it.
        ahead = self.active[chunk.first - 1 : chunk.first] if chunk.first else ()
        earlier = [x[chunk.begin - sum(ahead) : chunk.end] for x in traces]
        befores = [*([] if ahead else [self.starts]), *by_step(earlier, (*ahead, *running))]
        into_values, into_products = by_step(d_values, running), by_step(d_products, running)
        factors: list[Tensors] = []
        for number in reversed(range(chunk.first, chunk.stop)):
            n = self.active[number]
            before = befores[number - chunk.first]
            met = zip(self.outer, self.carried, self.starts, strict=True)
            d_held, self.carried, multiplied = self.back(
                seen[number - chunk.first],
                tuple(c[:n] for c in constants),
                self.matrices,
                tuple(s[:n] for s in before),
                self.kept[number],
                tuple(o.met(number, more, s[:n]) for o, more, s in met),
                into_values[number - chunk.first],
                into_products[number - chunk.first],
            )
            for total, part in zip(d_constants, d_held, strict=True):
                if part is not None:
                    total[:n].add_(part)
            factors.append(multiplied)
        joined = _Joined()
        return [joined(parts) for parts in zip(*factors, strict=True)]


class _Outer:
    """The upstream gradient of a state, from what reads it after the loop: of every position, or of the last
    one."""

    def __init__(self, active: tuple[int, ...], each: Tensor | None, last: Tensor | None) -> None:
        self.active = active
        # Kernels in C need contiguous channels.
        self.each = None if each is None else each.contiguous()
        self.last = None if last is None else last.contiguous()
        self.first = 0
        self.parts: tuple[Tensor, ...] = ()

    def enter(self, chunk: Chunk) -> None:
        """Begin a chunk, the last one first."""
        if self.each is not None:
            self.first = chunk.first
            # A copy, because the upstream gradient must not be written over.
            self.parts = chunk.of(self.each).clone().split(self.active[chunk.first : chunk.stop])

    def met(self, number: int, more: Tensor | None, like: Tensor) -> Tensor:
        """Return the upstream gradient of a step's states, [n, w], plus `more`, the gradient from the
        following step for the first of these rows. The result must not be written over."""
        if self.each is not None:
            whole = self.parts[number - self.first]
            if more is not None:
                whole[: len(more)] += more
            return whole
        following = self.active[number + 1] if number + 1 < len(self.active) else 0
        if more is None:
            more = torch.zeros_like(like[:following])
        if following == len(like):
            return more
        # The sequences that end at this step.
        ended = torch.zeros_like(like[following:]) if self.last is None else self.last[following : len(like)]
        return torch.cat([more, ended]) if following else ended


def by_step(whole: Sequence[Any], active: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Return for each step its rows of every tensor [rows, w]."""
    if not whole:
        return [()] * len(active)
    parts = [(None,) * len(active) if x is None else x.split(active) for x in whole]
    return list(zip(*parts, strict=True))


class _Joined:
    """Concatenates the tensors of steps, given last step first, in the order of steps. Tensors that a step
    returned twice (one value that two matrices multiply) are concatenated once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        key = tuple(map(id, parts))
        if key not in self._known:
            self._known[key] = torch.cat(tuple(reversed(parts)))
        return self._known[key]
