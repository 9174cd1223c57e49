"""All steps of a recurrence by one function in C, products included (specc.emit.steps).

Promises: the values and gradients of a cell's own step and derivative, up to rounding.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from specc_runtime import native

if TYPE_CHECKING:
    from specc_runtime.native.sources import Functions


@dataclass(frozen=True)
class StepsInC:
    """The C of a cell. source: the hash of its text (native.sources). name: what its functions' begin with.

    kept: of what a step saves for backward, how wide its rows are; -1 - n stands for next state n. own, back:
    of rows that the functions need for themselves. factors: for each matrix the first one that multiplies the
    same. least: from how many numbers in all steps together on they are used.
    """

    source: str
    name: str
    kept: Sequence[int]
    own: Sequence[int]
    back: Sequence[int]
    factors: Sequence[int]
    least: int

    def functions(self, like: Tensor) -> Functions | None:
        """Return the functions for a tensor's device and precision, or None."""
        if not native.wanted(like.device, like.dtype):
            return None
        found = native.functions(self.source, like.dtype)
        return found if found is not None and found.multiplies(like.dtype) else None


class Chunk(NamedTuple):
    """Steps first .. stop, with rows begin .. end, whose products are computed together. They are few enough
    to be in the processor's cache still when the steps read them."""

    first: int
    stop: int
    begin: int
    end: int

    def of(self, whole: Tensor) -> Tensor:
        return whole[self.begin : self.end]

    @staticmethod
    def all(active: tuple[int, ...], at_once: int) -> list[Chunk]:
        found: list[Chunk] = []
        first = begin = end = 0
        for number, running in enumerate(active):
            end += running
            if end - begin >= at_once or number == len(active) - 1:
                found.append(Chunk(first, number + 1, begin, end))
                first, begin = number + 1, end
        return found


class _Given:
    """Addresses and strides of rows, as the functions are given them."""

    def __init__(self) -> None:
        self.addresses: list[int] = []
        self.strides: list[int] = []

    def add(self, tensors: Sequence[Tensor | None], begin: int = 0) -> None:
        """Add tensors [n, width], of whose rows the first one has this number."""
        for x in tensors:
            stride = 0 if x is None else x.stride(0) if len(x) > 1 else x[0].numel() if len(x) else 0
            self.strides.append(stride)
            at = 0 if x is None else x.data_ptr() - begin * stride * x.element_size()
            self.addresses.append(at)

    def arrays(self) -> tuple[Any, Any]:
        kind = ctypes.c_int64 * len(self.addresses)
        return kind(*self.addresses), kind(*self.strides)


class InOneCall:
    """A walk over the steps, forward and then backward."""

    def __init__(
        self,
        steps: StepsInC,
        functions: Functions,
        active: Sequence[int],
        starts: Sequence[Tensor],
        matrices: Sequence[Tensor],
        rows: int,
        keeps: bool,
    ) -> None:
        """rows: of all steps, or, where nothing `keeps` them for backward, of the largest chunk."""
        self.steps, self.functions, self.keeps = steps, functions, keeps
        self.most = max(active, default=0)
        # Of the step after the last one, too: none.
        self.active = (ctypes.c_int64 * (len(active) + 1))(*active, 0)
        self.matrices = [m.contiguous() for m in matrices]
        self.starts = starts
        self.kept = [starts[0].new_empty(rows, width) if width >= 0 else None for width in steps.kept]

    def forward(
        self,
        chunk: Chunk,
        values: Sequence[Tensor],
        constants: Sequence[Tensor],
        biases: Sequence[Tensor],
        traces: Sequence[Tensor],
    ) -> None:
        """Take the steps of a chunk. values: of its rows. traces: of all."""
        given = _Given()
        given.add(values, chunk.begin)
        given.add(constants)
        given.add(self.matrices)
        given.add([b.contiguous() for b in biases])
        given.add(self.starts)
        given.add(traces)
        self._add_kept(given, traces, 0 if self.keeps else chunk.begin)
        own = self._own(self.steps.own)
        given.add(own)
        self._call("steps", chunk, chunk.begin, given)

    def begin(self, each: Sequence[Tensor | None], last: Sequence[Tensor | None]) -> None:
        """Start the way back. each, last: by state the upstream gradient of every position, and of the last
        one."""
        self.outer = [x if x is None else x.contiguous() for x in (*each, *last)]
        widths = [s.shape[1] for s in self.starts]
        self.carried, self.met = self._own(widths), self._own(widths)
        self.own = self._own(self.steps.back)

    def backward(
        self,
        chunk: Chunk,
        values: Sequence[Tensor],
        constants: Sequence[Tensor],
        traces: Sequence[Tensor],
        d_values: Sequence[Tensor | None],
        d_products: Sequence[Tensor],
        d_constants: Sequence[Tensor],
    ) -> list[Tensor]:
        """Go back through a chunk: write the gradients of its values and products, and add to those of
        constants. Return what each matrix was multiplied by, [end - begin, in]. values: of all rows."""
        size = chunk.end - chunk.begin
        factors: list[Tensor] = []
        for number, m in zip(self.steps.factors, self.matrices, strict=True):
            factors.append(factors[number] if number < len(factors) else m.new_empty(size, m.shape[1]))
        given = _Given()
        given.add(values)
        given.add(constants)
        given.add(self.matrices)
        given.add(self.starts)
        given.add(traces)
        self._add_kept(given, traces, 0)
        given.add(d_values, chunk.begin)
        given.add(d_products, chunk.begin)
        given.add(self.outer)
        given.add(self.carried)
        given.add(self.met)
        given.add(d_constants)
        given.add(factors, chunk.begin)
        given.add(self.own)
        self._call("backs", chunk, chunk.end, given)
        return factors

    def _add_kept(self, given: _Given, traces: Sequence[Tensor], begin: int) -> None:
        for width, kept in zip(self.steps.kept, self.kept, strict=True):
            given.add([traces[-1 - width]] if kept is None else [kept], 0 if kept is None else begin)

    def _own(self, widths: Sequence[int]) -> list[Tensor]:
        return [self.starts[0].new_empty(self.most, width) for width in widths]

    def _call(self, name: str, chunk: Chunk, at: int, given: _Given) -> None:
        call = self.functions.walk(f"{self.steps.name}_{name}")
        call(chunk.first, chunk.stop, at, self.active, *given.arrays())
