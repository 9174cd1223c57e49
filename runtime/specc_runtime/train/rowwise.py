"""Optimizers that visit the rows of a table that a gradient names, and no others.

Promises: a gradient that names a row several times counts as their sum; a row that it does not name keeps
its weight and its state. The rules are torch's own (torch.optim.Adam, Adagrad, SGD), and so are the names of
their options and states. Dense gradients are taken as naming every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer


class ByRow(Optimizer):
    """What the rules have in common. `_move` changes some rows of a weight by their gradients."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        rows, grad = summed(weight.grad)
                        if len(rows):
                            self._move(group, self.state[weight], weight, rows, grad)
        return loss

    def _move(
        self, group: dict[str, Any], state: dict[str, Any], weight: Tensor, rows: Tensor, grad: Tensor
    ) -> None:
        raise NotImplementedError


def summed(grad: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows of a gradient, ascending, and the sum of what it says for each: [rows], [rows, w]."""
    if not grad.is_sparse:
        return torch.arange(len(grad), device=grad.device), grad
    ids, values = grad._indices()[0], grad._values()
    if grad.is_coalesced() or not len(ids):
        return ids, values
    ids, order = ids.sort()
    rows, counts = torch.unique_consecutive(ids, return_counts=True)
    return rows, F.embedding_bag(order, values, counts.cumsum(0) - counts, mode="sum")


class RowAdam(ByRow):
    """Adam (Kingma and Ba 2015). A row's moments decay only at the steps that name it."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def _move(
        self, group: dict[str, Any], state: dict[str, Any], weight: Tensor, rows: Tensor, grad: Tensor
    ) -> None:
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        step, (first, second) = int(state["step"]), group["betas"]
        mean = state["exp_avg"].index_select(0, rows).lerp_(grad, 1 - first)
        square = state["exp_avg_sq"].index_select(0, rows).mul_(second)
        square.addcmul_(grad, grad, value=1 - second)
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        scale = square.sqrt_().div_((1 - second**step) ** 0.5).add_(group["eps"])
        weight.index_add_(0, rows, mean.div_(scale), alpha=-float(group["lr"]) / (1 - first**step))


class RowAdagrad(ByRow):
    """Adagrad (Duchi et al. 2011)."""

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

    def _move(
        self, group: dict[str, Any], state: dict[str, Any], weight: Tensor, rows: Tensor, grad: Tensor
    ) -> None:
        if not state:
            state["step"] = torch.zeros(())
            state["sum"] = torch.full_like(weight, group["initial"])
        state["step"] += 1
        rate = float(group["lr"]) / (1 + (float(state["step"]) - 1) * group["lr_decay"])
        total = state["sum"].index_select(0, rows).addcmul_(grad, grad)
        state["sum"].index_copy_(0, rows, total)
        weight.index_add_(0, rows, grad / total.sqrt_().add_(group["eps"]), alpha=-rate)


class RowSGD(ByRow):
    """Stochastic gradient descent."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    def _move(
        self, group: dict[str, Any], state: dict[str, Any], weight: Tensor, rows: Tensor, grad: Tensor
    ) -> None:
        weight.index_add_(0, rows, grad, alpha=-float(group["lr"]))
