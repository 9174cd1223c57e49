"""Operations that torch does not translate to ONNX, or wrongly where numbers are extreme, in ONNX's.

Promises: what PyTorch gives, for every finite number. In torch's, `log(sigmoid(x))` is -inf below -17,
`log(1 + x)` is 0 below 6e-8, `atan2(0, x)` is -pi where x is below 0, and remainders are off where the
quotient is beyond the digits, or below them. Of equal numbers a sort has the earlier first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """By operation of PyTorch what computes it, for `torch.onnx.export`."""
    from onnxscript import opset20

    op: Any = opset20

    def like(value: float, x: Any) -> Any:
        return op.CastLike(op.Constant(value_float=value), x)

    def log1p(x: Any) -> Any:
        """log(1 + x), by the quotient of two errors that cancel (Goldberg 1991, theorem 4)."""
        one = like(1, x)
        whole = op.Add(x, one)
        large = op.Div(op.Mul(op.Log(whole), x), op.Sub(whole, one))
        return op.Where(op.Equal(whole, one), x, large)

    def log_sigmoid(x: Any) -> Any:
        return op.Sub(op.Min(x, like(0, x)), log1p(op.Exp(op.Neg(op.Abs(x)))))

    def below(x: Any) -> Any:
        """Whether the sign of x is that of -1, which -0 has."""
        zero = like(0, x)
        return op.Less(op.Where(op.Equal(x, zero), op.Div(like(1, x), x), x), zero)

    def atan2(y: Any, x: Any) -> Any:
        zero, turn = like(0, x), like(math.pi, x)
        nowhere = op.And(op.Equal(y, zero), op.Equal(x, zero))
        angle = op.Where(nowhere, y, op.Atan(op.Div(y, x)))
        return op.Where(below(x), op.Add(angle, op.Where(below(y), op.Neg(turn), turn)), angle)

    def remainder(a: Any, b: Any) -> Any:
        """As C++ has it in PyTorch: exact, and with the sign of b."""
        b = op.CastLike(b, a)
        zero = like(0, a)
        rest = op.Mod(a, b, fmod=1)
        other = op.And(op.Not(op.Equal(rest, zero)), op.Xor(op.Less(rest, zero), op.Less(b, zero)))
        return op.Where(other, op.Add(rest, b), rest)

    def sort(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        size = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))
        return op.TopK(x, size, axis=dim, largest=int(descending))

    aten = torch.ops.aten
    return {
        aten.log1p.default: log1p,
        aten.log_sigmoid.default: log_sigmoid,
        aten.atan2.default: atan2,
        aten.remainder.Tensor: remainder,
        aten.remainder.Scalar: remainder,
        aten.sort.stable: sort,
    }
