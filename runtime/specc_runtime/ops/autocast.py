"""Under `torch.autocast`: what is computed by functions of our own is computed in single precision.

Their kernels write into each other's memory, and expect one type throughout. Products around them are lowered
by torch as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function

F = TypeVar("F", bound=type[Function])
_LOW = (torch.bfloat16, torch.float16)


def lowers(x: Tensor) -> bool:
    """Whether torch would lower what is computed of a value."""
    return torch.is_autocast_enabled(x.device.type)


def in_single(function: F) -> F:
    """Make a function of one's own take what torch has lowered, in single precision, and lower nothing."""
    plain: Any = function
    plain.forward = staticmethod(_apart(plain.forward))
    plain.backward = staticmethod(_apart(plain.backward))
    return function


def _apart(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(ctx: Any, *given: Any) -> Any:
        kind = next((x.device.type for x in given if isinstance(x, Tensor)), "cpu")
        raised = [x.float() if isinstance(x, Tensor) and x.dtype in _LOW else x for x in given]
        if not torch.is_autocast_enabled(kind):
            return method(ctx, *raised)
        with torch.autocast(kind, enabled=False):
            return method(ctx, *raised)

    return call
