"""The numbers that weights begin with.

Promises: they follow the spec's initializers and are the same for the same `torch.manual_seed`, whether a
table draws them when it is made, later (see unfilled), or a piece at a time where it is kept elsewhere
(fetched).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from specc_runtime.frozen import dataclass

Init = tuple[Any, ...]
# From this many numbers on, 1 MB in single precision, a table draws starting values when it is first read.
LATER = 2**18


def initialize(weight: Tensor, init: Init, generator: torch.Generator | None = None) -> Tensor:
    """Fill a tensor with starting values, random ones from a generator or else from torch's own.

    init: ("normal", std), ("uniform", a) in [-a, a], ("xavier",) (Glorot and Bengio 2010, uniform),
    ("he",) (He et al. 2015, normal, for relu), ("zeros",), ("ones",), ("identity",) (1 where row and
    column agree, else 0), ("constant", c), ("values", …), all of them in order, or ("sinusoid",), sines and
    cosines of each position (Vaswani et al. 2017, section 3.5). For xavier and he a weight is (..., out, in).
    """
    if weight.is_meta:
        return weight  # it has no values, and is about to be replaced by one that has
    with torch.no_grad():
        match init:
            case ("normal", std):
                return weight.normal_(0.0, std, generator=generator)
            case ("uniform", a):
                return weight.uniform_(-a, a, generator=generator)
            case ("xavier",):
                limit = math.sqrt(6.0 / max(sum(_fans(weight)), 1))
                return weight.uniform_(-limit, limit, generator=generator)
            case ("he",):
                return weight.normal_(0.0, math.sqrt(2.0 / max(_fans(weight)[1], 1)), generator=generator)
            case ("zeros",):
                return weight.zero_()
            case ("ones",):
                return weight.fill_(1.0)
            case ("identity",):
                return weight.copy_(torch.eye(weight.shape[-2], weight.shape[-1]))
            case ("constant", value):
                return weight.fill_(value)
            case ("values", *values):
                return weight.copy_(torch.tensor(values, dtype=weight.dtype).reshape(weight.shape))
            case ("sinusoid",):
                return weight.copy_(_sinusoid(weight.shape[-2], weight.shape[-1]))
    raise ValueError(f"there is no initializer {init[0]!r}")


def _sinusoid(positions: int, width: int) -> Tensor:
    """[positions, width]: sin and cos, by turns, of the position over 10000 ^ (2 i / width)."""
    rates = 10_000.0 ** (torch.arange(0, width, 2, dtype=torch.float64) / -width)
    angles = torch.arange(positions, dtype=torch.float64).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


def _fans(weight: Tensor) -> tuple[int, int]:
    """(out, in) of a weight; for a vector both are its size."""
    return (weight.shape[-2] if weight.dim() > 1 else weight.shape[-1]), weight.shape[-1]


_DRAWN = ("normal", "uniform", "xavier", "he")


@dataclass(frozen=True, eq=False)
class Start:
    """The starting values of a table [rows, width]. seed: from which they are drawn; None where nothing is.
    values: these, where they were drawn already."""

    rows: int
    width: int
    init: Init
    seed: int | None = None
    values: Tensor | None = None

    @staticmethod
    def of(rows: int, width: int, init: Init) -> Start:
        """Draw from torch's generator what decides them: of a small table the values, of a large one a
        seed."""
        if init[0] not in _DRAWN:
            return Start(rows, width, init)
        if rows * width < LATER:
            return Start(rows, width, init, values=initialize(torch.empty(rows, width), init))
        return Start(rows, width, init, seed=int(torch.randint(2**62, (), device="cpu")))

    def fill(self, weight: Tensor) -> Tensor:
        """Give a tensor on the CPU the values."""
        if self.values is not None:
            with torch.no_grad():
                return weight.copy_(self.values)
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        return initialize(weight, self.init, generator)

    def pieces(self, size: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the values a piece at a time, each with its first row, of at least so many rows; the tensor
        is the next piece's memory, too. They are the same whatever the size."""
        if self.seed is None and (
            self.values is not None or self.init[0] not in ("zeros", "ones", "constant")
        ):
            yield 0, self.fill(torch.empty(self.rows, self.width))
            return
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        init = _of_each_number(self.init, self.rows, self.width)
        # Normal numbers are drawn 16 at a time, the last ones of a tensor anew.
        size = max(-(-size // 16) * 16, 16)
        ends = [*range(size, self.rows - size + 1, size), self.rows]
        piece = torch.empty(min(2 * size, self.rows), self.width)
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            yield begin, initialize(piece[: end - begin], init, generator)


def _of_each_number(init: Init, rows: int, width: int) -> Init:
    """An initializer that does not ask for the shape of what it fills."""
    out, into = _fans(torch.empty(rows, width, device="meta"))
    match init:
        case ("xavier",):
            return "uniform", math.sqrt(6.0 / max(out + into, 1))
        case ("he",):
            return "normal", math.sqrt(2.0 / max(into, 1))
    return init
