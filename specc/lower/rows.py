"""Straight-line code over rows: what the step of a recurrence and its derivative are lowered to.

Every value is [n, width] for the n sequences that are still running, so that no rows need to be named. A
result has a buffer of its own, or channels of another value's: in place of an operand, or in a place that the
loop gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.lower.program import Kernel, Value
from specc.lower.shape import Shape
from specc.source import Span

ROW = Shape(None, ())


class Code:
    """Kernels in the order in which they are computed."""

    def __init__(self, span: Span | None = None) -> None:
        self.span = span
        self.kernels: list[Kernel] = []

    def value(self, width: int, *names: str) -> Value:
        return Value(0, ROW, width, names=names, span=self.span)

    def number(self, value: float) -> Value:
        return Value(0, ROW, 1, dtype="number", number=value)

    def make(
        self,
        name: str,
        *args: Any,
        width: int,
        names: tuple[str, ...] = (),
        over: Value | None = None,
        view: Value | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Value:
        """The result of a kernel: held if it has a name, else part of the expression that reads it."""
        found = self.value(width, *names)
        found.held = bool(names)
        found.base, found.written = (view, False) if view is not None else (over, over is not None)
        self.kernels.append(Kernel(name, args, (found,), options or {}, None, over))
        return found

    def cut(self, x: Value, start: int, stop: int, *names: str) -> Value:
        """A view of some channels."""
        return self.make("columns", x, start, stop, width=stop - start, names=names, view=x)


def place_of(value: Value, cuts: dict[Value, Kernel]) -> tuple[Value, int]:
    """The value in whose buffer one is, and its first channel there. cuts: the kernels of views."""
    if value.base is None:
        return value, 0
    root, start = place_of(value.base, cuts)
    return root, start + (cuts[value].args[1] if not value.written else 0)


def cuts_of(kernels: list[Kernel]) -> dict[Value, Kernel]:
    """By view, the kernel that made it."""
    return {k.result: k for k in kernels if k.name == "columns"}
