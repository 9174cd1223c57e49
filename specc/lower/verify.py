"""The invariants of lowered programs, checked in tests after each step of lowering.

Promises: `verify` raises LoweringError for the first kernel that is unsound: that reads a value that is not
defined or has been overwritten; defines a value twice; has operands of other rows than it takes; or leaves a
value without a local that is read twice, or after one of its operands has been overwritten.

A fault found here is the compiler's own, never a user's.
"""

from __future__ import annotations

from collections.abc import Iterable

from specc.lower.buffers import REPEATED, reads_of
from specc.lower.cell import Cell
from specc.lower.print import shape_text
from specc.lower.program import Function, Kernel, Program, Rows, Value
from specc.lower.rows import cuts_of, place_of
from specc.lower.shape import Domain
from specc.ops import OPS
from specc.ops.definition import Pointwise

# What a loop gives a step to write to.
PLACES = ("nexts", "d_values", "d_products")


class LoweringError(AssertionError):
    """A program that must not be emitted. kernel: where it is unsound."""

    def __init__(self, message: str, kernel: Kernel | None = None) -> None:
        where = "" if kernel is None else f" ({kernel.name})"
        if kernel is not None and kernel.span is not None:
            where += f", {kernel.span.source.name}:{kernel.span.line}"
        super().__init__(message + where)
        self.kernel = kernel


def verify(program: Program, held: bool = True) -> None:
    """Raises LoweringError if the program is unsound. held: whether it says what locals hold."""
    shared: list[Value] = []
    for function in program.functions:
        _Function(function, shared, held).check()
        if function is program.shared:
            shared = function.results
        for kernel in function.kernels:
            for cell in (a for a in kernel.args if isinstance(a, Cell)):
                _check_cell(cell)
    if program.parts is not None:
        _Function(program.parts.request, [], held).check()
        _Function(program.parts.candidate, [], held).check()
        given = {x.buffer for x in program.parts.candidate.parameters}
        for kernel in program.parts.candidate.kernels:
            if kernel.over is not None and kernel.over.buffer in given:
                raise LoweringError("the state is written over", kernel)


def _check_cell(cell: Cell) -> None:
    """Check both functions, and that nothing saved for backward is overwritten in the step."""
    cuts = cuts_of([*cell.step.kernels, *cell.back.kernels])
    for function in (cell.step, cell.back):
        given = [v for values in function.groups.values() for v in values]
        _Function(function, given, held=False, rows=False, cuts=cuts).check()
    order = {k.result: n for n, k in enumerate(cell.step.kernels)}
    for value in cell.kept:
        for kernel in cell.step.kernels[order.get(value, -1) + 1 :]:
            if kernel.over is not None and _overlap(value, kernel.over, cuts):
                raise LoweringError("a value that is saved for backward is overwritten", kernel)


def _overlap(a: Value, b: Value, cuts: dict[Value, Kernel]) -> bool:
    """Whether two values have memory in common."""
    (root, start), (other, begin) = place_of(a, cuts), place_of(b, cuts)
    return root is other and start < begin + b.width and begin < start + a.width


class _Function:
    """given: what may be read from outside. rows: whether values have the rows that their shapes say; in a
    step or a tile all have those of the step. cuts: what made views of channels, where parts of buffers are
    written by themselves."""

    def __init__(
        self,
        function: Function,
        given: Iterable[Value],
        held: bool,
        rows: bool = True,
        cuts: dict[Value, Kernel] | None = None,
    ) -> None:
        self.function, self.held, self.rows, self.cuts = function, held, rows, cuts
        self.places = {v for name in PLACES for v in function.groups.get(name, ())}
        self.known = {*given, *function.parameters}
        # Values that have been overwritten.
        self.gone: set[Value] = set()

    def check(self) -> None:
        function = self.function
        for kernel in function.kernels:
            for value in kernel.operands():
                self._readable(value, kernel)
            for inner in kernel.functions():
                given = [] if inner.closed else self.known
                _Function(inner, given, self.held, rows=False).check()
            if kernel.over is not None:
                self._write(kernel)
            for result in kernel.results:
                if result is not None:
                    if result in self.known:
                        raise LoweringError("a value is defined twice", kernel)
                    self._view(result, kernel)
                    self.known.add(result)
            if self.rows:
                _fits(kernel)
        for result in function.results:
            self._readable(result, None)
        if self.held:
            self._once()

    def _readable(self, value: Value, kernel: Kernel | None) -> None:
        if value.dtype == "number":
            return
        if value not in self.known:
            raise LoweringError("an operand is not defined", kernel)
        if value in self.gone:
            raise LoweringError("an operand has been overwritten", kernel)

    def _view(self, result: Value, kernel: Kernel) -> None:
        if result.base is not None and result.base.dtype != "number" and result.base not in self.known:
            raise LoweringError("a view of a value that is not defined", kernel)

    def _write(self, kernel: Kernel) -> None:
        """Mark what the result overwrites."""
        assert kernel.over is not None
        for value in self.known:
            there = value.buffer is kernel.over.buffer
            if self.cuts is not None:
                there = _overlap(value, kernel.over, self.cuts)
            # A place that the loop gives holds nothing before.
            place = not value.written and value.buffer in self.places
            if there and not place and not (value is kernel.over and value not in kernel.operands()):
                self.gone.add(value)

    def _once(self) -> None:
        """Check what no local holds: it is read once, and before any of its operands is overwritten."""
        kernels = self.function.kernels
        reads = reads_of(self.function)
        order = {r: n for n, k in enumerate(kernels) for r in k.results if r is not None}
        readers = {x: n for n, k in enumerate(kernels) for x in k.operands()}
        for number, kernel in enumerate(kernels):
            for result in kernel.results:
                if result is None or result.held or kernel.name in REPEATED:
                    continue
                if reads[result] > 1:
                    raise LoweringError("a value that no local holds is read twice", kernel)
                late = [k for k in kernels[number + 1 : readers.get(result, number)] if k.over is not None]
                for other in late:
                    over = other.over
                    assert over is not None
                    if any(
                        x.buffer is over.buffer and order.get(over, -1) < number for x in kernel.operands()
                    ):
                        raise LoweringError("a value is computed after its operand is overwritten", kernel)


def _fits(kernel: Kernel) -> None:
    """Check the rows and dimensions of a kernel's operands."""
    if kernel.name == "expand":
        x, of, to = kernel.args
        _same(kernel, x.shape.domain, of)
        _same(kernel, kernel.result.shape.domain, to)
    elif kernel.name in OPS and isinstance(OPS[kernel.name].lowering, Pointwise):
        result = kernel.result
        for x in kernel.operands():
            rows = x.shape.domain is None or x.shape.domain == result.shape.domain
            if not (rows and set(x.shape.dims) <= set(result.shape.dims) and x.width in (1, result.width)):
                raise LoweringError(
                    f"{shape_text(x.shape, x.width)} does not broadcast to "
                    f"{shape_text(result.shape, result.width)}",
                    kernel,
                )


def _same(kernel: Kernel, own: Domain | None, rows: Rows) -> None:
    if own != rows.domain:
        raise LoweringError("its operand or result has other rows than it says", kernel)
