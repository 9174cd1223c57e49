"""Devices without the hardware: tensors in main memory that are tagged with the device they stand for.

    with VirtualDevices() as machine:
        model.place({"host": "cpu", "dense": "meta:0", "other": "meta:1"})
        machine.moves.clear()
        model.loss(batch).backward()
    machine.moves  # what went from where to where, forward and back

Promises: results and gradients are those of the CPU, bit by bit. `meta:0`, `meta:1`, … are devices, beside
the CPU; a tensor's `device` is the one it is tagged with. An operation that sees two of them raises
MixedDevices, as a GPU would (and numbers on the CPU may meet anything, as there). Every move is recorded,
also those of gradients, and those that no `transfer` asked for; and every read: what Python, or the shape of
a result, takes from the values of a tensor that is not on the CPU, for which the host waits.
Leaves to others: which moves there should be (passes/placement).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_stack
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

CPU = torch.device("cpu")
_DEVICE: Any = torch.Tensor.device.__get__
_IS_CPU: Any = vars(torch._C.TensorBase)["is_cpu"].__get__
_COPIES = frozenset({"aten::copy_", "aten::_to_copy"})

# What gives Python the values of a tensor, and is no operation; int(), bool() and the like end in one.
_VALUES = frozenset({"tolist", "numpy", "__array__", "__dlpack__", "data_ptr"})
# Operations that give Python a value, or whose result has as many rows as values say.
_SHAPES = frozenset(
    {
        "aten::_coalesce", "aten::_local_scalar_dense", "aten::_unique2", "aten::argwhere", "aten::equal",
        "aten::is_nonzero", "aten::masked_select", "aten::nonzero", "aten::nonzero_numpy",
        "aten::unique_consecutive", "aten::unique_dim", "aten::unique_dim_consecutive",
    }
)  # fmt: skip


class MixedDevices(AssertionError):
    """An operation whose inputs are on several devices."""


@dataclass(frozen=True)
class Moved:
    """A value that went to another device. back: as a gradient."""

    origin: torch.device
    destination: torch.device
    shape: tuple[int, ...]
    dtype: torch.dtype
    back: bool

    @property
    def bytes(self) -> int:
        number = self.dtype.itemsize
        for size in self.shape:
            number *= size
        return number


@dataclass(frozen=True)
class Read:
    """Values of a device that the host waited for. what: the operation; where: the innermost lines of the
    runtime that asked, the innermost first; numbers: how many."""

    what: str
    numbers: int
    where: tuple[str, ...]


class VirtualDevices:
    """A machine with virtual devices, while it is entered. moves: everything that moved so far; reads:
    everything that the host waited for."""

    def __init__(self) -> None:
        self.moves: list[Moved] = []
        self.reads: list[Read] = []
        self.within_one = False  # within a function of torch's own that makes tensors beside its inputs
        self._tags: dict[int, tuple[StorageWeakRef, torch.device | None]] = {}
        self._modes: Sequence[Any] = (_Operations(self), _Attributes(self))

    def __enter__(self) -> VirtualDevices:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *fault: object) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*fault)

    def device(self, x: Tensor) -> torch.device:
        """Return the device that a tensor stands on; a view stands where its base does."""
        return self.known(x) or CPU

    def known(self, x: Tensor) -> torch.device | None:
        """Return None for zeros that a derivative made: they are where they are first used."""
        if x.layout != torch.strided:
            return self.known(x._indices())
        storage = x.untyped_storage()
        _, device = self._tags.get(storage._cdata, (None, CPU))
        return device

    def tag(self, x: Tensor, device: torch.device | None) -> Tensor:
        if x.layout != torch.strided:
            for part in (x._indices(), x._values()):
                self.tag(part, device)
        else:
            storage = x.untyped_storage()
            # The weak reference keeps the address from being given to another tensor.
            self._tags[storage._cdata] = (StorageWeakRef(storage), device)
        return x

    def move(self, x: Tensor, destination: torch.device, back: bool = False) -> Tensor:
        origin = self.device(x)
        if origin == destination:
            return x
        self.moves.append(Moved(origin, destination, tuple(x.shape), x.dtype, back))
        return self.tag(x.clone(), destination)

    def read(self, what: str, x: Tensor) -> None:
        """Note that the host takes the values of a tensor, if a device has them."""
        if (self.known(x) or CPU) != CPU:
            self.reads.append(Read(what, x.numel(), _callers()))


def _callers() -> tuple[str, ...]:
    """Return the lines of the runtime that are being run, innermost first."""
    lines = [
        f"{Path(f.filename).name}:{f.lineno} {f.line}"
        for f in extract_stack()
        if "specc_runtime" in f.filename
    ]
    return tuple(reversed(lines))[:4]


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, machine: VirtualDevices, destination: torch.device) -> Tensor:
        ctx.machine, ctx.origin = machine, machine.device(x)
        return machine.move(x, destination)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.machine.move(grad, ctx.origin, back=True), None, None


class _Attributes(TorchFunctionMode):
    """What a tensor says of its device, and how it is asked to go to another."""

    def __init__(self, machine: VirtualDevices) -> None:
        super().__init__()
        self._machine = machine

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func == _DEVICE:
            return self._machine.device(args[0])
        if func == _IS_CPU:
            return self._machine.device(args[0]) == CPU
        if getattr(func, "__name__", "") in _VALUES and isinstance(args[0], Tensor):
            self._machine.read(func.__name__, args[0])
            return func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor) and (device := kwargs.pop("device", None)) is not None:
            # torch makes these for `meta` itself, without values.
            return self._machine.tag(func(*args, **kwargs), torch.device(device))
        if func is torch.Tensor.cpu:
            func, args = torch.Tensor.to, (*args, CPU)
        if func is torch.Tensor.to:
            return self._to(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            # Its masks are made where it sees its inputs: on the main memory that they really are in.
            self._machine.within_one = True
            try:
                return func(*args, **kwargs)
            finally:
                self._machine.within_one = False
        if func is torch.Tensor.backward:
            # A mode is off while it handles a call; what runs within this one asks for devices too.
            with self:
                return _backward(*args, **kwargs)
        return func(*args, **kwargs)

    def _to(self, x: Tensor, *wanted: Any, **options: Any) -> Tensor:
        device, dtype = options.get("device"), options.get("dtype")
        for item in (*wanted, options.get("other")):
            if isinstance(item, Tensor):
                device, dtype = self._machine.device(item), item.dtype
            elif isinstance(item, torch.dtype):
                dtype = item
            elif isinstance(item, str | torch.device):
                device = item
        if device is not None and torch.device(device) != self._machine.device(x):
            moved: Any = _Move.apply(x, self._machine, torch.device(device))  # type: ignore[no-untyped-call]
            x = moved
        return x if dtype is None else torch.Tensor.to(x, dtype)


def _backward(x: Tensor, gradient: Tensor | None = None, *options: Any, **named: Any) -> None:
    torch.autograd.backward(x, gradient, *options, **named)


class _Operations(TorchDispatchMode):
    """What every operation sees, and where its results are."""

    def __init__(self, machine: VirtualDevices) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._machine = machine

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        wanted = kwargs.get("device")
        if wanted is not None:
            wanted = torch.device(wanted)
            kwargs["device"] = CPU
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = [(x, device) for x in tensors if (device := self._machine.known(x)) is not None]
        # A number on the CPU goes along with any operation.
        devices = {device for x, device in there if device != CPU or x.dim()} or {d for _, d in there}
        if len(devices) > 1:
            if func.name().split(".")[0] not in _COPIES:
                shapes = ", ".join(f"{tuple(x.shape)} on {device}" for x, device in there)
                raise MixedDevices(f"{func} sees {shapes}")
            target, source = self._machine.device(args[0]), self._machine.device(args[1])
            self._machine.moves.append(Moved(source, target, tuple(args[1].shape), args[1].dtype, False))
            devices = {target}
        self._note_reads(func.name().split(".")[0], args, kwargs, tensors)
        result = func(*args, **kwargs)
        back = self._machine.within_one or _going_back()
        if wanted is None or (back and wanted == CPU):
            device = next(iter(devices), None if back else CPU)
        else:
            device = wanted
        return tree_map_only(Tensor, lambda x: self._machine.tag(x, device), result)

    def _note_reads(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: Sequence[Tensor]
    ) -> None:
        by_values = name in _SHAPES
        if name in ("aten::index", "aten::index_put", "aten::index_put_"):
            # A mask says by its values how many rows there are.
            by_values = any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
        elif name == "aten::repeat_interleave":
            by_values = kwargs.get("output_size") is None
        if by_values and tensors:
            self._machine.read(name.removeprefix("aten::"), tensors[0])


def _going_back() -> bool:
    """Return whether derivatives are computed: torch's own make zeros by the device that they see."""
    return bool(torch._C._current_graph_task_id() != -1)
