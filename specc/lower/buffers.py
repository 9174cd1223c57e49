"""In-place writes, and which values a local holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from specc.lower.program import Function, Heads, Kernel, Matrix, Parameter, Program, Rows, Value, walk
from specc.ops import OPS, op
from specc.ops.definition import Pointwise

# Kernels with a fresh buffer for their result, which their derivative does not read.
_PRODUCTS = (op.LINEAR, "product_of", "add_product")
_FRESH = (op.ADD, op.SUB, op.MUL, *_PRODUCTS)
# What a product does with its result, if it is asked to (`then` of specc_runtime.ops.linear).
_FOLLOWING = (op.RELU, op.LEAKY_RELU, op.SIGMOID, op.TANH)
# A nested expression of more arguments gets a local.
_LONGEST = 8


def reuse(program: Program) -> None:
    """Write results over operands that nothing else reads."""
    for function in program.functions:
        _reuse(function)


def _reuse(function: Function) -> None:
    reads = reads_of(function)
    made = {r: k for k in function.kernels for r in k.results if r is not None}
    for kernel in function.kernels:
        for inner in kernel.functions():
            _reuse(inner)
        if _in_place(kernel):
            x = kernel.args[0]
            if x in made and made[x].name in _FRESH and reads[x] == 1 and not x.kept:
                kernel.over = x
                kernel.result.base, kernel.result.written = x, True
                kernel.within = made[x].name in _PRODUCTS and kernel.name in _FOLLOWING


def _in_place(kernel: Kernel) -> bool:
    """Whether a kernel can write over its operand, and its derivative reads the result alone."""
    found = OPS.get(kernel.name)
    if found is None or not isinstance(found.lowering, Pointwise) or len(found.inputs) != 1:
        return False
    if kernel.name == op.LEAKY_RELU:  # torch has it of the result, where that has the sign of the operand
        return bool(kernel.args[1] >= 0)
    slope = found.derivative
    return bool(found.lowering.over) and slope is not None and slope.output and not slope.inputs


def reads_of(function: Function) -> Counter[Value]:
    """How often each value is read by a function's kernels, those in functions within it, and its results."""
    reads = Counter(x for k in walk(function) for x in k.operands())
    for inner in _functions(function):
        reads.update(inner.results)
    return reads


def _functions(function: Function) -> list[Function]:
    found = [function]
    for kernel in function.kernels:
        for inner in kernel.functions():
            found += _functions(inner)
    return found


def hold(program: Program) -> None:
    """Give a local to what is read twice, has a name in the spec, or would make an expression too deep."""
    for function in program.functions:
        reads = reads_of(function)
        for one in _functions(function):
            _hold(one, reads)


def _hold(function: Function, reads: Counter[Value]) -> None:
    sizes: dict[Value, int] = {}
    within = {k.over for k in function.kernels if k.within}
    for kernel in function.kernels:
        size = sum(_size(x, sizes) for x in kernel.parts())
        for result in kernel.results:
            if result is None:
                continue
            if result in within:
                sizes[result] = size
                continue
            if result.given or result.kept or reads[result] > 1 or size > _LONGEST:
                result.held = result.held or kernel.name not in REPEATED
            sizes[result] = 1 if result.held else size


def _size(arg: Any, sizes: Mapping[Value, int]) -> int:
    """How long an argument is, in names and numbers."""
    if isinstance(arg, Value):
        return sizes.get(arg, 1)
    if isinstance(arg, Matrix):
        return sum(2 * len(p.blocks) for p in arg.products)
    return 2 if isinstance(arg, (Parameter, Rows, Heads)) else 1


# Kernels that are said again wherever they are read.
REPEATED = frozenset({"zeros"})
