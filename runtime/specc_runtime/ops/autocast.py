"""`torch.autocast` for functions of our own: they compute in single precision.

Their kernels write into each other's memory and need one dtype throughout. Matrix products around them are
lowered by torch as everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function

F = TypeVar("F", bound=type[Function])
_LOW = (torch.bfloat16, torch.float16)
# Read once at import, because torch.compile before torch 2.9 cannot trace this call.
_KINDS = frozenset(k for k in ("cpu", "cuda", "mps", "xpu", "hpu") if torch.amp.is_autocast_available(k))


def lowers(x: Tensor) -> bool:
    """Return whether autocast would lower the precision of computations on a value."""
    return _lowers(x.device.type)


def _lowers(kind: str) -> bool:
    return kind in _KINDS and torch.is_autocast_enabled(kind)


def in_single(function: F) -> F:
    """Return the autograd function with inputs cast to single precision and autocast off inside."""
    plain: Any = function
    forward, backward = plain.forward, plain.backward

    def forwards(ctx: Any, *given: Any) -> Any:
        kind = next((x.device.type for x in given if isinstance(x, Tensor)), "cpu")
        # Without autocast, a model computes in the dtype of its weights.
        ctx.raised = _lowers(kind)
        if not ctx.raised:
            return forward(ctx, *given)
        with torch.autocast(kind, enabled=False):
            return forward(ctx, *_raised(given))

    def backwards(ctx: Any, *given: Any) -> Any:
        # Backward runs outside of autocast; the upstream gradient has the dtype that autocast lowered to.
        return backward(ctx, *(_raised(given) if ctx.raised else given))

    plain.forward, plain.backward = staticmethod(forwards), staticmethod(backwards)
    return function


def _raised(given: Iterable[Any]) -> list[Any]:
    return [x.float() if isinstance(x, Tensor) and x.dtype in _LOW else x for x in given]
