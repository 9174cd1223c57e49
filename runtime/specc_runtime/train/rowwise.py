"""Optimizers that visit the rows of a table that a gradient names, and no others.

Promises: a gradient that names a row several times counts as their sum; a row that it does not name keeps
its weight and its state. The rules are torch's own (torch.optim.Adam, Adagrad, SGD), and so are the names of
their options and states. Dense gradients are taken as naming every row.

Rows are moved a few at a time: what is read of the table and of its state stays in the processor's cache
until it is written back, and no copy as large as a batch's rows is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from specc_runtime.ops import fields

# Numbers of each tensor that are moved at once on a CPU, as measured: many calls cost more than misses.
_PIECE = 2**16


class ByRow(Optimizer):
    """What the rules have in common.

    kept: the names of the states that are as large as the weight. `_start` makes them, `_move` changes
    rows of the weight, and of the states in this order, in place.
    """

    kept: ClassVar[tuple[str, ...]] = ()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._step(group, self.state[weight], weight, *summed(weight.grad))
        return loss

    def _step(
        self, group: dict[str, Any], state: dict[str, Any], weight: Tensor, rows: Tensor, grad: Tensor
    ) -> None:
        if not len(rows):
            return
        if not state:
            self._start(group, state, weight)
        if "step" in state:
            state["step"] += 1
        held = [weight, *(state[name] for name in self.kept)]
        if len(rows) == len(weight):
            self._move(group, state, grad, *held)
            return
        size = max(_PIECE // weight[0].numel(), 1) if weight.device.type == "cpu" else len(rows)
        pieces = [torch.empty_like(x[: min(size, len(rows))]) for x in held]
        for some, part in zip(rows.split(size), grad.split(size), strict=True):
            read = [
                torch.index_select(x, 0, some, out=p[: len(some)]) for x, p in zip(held, pieces, strict=True)
            ]
            self._move(group, state, part, *read)
            for x, moved in zip(held, read, strict=True):
                x.index_copy_(0, some, moved)

    def _start(self, group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> None:
        pass

    def _move(self, group: dict[str, Any], state: dict[str, Any], grad: Tensor, *held: Tensor) -> None:
        raise NotImplementedError


def summed(grad: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows of a gradient, ascending, and the sum of what it says for each: [rows], [rows, w]."""
    if not grad.is_sparse:
        return torch.arange(len(grad), device=grad.device), grad
    ids, values = grad._indices()[0], grad._values()
    # Autograd forgets that a gradient is coalesced where it hands it over.
    if grad.is_coalesced() or bool((ids[1:] > ids[:-1]).all()):
        return ids, values
    return fields.summed(ids, values)


class RowAdam(ByRow):
    """Adam (Kingma and Ba 2015). A row's moments decay only at the steps that name it."""

    kept = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def _start(self, group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> None:
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)

    def _move(self, group: dict[str, Any], state: dict[str, Any], grad: Tensor, *held: Tensor) -> None:
        weight, mean, square = held
        first, second = group["betas"]
        # What torch.optim.Adam(fused=True) does with a weight.
        torch._fused_adam_(
            [weight], [grad], [mean], [square], [], [state["step"].to(weight.device, torch.float32)],
            lr=float(group["lr"]), beta1=first, beta2=second, weight_decay=0.0, eps=group["eps"],
            amsgrad=False, maximize=False,
        )  # fmt: skip


class RowAdagrad(ByRow):
    """Adagrad (Duchi et al. 2011)."""

    kept = ("sum",)

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "initial": initial_accumulator_value}
        super().__init__(params, options)

    def _start(self, group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> None:
        state["step"] = torch.zeros(())
        state["sum"] = torch.full_like(weight, group["initial"])

    def _move(self, group: dict[str, Any], state: dict[str, Any], grad: Tensor, *held: Tensor) -> None:
        weight, total = held
        rate = float(group["lr"]) / (1 + (float(state["step"]) - 1) * group["lr_decay"])
        total.addcmul_(grad, grad)
        weight.addcdiv_(grad, total.sqrt().add_(group["eps"]), value=-rate)


class RowSGD(ByRow):
    """Stochastic gradient descent."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    def _move(self, group: dict[str, Any], state: dict[str, Any], grad: Tensor, *held: Tensor) -> None:
        held[0].add_(grad, alpha=-float(group["lr"]))
