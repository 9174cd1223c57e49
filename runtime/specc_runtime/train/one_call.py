"""A step of torch's fused Adam as one call.

`torch.optim.Adam.step` looks at every weight anew and counts each one's steps by itself, which takes as long
as to update the weights of small layers. Here their steps are counted together, and what is the same at every
step is looked up once.

Promises: weights, states and their names are those of torch's own step, which is taken wherever an option, a
hook or a gradient asks for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer, optimizer

_KERNELS: Mapping[type[Optimizer], Callable[..., None]] = {
    kind: getattr(torch, name)
    for kind, name in ((torch.optim.Adam, "_fused_adam_"), (torch.optim.AdamW, "_fused_adamw_"))
    if hasattr(torch, name)
}
_STATES = ("step", "exp_avg", "exp_avg_sq")
# Options that must be as they are here.
_OFF = ("amsgrad", "capturable", "differentiable")


class OneCall:
    """The steps of an optimizer."""

    def __init__(self, of: Optimizer) -> None:
        self.of = of
        self.kernel = _KERNELS.get(type(of))
        self.known: dict[int, _Group] = {}

    def step(self) -> None:
        found = self._groups()
        if self.kernel is None or found is None:
            self.of.step()
            return
        with torch.no_grad():
            for group, (known, grads) in zip(self.of.param_groups, found, strict=True):
                if grads:
                    known.step(self.kernel, group, grads)

    def _groups(self) -> list[tuple[_Group, list[Tensor]]] | None:
        """Return the weights of each group with their gradients; None where torch is to take the step."""
        of = self.of
        if self.kernel is None or hasattr(of, "grad_scale") or _has_hooks(of):
            return None
        found = []
        for number, group in enumerate(of.param_groups):
            if not group["fused"] or any(group[name] for name in _OFF):
                return None
            if any(isinstance(x, Tensor) for x in (group["lr"], *group["betas"])):
                return None
            weights = [w for w in group["params"] if w.grad is not None]
            known = self.known.get(number)
            if known is None or not known.fits(weights, of.state):
                states = [of.state.get(w) or {} for w in weights]
                if any(name not in state for state in states for name in _STATES):
                    return None
                kinds = {(x.device, x.dtype) for x in weights}
                if len(kinds) > 1 or any(not w.is_cpu for w in weights):
                    return None
                known = self.known[number] = _Group(weights, states)
            grads = [w.grad for w in weights if w.grad is not None]
            if any(g.layout is not torch.strided or g.dtype is not weights[0].dtype for g in grads):
                return None
            found.append((known, grads))
        return found


class _Group:
    """Weights with their states. The numbers of their steps are made parts of one tensor."""

    def __init__(self, weights: Sequence[Tensor], states: Sequence[dict[str, Any]]) -> None:
        self.weights, self.states = weights, states
        self.count = torch.zeros(0)
        if states:
            self.count = torch.stack([state["step"] for state in states])
            for state, step in zip(states, self.count.unbind(), strict=True):
                state["step"] = step
        self.held = [[state[name] for state in states] for name in _STATES]

    def fits(self, weights: Sequence[Tensor], states: Mapping[Tensor, Any]) -> bool:
        """Whether these are the weights, and have the states that they had."""
        if len(weights) != len(self.weights) or not all(map(is_, weights, self.weights)):
            return False
        if not all(states.get(w) is state for w, state in zip(weights, self.states, strict=True)):
            return False
        return all(
            state.get(name) is x
            for name, held in zip(_STATES, self.held, strict=True)
            for state, x in zip(self.states, held, strict=True)
        )

    def step(self, kernel: Callable[..., None], group: Mapping[str, Any], grads: list[Tensor]) -> None:
        self.count.add_(1)
        steps, averages, squares = self.held
        beta1, beta2 = group["betas"]
        options = {name: group[name] for name in ("lr", "weight_decay", "eps", "maximize")}
        options |= {"beta1": beta1, "beta2": beta2, "amsgrad": False}
        kernel(self.weights, grads, averages, squares, [], steps, **options)


def _has_hooks(of: Optimizer) -> bool:
    return bool(
        of._optimizer_step_pre_hooks
        or of._optimizer_step_post_hooks
        or optimizer._global_optimizer_pre_hooks
        or optimizer._global_optimizer_post_hooks
    )
