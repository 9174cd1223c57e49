"""Which loops, attentions and wide values have a fast kernel, and what keeps the others from one."""

from __future__ import annotations

from pathlib import PurePath

from specc.frozen import dataclass
from specc.lower import additive
from specc.lower.cell import Cell
from specc.lower.program import Kernel, Program, Value, walk
from specc.ops import op

_LOOPS = ("scan", "scan_together", "scan_along")
_SOFTMAX = tuple(f"{form}.{op.SOFTMAX}" for form in ("segment", "along", "dense"))
# Kernels that only change the scale or rows of a score: what computes it is looked for behind them.
_THROUGH = ("expand", "real", "unsqueeze", op.MUL, op.DIV)


@dataclass(frozen=True)
class Speed:
    """A loop, an attention or a wide value. place: where it is written. fast: whether it has a kernel of its
    own. what: which, or what stands in the way."""

    name: str
    place: str
    fast: bool
    what: str

    def __str__(self) -> str:
        return f"{self.name} ({self.place}): {self.what}"


def speeds(program: Program) -> list[Speed]:
    """All that predictions need, in the order in which they are computed."""
    found: list[Speed] = []
    for function in (program.shared, program.forward):
        if function is not None:
            made = {r: k for k in function.kernels for r in k.results if r is not None}
            found += [s for k in walk(function) if (s := _speed(k, made)) is not None]
    return list(dict.fromkeys(found))


def _speed(kernel: Kernel, made: dict[Value, Kernel]) -> Speed | None:
    if kernel.name in _LOOPS:
        why = kernel.why or "the pass `recurrence` is left out"
        return _said(kernel, False, f"a plain loop, recorded step by step: {why}")
    if kernel.name == "recur":
        cell = kernel.args[0]
        assert isinstance(cell, Cell)
        if isinstance(cell.native, str):
            return _said(kernel, False, f"a loop with a compiled derivative, not in C: {cell.native}")
        return _said(kernel, True, f"a loop with a compiled derivative, {cell.native.choice}")
    if kernel.name == "attend":
        how = "in torch's fused kernel, over sequences of like length"
        if choice := kernel.options.get("in_c_from"):
            how = f"of {'one query' if kernel.args[5] is None else 'every position'}, {choice}"
        if choice := kernel.options.get("by_request_from"):
            how = f"{choice}; {how}"
        return _said(kernel, True, f"attention {how}")
    if kernel.name == "by_tile":
        how = f", {tile}" if (tile := kernel.options.get("in_c")) else ""
        return _said(kernel, True, f"what is wider in between, {kernel.args[1]} rows at a time on a CPU{how}")
    if kernel.name == additive.NAME:
        return _said(kernel, True, "scores of a value plus another one, a pair of them at a time, in C")
    if kernel.name == "pairs":
        return _said(kernel, True, f"products of all pairs, {kernel.options['in_c_from']}")
    if kernel.name in _SOFTMAX:
        score = _source(kernel.args[0], made)
        return _said(kernel, False, f"softmax by itself: its scores come of `{score}`, not of dot products")
    if kernel.name == "weighted_sum":
        weight = _source(kernel.args[0], made)
        if weight == op.SOFTMAX:
            return None
        return _said(kernel, True, f"a sum weighted by what `{weight}` gives, in C")
    return None


def _source(value: Value, made: dict[Value, Kernel]) -> str:
    """The kernel that a score comes of."""
    kernel = made.get(value)
    if kernel is None:
        return "another function"
    operands = [x for x in kernel.operands() if x.dtype != "number"]
    if kernel.name in _THROUGH and len(operands) == 1:
        return _source(operands[0], made)
    return kernel.name.rpartition(".")[2]


def _said(kernel: Kernel, fast: bool, what: str) -> Speed:
    result = next((r for r in kernel.results if r is not None), None)
    name = result.names[0] if result is not None and result.names else kernel.name
    span = kernel.span
    place = "" if span is None else f"{PurePath(span.source.name).name}:{span.line}"
    return Speed(name, place, fast, what)
