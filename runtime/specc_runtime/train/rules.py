"""The rules by row: what a step does to a row that it names, and to those that it does not.

Sources: torch.optim, whose arithmetic and names of options and states these have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from specc_runtime.devices import transfer
from specc_runtime.train.rowwise import ByRow
from specc_runtime.train.skipped import History, Linear, Moments


class RowAdam(ByRow):
    """Adam (Kingma and Ba 2015)."""

    name = "adam"
    kept = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        rows: str = "exact",
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options, rows)

    def _numbers(self, group: dict[str, Any], step: int) -> tuple[float, ...] | None:
        if self.name == "adam" and group["weight_decay"]:
            return None  # coupled decay is torch's alone
        lr, (first, second) = float(group["lr"]), group["betas"]
        rate, root = lr / (1 - first**step), math.sqrt(1 - second**step)
        return first, second, group["eps"], rate, root, 1 - lr * group["weight_decay"]

    def _move(self, group: dict[str, Any], step: Tensor, grad: Tensor, *held: Tensor) -> None:
        weight, mean, square = held
        first, second = group["betas"]
        # What torch.optim's fused ones do with a weight.
        fused = torch._fused_adam_ if self.name == "adam" else torch._fused_adamw_
        fused(
            [weight], [grad], [mean], [square], [], [transfer(step.to(torch.float32), weight.device)],
            lr=float(group["lr"]), beta1=first, beta2=second, weight_decay=group["weight_decay"],
            eps=group["eps"], amsgrad=False, maximize=False,
        )  # fmt: skip

    def _history(self, group: dict[str, Any], step: int, weight: Tensor) -> History | None:
        return Moments(group["betas"], group["eps"], step, weight.dtype == torch.float64, weight.device)

    def _fits(self, group: dict[str, Any], history: History) -> bool:
        return history.settings == (*group["betas"], group["eps"])

    def _note(self, group: dict[str, Any], history: History, step: int) -> None:
        assert isinstance(history, Moments)
        history.note(float(group["lr"]), group["weight_decay"])


class RowAdamW(RowAdam):
    """AdamW (Loshchilov and Hutter 2019)."""

    name = "adamw"

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        rows: str = "exact",
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, rows)


class RowAdagrad(ByRow):
    """Adagrad (Duchi et al. 2011)."""

    name = "adagrad"
    kept = ("sum",)

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        rows: str = "exact",
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
        }
        super().__init__(params, options, rows)

    def _start(self, group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> None:
        state["sum"] = torch.full_like(weight, group["initial_accumulator_value"])

    def _numbers(self, group: dict[str, Any], step: int) -> tuple[float, ...] | None:
        return self._rate(group, step), group["eps"]

    def _rate(self, group: dict[str, Any], step: float) -> float:
        return float(group["lr"] / (1 + (step - 1) * group["lr_decay"]))

    def _move(self, group: dict[str, Any], step: Tensor, grad: Tensor, *held: Tensor) -> None:
        weight, total = held
        total.addcmul_(grad, grad)
        weight.addcdiv_(grad, total.sqrt().add_(group["eps"]), value=-self._rate(group, float(step)))


class RowSGD(ByRow):
    """Stochastic gradient descent, with momentum (also Nesterov's) and weight decay."""

    name = "sgd"

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        rows: str = "exact",
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        self.kept = ("momentum_buffer",) if momentum else ()
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, options, rows)

    def _numbers(self, group: dict[str, Any], step: int) -> tuple[float, ...] | None:
        lr, decay, momentum = float(group["lr"]), group["weight_decay"], group["momentum"]
        by = (1.0, momentum) if group["nesterov"] else (0.0, 1.0)
        return lr, decay, momentum, _new(group, step), *by

    def _move(self, group: dict[str, Any], step: Tensor, grad: Tensor, *held: Tensor) -> None:
        weight, *others = held
        if group["weight_decay"]:
            grad = grad.add(weight, alpha=group["weight_decay"])
        for velocity in others:
            velocity.mul_(group["momentum"]).add_(grad, alpha=_new(group, int(step)))
            grad = grad.add(velocity, alpha=group["momentum"]) if group["nesterov"] else velocity
        weight.add_(grad, alpha=-float(group["lr"]))

    def _history(self, group: dict[str, Any], step: int, weight: Tensor) -> History | None:
        if not self.kept and not group["weight_decay"]:
            return None
        return Linear(bool(self.kept), (), weight.device)

    def _note(self, group: dict[str, Any], history: History, step: int) -> None:
        assert isinstance(history, Linear)
        lr, decay, momentum = float(group["lr"]), group["weight_decay"], group["momentum"]
        if not self.kept:
            history.note([[1 - lr * decay]])
            return
        fed = _new(group, step) * decay
        if group["nesterov"]:
            history.note([[1 - lr * (decay + momentum * fed), -lr * momentum**2], [fed, momentum]])
        else:
            history.note([[1 - lr * fed, -lr * momentum], [fed, momentum]])


def _new(group: dict[str, Any], step: int) -> float:
    """How much of a gradient a velocity takes; torch's dampening begins at the second step."""
    return 1.0 if step <= 1 else 1.0 - float(group["dampening"])


class RowRMSprop(ByRow):
    """RMSprop (Tieleman and Hinton 2012), with momentum, and centred (Graves 2013)."""

    name = "rmsprop"

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        rows: str = "exact",
    ) -> None:
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
        }
        velocity = ("momentum_buffer",) if momentum else ()
        self.kept = (*velocity, "square_avg", *(("grad_avg",) if centered else ()))
        super().__init__(params, options, rows)

    def _numbers(self, group: dict[str, Any], step: int) -> tuple[float, ...] | None:
        return float(group["lr"]), group["alpha"], group["eps"], group["momentum"]

    def _move(self, group: dict[str, Any], step: Tensor, grad: Tensor, *held: Tensor) -> None:
        of = dict(zip(("weight", *self.kept), held, strict=True))
        alpha, square = group["alpha"], of["square_avg"]
        square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
        if "grad_avg" in of:
            of["grad_avg"].lerp_(grad, 1 - alpha)
            square = square.addcmul(of["grad_avg"], of["grad_avg"], value=-1)
        root = square.sqrt().add_(group["eps"])
        if "momentum_buffer" in of:
            of["momentum_buffer"].mul_(group["momentum"]).addcdiv_(grad, root)
            of["weight"].add_(of["momentum_buffer"], alpha=-float(group["lr"]))
        else:
            of["weight"].addcdiv_(grad, root, value=-float(group["lr"]))

    def _history(self, group: dict[str, Any], step: int, weight: Tensor) -> History | None:
        moving = "momentum_buffer" in self.kept
        return Linear(moving, self._factors(group), weight.device)

    def _factors(self, group: dict[str, Any]) -> tuple[float, ...]:
        return tuple(group["alpha"] for name in self.kept if name != "momentum_buffer")

    def _fits(self, group: dict[str, Any], history: History) -> bool:
        return history.settings == self._factors(group)

    def _note(self, group: dict[str, Any], history: History, step: int) -> None:
        assert isinstance(history, Linear)
        momentum = group["momentum"]
        if "momentum_buffer" in self.kept:
            history.note([[1.0, -float(group["lr"]) * momentum], [0.0, momentum]])
        else:
            history.note([[1.0]])


class RowAdadelta(ByRow):
    """Adadelta (Zeiler 2012)."""

    name = "adadelta"
    kept = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        rows: str = "exact",
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}, rows)

    def _numbers(self, group: dict[str, Any], step: int) -> tuple[float, ...] | None:
        return float(group["lr"]), group["rho"], group["eps"]

    def _move(self, group: dict[str, Any], step: Tensor, grad: Tensor, *held: Tensor) -> None:
        weight, square, total = held
        rho, eps = group["rho"], group["eps"]
        square.mul_(rho).addcmul_(grad, grad, value=1 - rho)
        delta = total.add(eps).sqrt_().div_(square.add(eps).sqrt_()).mul_(grad)
        total.mul_(rho).addcmul_(delta, delta, value=1 - rho)
        weight.add_(delta, alpha=-float(group["lr"]))

    def _history(self, group: dict[str, Any], step: int, weight: Tensor) -> History | None:
        return Linear(False, (group["rho"], group["rho"]), weight.device)

    def _fits(self, group: dict[str, Any], history: History) -> bool:
        return history.settings == (group["rho"], group["rho"])

    def _note(self, group: dict[str, Any], history: History, step: int) -> None:
        assert isinstance(history, Linear)
        history.note([[1.0]])
