"""Under `torch.autocast`: what is computed by functions of our own is computed in single precision.

Their kernels write into each other's memory, and expect one type throughout. Products around them are lowered
by torch as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function

F = TypeVar("F", bound=type[Function])
_LOW = (torch.bfloat16, torch.float16)
# Asked once, as torch.compile before torch 2.9 cannot trace the question.
_KINDS = frozenset(k for k in ("cpu", "cuda", "mps", "xpu", "hpu") if torch.amp.is_autocast_available(k))


def lowers(x: Tensor) -> bool:
    """Whether torch would lower what is computed of a value."""
    return _lowers(x.device.type)


def _lowers(kind: str) -> bool:
    return kind in _KINDS and torch.is_autocast_enabled(kind)


def in_single(function: F) -> F:
    """Make a function of one's own take what torch has lowered, in single precision, and lower nothing."""
    plain: Any = function
    forward, backward = plain.forward, plain.backward

    def forwards(ctx: Any, *given: Any) -> Any:
        kind = next((x.device.type for x in given if isinstance(x, Tensor)), "cpu")
        # Without autocast a model that was made of another type computes in that.
        ctx.raised = _lowers(kind)
        if not ctx.raised:
            return forward(ctx, *given)
        with torch.autocast(kind, enabled=False):
            return forward(ctx, *_raised(given))

    def backwards(ctx: Any, *given: Any) -> Any:
        # Gradients come outside of autocast, in what it lowered to.
        return backward(ctx, *(_raised(given) if ctx.raised else given))

    plain.forward, plain.backward = staticmethod(forwards), staticmethod(backwards)
    return function


def _raised(given: Iterable[Any]) -> list[Any]:
    return [x.float() if isinstance(x, Tensor) and x.dtype in _LOW else x for x in given]
