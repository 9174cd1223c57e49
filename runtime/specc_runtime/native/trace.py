"""What straight-line code over rows does, operation by operation.

The code is run once, on a few rows, and every operation of torch that it comes to is noted, with the columns
of which tensors it reads and writes.

Assumes: the code does the same for any number of rows, and each row by itself but for products with matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Unknown(Exception):
    """Something that has no counterpart here."""


@dataclass(frozen=True)
class Place:
    """Columns start .. start + width of a tensor, by its number; `whole` where these are all of it."""

    tensor: int
    start: int
    width: int
    whole: bool


Operand = Place | float


@dataclass(frozen=True)
class Operation:
    """name: torch's, without the mark of one that writes over its input. options: what it is told by name.
    into: where the result is. fresh: whether that is a new tensor."""

    name: str
    operands: tuple[Operand, ...]
    options: dict[str, Any]
    into: Place
    fresh: bool

    @property
    def product(self) -> bool:
        """Whether it is one with a matrix."""
        return self.name in ("mm", "addmm")

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(x for x in (*self.operands, self.into) if isinstance(x, Place))


@dataclass(frozen=True)
class Trace:
    """The operations of code on tensors, which have numbers: first those that it was given, then those that
    it made. flat: the given ones that are the same for all rows, [w]. widths: of those that it made."""

    operations: tuple[Operation, ...]
    flat: frozenset[int]
    widths: dict[int, int]


class Recorder(TorchDispatchMode):
    """Notes what is done to the tensors given, and to those that are made of them."""

    def __init__(self, given: Sequence[Tensor | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tensors: list[Tensor | None] = list(given)
        self.numbers: dict[int, int] = {}
        self.widths: dict[int, int] = {}
        self.operations: list[Operation] = []
        self.flat = frozenset(i for i, x in enumerate(given) if x is not None and x.dim() == 1)
        for number, tensor in enumerate(given):
            if tensor is not None:
                # Where two of them share their memory, it is the first one's.
                self.numbers.setdefault(tensor.untyped_storage().data_ptr(), number)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Skipping would import torch._dynamo, which takes a second."""
        return False

    def run(self, code: Callable[[], Any]) -> Any:
        """What the code returns.

        Raises Unknown where it reads a tensor from elsewhere that is not a single number.
        """
        with torch.no_grad(), self:
            return code()

    @property
    def trace(self) -> Trace:
        return Trace(tuple(self.operations), self.flat, self.widths)

    def place(self, tensor: Tensor) -> Place:
        """Where a tensor lies."""
        number = self.numbers.get(tensor.untyped_storage().data_ptr())
        base = None if number is None else self.tensors[number]
        if number is None or base is None:
            raise Unknown("a tensor from elsewhere")
        if tensor.shape == base.shape and tensor.stride() == base.stride():
            return Place(number, 0, tensor.shape[-1], True)
        start = int(tensor.storage_offset() - base.storage_offset())
        columns = tensor.dim() == base.dim() == 2 and tensor.shape[0] == base.shape[0]
        if not columns or tensor.stride() != base.stride() or start + tensor.shape[1] > base.shape[1]:
            raise Unknown("a tensor that is no columns of another")
        return Place(number, start, tensor.shape[1], False)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        result = func(*args, **options)
        name = func.overloadpacket.__name__
        if not isinstance(result, Tensor):
            raise Unknown(f"the result of {name}")
        into = [options.pop(key) for key in ("out", "grad_input") if key in options]
        fresh = result.untyped_storage().data_ptr() not in self.numbers
        if not fresh and not into and not name.endswith("_"):
            return result  # a view
        operands = tuple(self._operand(x) for arg in args for x in (arg if isinstance(arg, list) else [arg]))
        if fresh:
            number = len(self.tensors)
            self.tensors.append(result)
            self.numbers[result.untyped_storage().data_ptr()] = number
            self.widths[number] = result.shape[-1]
        self.operations.append(
            Operation(name.removesuffix("_"), operands, options, self.place(result), fresh)
        )
        return result

    def _operand(self, value: Any) -> Operand:
        if isinstance(value, Tensor):
            elsewhere = value.untyped_storage().data_ptr() not in self.numbers
            return float(value) if value.dim() == 0 and elsewhere else self.place(value)
        if isinstance(value, bool | int | float):
            return float(value)
        raise Unknown(f"an operand {value!r}")
