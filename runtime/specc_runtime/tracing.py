"""What `torch.compile` may look into, and what it runs as it is.

How many rows there are, and how they are grouped, differs from batch to batch: what decides by such numbers
in Python is not traced, or each batch would be compiled anew. Promises: nothing here costs anything, nor is
torch._dynamo imported (which takes a second), where nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Generic, TypeVar, overload

from torch import Tensor
from torch._C._dynamo import eval_frame

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
_SKIPPED = eval_frame._FrameExecStrategy(eval_frame._FrameAction.SKIP, eval_frame._FrameAction.SKIP)


def untraced(function: F) -> F:
    """Mark a function: neither it nor what it calls is traced. As `torch.compiler.disable`."""
    assert isinstance(function, FunctionType)
    marked: Any = function
    marked._torchdynamo_disable = True
    marked._torchdynamo_disable_msg = "what it does depends on the lengths in a batch"
    eval_frame.set_code_exec_strategy(function.__code__, _SKIPPED)
    return function


@untraced
def number(value: Tensor) -> int:
    """A whole number that a tensor holds."""
    return int(value)


class once(Generic[T]):
    """As `functools.cached_property`, whose lock in Python 3.11 cannot be traced."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> once[T] | T:
        if instance is None:
            return self
        value = self.compute(instance)
        instance.__dict__[self.name] = value
        return value
