"""Several processes that train one model, each with a part of every batch: who they are, and what they tell
each other.

Promises: while `together` holds, the loss, the statistics and the comparisons of a batch are those of all
parts joined, and the gradients of the processes are to be added up. Outside of it, and where there is one
process, nothing here does anything. A process that is gone is a RankLost, which is told in a sentence.
Nothing is pickled: what goes from one process to another is tensors and text.
Leaves to others: reading parts of batches (data), adding up gradients (train).
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from specc_runtime import devices
from specc_runtime.frozen import dataclass

T = TypeVar("T")
# One process may read all the data while the others wait; what is gone is noticed by its connection.
_LONGEST = timedelta(days=7)
_TOLD = "told"


class RankLost(RuntimeError):
    """Another process of this training has ended, or this one is to end with it."""


class InParts(ValueError):
    """A model that cannot learn from batches of which each process has a part. The message says why."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """The processes of a training. number: this one's, from 0. count: how many there are. here: how many of
    them are on this machine. store: where they leave notes for each other, which needs none of them."""

    number: int
    count: int
    here: int
    store: Any = field(repr=False)
    by_host: bool = False  # whether the backend moves tensors of the host alone

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.number == 0

    def check(self, model: nn.Module) -> None:
        """Raises DeviceError where a weight is on an accelerator that is another process's."""
        own = devices.preferred()
        others = {
            str(w.device) for w in model.parameters() if w.device.type != "cpu" and w.device.index != own
        }
        if others:
            raise devices.DeviceError(
                f"{', '.join(sorted(others))} would be that of every process, and this one's own is number "
                f"{own}: use `--device auto`, or a name without a number, so that each process has its own"
            )

    # ------------------------------------------------------------- tensors

    def reduced(self, x: Tensor) -> Tensor:
        """The sum of a tensor of one shape over all processes, the same on each."""
        # The strides of one process are not those of another, and memory is what is added up.
        moved = torch.empty(x.shape, dtype=x.dtype, device=self._carrier(x)).copy_(x.detach())
        _called(lambda: _dist().all_reduce(moved))
        return moved.to(x.device)

    def given(self, x: Tensor) -> None:
        """Give a tensor, in place, the values that it has in the first process."""
        moved = x.detach().to(self._carrier(x)).contiguous()
        _called(lambda: _dist().broadcast(moved, 0))
        if not self.first and moved.data_ptr() != x.data_ptr():
            x.detach().copy_(moved)

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors, in place, the values that they have in the first process."""
        for x in tensors:
            self.given(x)

    def each(self, x: Tensor) -> list[Tensor]:
        """The tensors of one shape that the processes have, in their order."""
        moved = x.detach().to(self._carrier(x)).contiguous()
        found = [torch.empty_like(moved) for _ in range(self.count)]
        _called(lambda: _dist().all_gather(found, moved))
        return [part.to(x.device) for part in found]

    def numbers(self, *own: int) -> list[list[int]]:
        """What each process says of some numbers."""
        return [part.tolist() for part in self.each(torch.tensor(own, dtype=torch.int64, device="cpu"))]

    def parts(self, x: Tensor) -> list[Tensor]:
        """The tensors that the processes have, which differ in the first dimension alone, in their order."""
        sizes = [size for (size,) in self.numbers(len(x))]
        padded = x.new_zeros(max(sizes), *x.shape[1:])
        padded[: len(x)] = x.detach()
        return [part[:size] for part, size in zip(self.each(padded), sizes, strict=True)]

    def _carrier(self, x: Tensor) -> torch.device:
        return torch.device("cpu") if self.by_host else x.device

    # ------------------------------------------------------------- text and files

    def say(self, value: Any = None) -> Any:
        """What the first process says: anything that JSON has."""
        data = json.dumps(value).encode() if self.first else b""
        return json.loads(self._bytes(data))

    def said(self, value: Any) -> list[Any]:
        """What each process says: anything that JSON has."""
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        return [json.loads(part.numpy().tobytes()) for part in self.parts(data)]

    def folder(self, fill: Callable[[Path], None], use: Callable[[Path], T]) -> T:
        """What `use` makes of a folder that the first process has filled, on every process but the first, and
        on that one, too."""
        with tempfile.TemporaryDirectory(prefix="specc-ranks-") as place:
            folder = Path(place)
            if self.first:
                fill(folder)
            names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
            for name in self.say(names):
                data = self._bytes((folder / name).read_bytes() if self.first else b"")
                if not self.first:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(data)
            return use(folder)

    def _bytes(self, data: bytes) -> bytes:
        size = torch.tensor([len(data)], device="cpu")
        self.given(size)
        held = torch.empty(int(size), dtype=torch.uint8, device="cpu")
        if self.first and data:
            held.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self.given(held)
        return held.numpy().tobytes()

    # ------------------------------------------------------------- faults

    def claim(self, patience: float = 0.0) -> bool:
        """Whether this process is the one that tells why training ends. patience: for so many seconds
        another may be first to."""
        end = time.monotonic() + patience
        try:
            while time.monotonic() < end:
                if self.store.add(_TOLD, 0) > 0:
                    return False
                time.sleep(0.05)
            return bool(self.store.add(_TOLD, 1) == 1)
        except RuntimeError:  # who keeps the notes is gone
            return self.first


def started() -> tuple[int, int] | None:
    """The number of this process and how many there are, where `torchrun` (or what sets the same variables)
    has started several; else None."""
    try:
        number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return None
    return (number, count) if count > 1 and "MASTER_ADDR" in os.environ else None


_now: Ranks | None = None
_together = False


@contextmanager
def joined() -> Iterator[Ranks | None]:
    """Join the processes that torchrun has started; None where it has started no others. An accelerator that
    is named without a number is this process's own. Raises RankLost."""
    global _now
    own = started()
    if own is None:
        yield None
        return
    number, count = own
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    found = torch.accelerator.current_accelerator(check_available=True)
    several = torch.accelerator.device_count() if found is not None else 0
    enough = several >= here
    if found is not None:
        index = int(os.environ.get("LOCAL_RANK", number)) % several
        devices.prefer(index)
        torch.accelerator.set_device_index(index)
    backend = f"cpu:gloo,{found.type}:nccl" if found is not None and enough else "gloo"
    dist = _dist()
    store, _, _ = _called(lambda: next(iter(dist.rendezvous("env://", timeout=timedelta(minutes=5)))))
    _called(
        lambda: dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=_LONGEST)
    )
    notes = dist.PrefixStore("arec", store)
    _now = Ranks(number, count, here, notes, by_host=found is not None and not enough)
    try:
        yield _now
        dist.destroy_process_group()
    finally:
        _now = None
        devices.prefer(None)


def now() -> Ranks | None:
    """The processes that this one has joined."""
    return _now


@contextmanager
def apart() -> Iterator[None]:
    """Let this process be for itself alone, as if it had joined no other."""
    global _now
    before, _now = _now, None
    try:
        yield
    finally:
        _now = before


@contextmanager
def together(on: bool = True) -> Iterator[None]:
    """Take the batches of all processes for one; or, within that, each for itself again."""
    global _together
    before, _together = _together, on and _now is not None
    try:
        yield
    finally:
        _together = before


def several() -> Ranks | None:
    """The processes whose batches are parts of one now; None where a batch is whole."""
    return _now if _together else None


# ------------------------------------------------------------------ what a batch has in common


def total(x: Tensor) -> Tensor:
    """The sum over the parts of a batch of what each has, of one shape, with its gradient."""
    ranks = several()
    if ranks is None:
        return x
    if not x.is_floating_point():
        return ranks.reduced(x)
    found: Tensor = _Total.apply(x, ranks)  # type: ignore[no-untyped-call]
    return found


def gathered(x: Tensor) -> Tensor:
    """The rows [n, ...] of all parts of a batch, in order, with their gradient."""
    ranks = several()
    if ranks is None:
        return x
    if not x.is_floating_point():
        return torch.cat(ranks.parts(x))
    found: Tensor = _Gathered.apply(x, ranks)  # type: ignore[no-untyped-call]
    return found


def before(count: int) -> tuple[int, int]:
    """Of `count` rows of this part how many rows the parts before it have, and how many all have."""
    ranks = several()
    if ranks is None:
        return 0, count
    sizes = [size for (size,) in ranks.numbers(count)]
    return sum(sizes[: ranks.number]), sum(sizes)


def whole(does: str) -> None:
    """Refuse a batch in parts. does: what the model does with it, in words. Raises InParts."""
    if several() is not None:
        raise InParts(
            f"the model {does}, which needs the whole batch in one process: train it without torchrun, or "
            "with --nproc-per-node 1"
        )


def drawn(draw: Callable[[], Tensor]) -> Tensor:
    """Numbers that are drawn once for a whole batch: those of the first process."""
    found, ranks = draw(), several()
    if ranks is not None:
        ranks.given(found)
    return found


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.reduced(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.reduced(grad), None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:
        parts = ranks.parts(x)
        begin = sum(len(part) for part in parts[: ranks.number])
        ctx.ranks, ctx.own = ranks, slice(begin, begin + len(x))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.reduced(grad)[ctx.own], None


def _dist() -> Any:
    import torch.distributed

    return torch.distributed


def _called(what: Callable[[], T]) -> T:
    try:
        return what()
    except RuntimeError as error:
        raise _lost(error) from None


def _lost(error: BaseException) -> RankLost:
    return RankLost(f"another process of this training has ended ({str(error).partition(chr(10))[0][:200]})")


# ------------------------------------------------------------------ exchanges that others make


@contextmanager
def heard() -> Iterator[None]:
    """Raise RankLost where a library's exchange fails as another process is gone."""
    try:
        yield
    except RankLost:
        raise
    except Exception as error:
        found = next((cause for cause in causes(error) if _is_lost(cause)), None)
        if found is None:
            raise
        raise _lost(found) from None


def is_lost(error: BaseException) -> bool:
    """Whether a failure is that another process is gone."""
    return any(_is_lost(cause) for cause in causes(error))


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, RankLost | _dist().DistError):
        return True
    words = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def causes(error: BaseException) -> list[BaseException]:
    """A failure, and those that it wraps: of torch.distributed.checkpoint one of each process."""
    found = [error]
    for wrapping in found:
        inner = [wrapped[0] for wrapped in getattr(wrapping, "failures", {}).values()]
        inner += [e for e in (wrapping.__cause__, wrapping.__context__) if e is not None]
        found += [e for e in inner if all(e is not known for known in found)]
    return found
