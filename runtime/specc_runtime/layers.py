"""The modules that hold a compiled model's weights.

Promises: a module's parameters carry the leaf names of the spec's weight paths (weight, bias, scale,
shift, slope, running_mean, running_var); starting values follow the spec's initializers and are the
same for the same `torch.manual_seed`, also those of large tables, which are drawn later (see unfilled).
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from specc_runtime import ops, ranks, stale
from specc_runtime.devices import transfer
from specc_runtime.ops.autocast import in_single
from specc_runtime.starting import Init, Start, initialize
from specc_runtime.tracing import untraced
from specc_runtime.unfilled import are_bare, fill_later


def learned(*shape: int, init: Init) -> nn.Parameter:
    """A free parameter."""
    return nn.Parameter(initialize(torch.empty(*shape), init))


class Table(nn.Module):
    """An embedding table, weight [rows, width].

    `counts` [rows], how often each row occurs in the training data, is set by training; it is no
    weight and is not saved. `start`: of a table that was made without storage, what it would begin with.
    """

    counts: Tensor | None
    start: Start | None = None

    def __init__(self, rows: int, width: int, init: Init = ("normal", 0.01)) -> None:
        super().__init__()
        bare = are_bare()
        weight = self.weight = nn.Parameter(torch.empty(rows, width, device="meta" if bare else None))
        self.register_buffer("counts", None, persistent=False)
        if bare:
            self.start = Start.of(rows, width, init)
        elif weight.device.type != "cpu":
            initialize(weight, init)
        elif (start := Start.of(rows, width, init)).seed is None:
            start.fill(weight)
        else:
            fill_later(self, lambda: start.fill(weight))

    @untraced
    def penalty(self, *ids: Tensor) -> Tensor:
        """Sum of squares of the distinct rows that are named, a scalar."""
        rows, share = _distinct(ids, self.weight)
        squares = self.embedding(rows).square().sum(-1)
        return (squares if share is None else squares * share).sum()

    @untraced
    def penalty_by_frequency(self, *ids: Tensor) -> Tensor:
        """As `penalty`, each row's part divided by its count in the training data (DIN, eq. 6;
        by 1 where that is not known)."""
        rows, share = _distinct(ids, self.weight)
        squares = self.embedding(rows).square().sum(-1)
        squares = squares if share is None else squares * share
        if self.counts is not None:
            squares = squares / self.counts[rows].clamp(min=1).to(squares.dtype)
        return squares.sum()

    @untraced
    def penalty_of_all(self) -> Tensor:
        """Sum of squares of all rows, a scalar."""
        return self.whole().square().sum()

    @untraced
    def penalty_of_all_by_frequency(self) -> Tensor:
        """As `penalty_of_all`, each row's part divided by its count in the training data (by 1 where that is
        not known, or 0)."""
        squares = self.whole().square().sum(-1)
        if self.counts is not None:
            squares = squares / self.counts.clamp(min=1).to(squares.dtype)
        return squares.sum()

    def embedding(self, ids: Tensor) -> Tensor:
        """Return rows at ids, int64 [n]: [n, width]."""
        return ops.embed(self.weight, ids)

    def whole(self) -> Tensor:
        """The weight, of which every row is up to date."""
        stale.catch_up(self.weight)
        return self.weight

    # Whoever takes the weight as a whole through one of these gets it up to date.

    def train(self, mode: bool = True) -> Self:
        if not mode:
            self.whole()
        return super().train(mode)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.whole()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.whole()
        super()._load_from_state_dict(*args, **kwargs)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self.whole()
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        self.whole()
        return self.__dict__


def _distinct(ids: tuple[Tensor, ...], weight: Tensor) -> tuple[Tensor, Tensor | None]:
    """The distinct ids, and how much each counts, None where that is 1. On a device, which is not asked how
    many these are, all: the first of equal ones counts 1, the others 0. Of a batch in parts those of this
    part, so that the mean over parts is what the whole batch has."""
    every = torch.cat([transfer(i, weight.device).flatten() for i in ids])
    if weight.device.type == "cpu":
        rows: Tensor = torch.unique(every)
        return rows, _of_parts(rows, torch.ones_like(rows, dtype=weight.dtype))
    ordered = every.sort().values
    share = torch.ones_like(ordered, dtype=weight.dtype)
    share[1:] = ordered[1:] != ordered[:-1]
    shared = _of_parts(ordered, share)
    return ordered, share if shared is None else shared


def _of_parts(rows: Tensor, share: Tensor) -> Tensor | None:
    """Of what rows count, where a batch is in parts: times the parts, by how many of them name each row."""
    parts = ranks.several()
    if parts is None:
        return None
    named, order = ranks.gathered(rows).sort()
    counted = ranks.gathered(share.to(torch.int64)).index_select(0, order)
    until = torch.cat([counted.new_zeros(1), counted.cumsum(0)])
    found = until[torch.searchsorted(named, rows, right=True)] - until[torch.searchsorted(named, rows)]
    return share * parts.count / found.to(share.dtype)


class Counts(nn.Module):
    """How often each of some rows occurs in the training data, [rows]: 1 until it is known."""

    counts: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.ones(rows))


class Linear(nn.Module):
    """x W^T + b, weight [n, width]."""

    def __init__(
        self,
        width: int,
        n: int,
        bias: bool = True,
        init: Init = ("xavier",),
        bias_init: Init = ("zeros",),
    ) -> None:
        super().__init__()
        self.weight = learned(n, width, init=init)
        self.bias = learned(n, init=bias_init) if bias else None

    def forward(self, x: Tensor, then: str = "", slope: float = 0.0, in_c_from: int | None = None) -> Tensor:
        """As `ops.linear`, of the layer's own matrix and bias."""
        return ops.linear(x, self.weight, self.bias, then, slope, in_c_from)


class LayerNorm(nn.Module):
    """Layer normalisation over channels (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.scale = learned(width, init=("ones",))
        self.shift = learned(width, init=("zeros",))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.scale, self.shift, self.eps)


class Statistics(nn.Module):
    """Mean and variance of each channel over all examples and positions, and running ones.

    statistics: "running": in training the batch's (biased variance), which move the running ones by
        `momentum` (unbiased variance); else the running ones, as also for a batch of fewer than two
        values a channel. "batch": the batch's in evaluation too. "fixed": the running ones always,
        which stay as they are.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, eps: float, momentum: float, statistics: str = "running") -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.statistics = statistics
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def normalise(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        if ranks.several() is not None and self._follows():
            return self._together(flat).reshape(x.shape)
        if self.statistics == "batch" and not self.training and len(flat):
            variance, mean = torch.var_mean(flat, 0, correction=0)
            return (x - mean) / torch.sqrt(variance + self.eps)
        moving = self.training and len(flat) > 1 and self.statistics != "fixed"
        normal = F.batch_norm(
            flat, self.running_mean, self.running_var, None, None, moving, self.momentum, self.eps
        )
        return normal.reshape(x.shape)

    def _follows(self) -> bool:
        """Whether a batch's own statistics count."""
        return self.statistics == "batch" or (self.training and self.statistics == "running")

    def _together(self, flat: Tensor) -> Tensor:
        """Values [rows, width] normalised by the statistics of all parts of the batch."""
        given, flat = flat.dtype, flat.to(self.running_mean.dtype)
        number = flat.new_full((1,), len(flat))
        sums: Tensor = ranks.total(torch.cat([flat.sum(0), number]))
        count = sums[-1].detach()
        mean = sums[:-1] / count.clamp(min=1)
        variance = ranks.total((flat - mean).square().sum(0)) / count.clamp(min=1)
        enough = count > (1 if self.training else 0)
        if self.training:
            with torch.no_grad():
                unbiased = variance * (count / (count - 1).clamp(min=1))
                for held, now in ((self.running_mean, mean), (self.running_var, unbiased)):
                    held.copy_(torch.where(enough, held + self.momentum * (now - held), held))
        mean = torch.where(enough, mean, self.running_mean.clone())
        variance = torch.where(enough, variance, self.running_var.clone())
        return ((flat - mean) / torch.sqrt(variance + self.eps)).to(given)


class BatchNorm(Statistics):
    """Batch normalisation (Ioffe and Szegedy 2015), with scale and shift if `affine`."""

    def __init__(
        self, width: int, eps: float, momentum: float, statistics: str = "running", affine: bool = True
    ) -> None:
        super().__init__(width, eps, momentum, statistics)
        self.scale = learned(width, init=("ones",)) if affine else None
        self.shift = learned(width, init=("zeros",)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        normal = self.normalise(x)
        return normal if self.scale is None or self.shift is None else normal * self.scale + self.shift


class GroupedBatchNorm(nn.Module):
    """Batch normalisation in which each of several groups has statistics, scale and shift of its own.

    statistics: as those of `Statistics`, of each group by itself.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        groups: int,
        width: int,
        eps: float,
        momentum: float,
        statistics: str = "running",
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.statistics = statistics
        self.scale = learned(groups, width, init=("ones",)) if affine else None
        self.shift = learned(groups, width, init=("zeros",)) if affine else None
        self.register_buffer("running_mean", torch.zeros(groups, width))
        self.register_buffer("running_var", torch.ones(groups, width))

    def forward(self, x: Tensor, group: Tensor) -> Tensor:
        """x [..., width], group [..., 1]: the number of each vector's group, rounded down; what is beyond the
        first or the last group is of that one."""
        groups = len(self.running_mean)
        number = (
            group.detach().floor().clamp(0, groups - 1).to(torch.int64).expand(*x.shape[:-1], 1).reshape(-1)
        )
        flat = x.reshape(-1, x.shape[-1]).to(self.running_mean.dtype)
        mean, variance = self.running_mean, self.running_var
        if self.statistics == "batch" or (self.training and self.statistics == "running"):
            mean, variance = self._of_batch(flat, number)
        normal = (flat - mean[number]) / torch.sqrt(variance[number] + self.eps)
        if self.scale is not None and self.shift is not None:
            normal = normal * self.scale[number] + self.shift[number]
        return normal.to(x.dtype).reshape(x.shape)

    def _of_batch(self, flat: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and (biased) variance of each group, the running ones of those with too few vectors."""
        each = torch.arange(len(self.running_mean), device=flat.device)
        share = (number == each.unsqueeze(1)).to(flat.dtype)  # [groups, vectors]
        count = ranks.total(share.sum(1, keepdim=True))
        there = count.clamp(min=1)
        mean = ranks.total(share @ flat) / there
        variance = ranks.total(share @ (flat - mean[number]).square()) / there
        enough = count > (1 if self.training else 0)
        if self.training:
            with torch.no_grad():
                unbiased = variance * count / (count - 1).clamp(min=1)
                for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
                    running.copy_(torch.where(enough, torch.lerp(running, now, self.momentum), running))
        return torch.where(enough, mean, self.running_mean), torch.where(enough, variance, self.running_var)


@in_single
class _Gate(torch.autograd.Function):
    """(p + (1 - p) slope) x, of which the gradient keeps no more than it is given; first order only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, p, slope)
        return torch.addcmul(slope, p, 1 - slope).mul_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, p, slope = ctx.saved_tensors
        d_x = torch.addcmul(slope, p, 1 - slope).mul_(grad)
        d_gate = grad * x
        d_slope = (d_gate * (1 - p)).sum_to_size(slope.shape)
        return d_x, d_gate.mul_(1 - slope), d_slope


class Dice(Statistics):
    """p x + (1 - p) slope x, p = sigmoid of x normalised without scale and shift (DIN, eq. 8)."""

    def __init__(
        self,
        width: int,
        eps: float,
        momentum: float,
        statistics: str = "running",
        init: Init = ("zeros",),
    ) -> None:
        super().__init__(width, eps, momentum, statistics)
        self.slope = learned(width, init=init)

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = _Gate.apply(x, torch.sigmoid(self.normalise(x)), self.slope)  # type: ignore[no-untyped-call]
        return gated


class PReLU(nn.Module):
    """x where positive, else slope * x, one slope a channel (He et al. 2015)."""

    def __init__(self, width: int, init: Init = ("constant", 0.25)) -> None:
        super().__init__()
        self.slope = learned(width, init=init)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)
