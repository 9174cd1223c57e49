"""What a loss function of a lowered program means: example by example, over those that have labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.interpret.sources import labelled


def _binary(z: Tensor, y: Tensor, positive: float = 1.0) -> Tensor:
    y = y.to(z.dtype)
    return -positive * y * F.logsigmoid(z) - (1 - y) * F.logsigmoid(-z)


def _huber(z: Tensor, y: Tensor, huber: float) -> Tensor:
    off = (z - y.to(z.dtype)).abs()
    return off**2 / 2 if float(off.detach()) <= huber else huber * (off - huber / 2)


_EACH: dict[str, Callable[..., Tensor]] = {
    "binary_loss": _binary,
    "real_loss": lambda z, y: (z - y.to(z.dtype)) ** 2,
    "absolute_loss": lambda z, y: (z - y.to(z.dtype)).abs(),
    "huber_loss": _huber,
    "class_loss": lambda z, y: -torch.log_softmax(z, 0)[int(y)],
    "table_loss": lambda z, y: z,
    "choice_loss": lambda z, y: z * y.to(z.dtype),
}


def of_labels(
    name: str,
    values: Tensor,
    labels: Sequence[Tensor],
    weight: Tensor | None = None,
    others: Sequence[Sequence[Tensor]] = (),
    **options: Any,
) -> Tensor:
    """The mean of the losses of those that have all labels, times their weights."""
    found = []
    for n, label in enumerate(labels):
        chosen = name != "choice_loss" or float(label) > 0
        if chosen and labelled(label) and all(labelled(other[n]) for other in others):
            each = _EACH[name](values[n], label, **options)
            found.append(each if weight is None else each * weight[n])
    return torch.stack(found).mean() if found else values.sum() * 0


def of_requests(
    scores: Tensor,
    labels: Sequence[Tensor],
    requests: Sequence[int],
    weight: Tensor | None = None,
    others: Sequence[Sequence[Tensor]] = (),
) -> Tensor:
    """The mean cross entropy of the requests in which something is chosen."""
    found = []
    for request in dict.fromkeys(requests):
        own = [n for n, of in enumerate(requests) if of == request]
        own = [n for n in own if labelled(labels[n]) and all(labelled(other[n]) for other in others)]
        total = sum(float(labels[n]) for n in own)
        if total > 0:
            surprise = -torch.log_softmax(scores[own], 0)
            each = [float(labels[n]) / total * x for n, x in zip(own, surprise, strict=True)]
            found.append(sum(x if weight is None else x * weight[n] for n, x in zip(own, each, strict=True)))
    return torch.stack(found).mean() if found else scores.sum() * 0


def of_labelled(values: Tensor, others: Sequence[Sequence[Tensor]]) -> Tensor:
    kept = [x for n, x in enumerate(values) if all(labelled(other[n]) for other in others)]
    return torch.stack(kept).mean() if kept else values.sum() * 0


def is_loss(name: str) -> bool:
    return name in _EACH
