"""The learning rate as training goes on: what it is multiplied by at a step.

Promises: it follows from where the step is, and from nothing that went before, so that a training that is
taken up again goes on with the very same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The rest of a moment's division is no more than rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Moment:
    """Where a step is. step: those before it. epoch: those before it, and the part that is done of its own.
    steps: how many its epoch has. epochs: how many there will be."""

    step: int
    epoch: float
    steps: int
    epochs: int

    def number(self, unit: str) -> float:
        """Steps or epochs that are over."""
        return self.step if unit == "step" else self.epoch

    def counted(self, amount: float, given: str, wanted: str) -> float:
        """An amount of one unit as one of the other, by the steps of this epoch."""
        if given == wanted:
            return amount
        return amount * self.steps if given == "epoch" else amount / self.steps


def factor(decay: Mapping[str, Any] | None, warmup: Sequence[Any] | None, at: Moment) -> float:
    """By what the learning rate is multiplied.

    decay: as in the manifest, {"kind": "step" | "exponential" | "cosine", …}. warmup: [number, unit], within
    which the rate rises evenly to what it is without.
    """
    rising = 1.0
    if warmup is not None:
        amount, unit = warmup
        done = at.counted(1, "step", unit) + at.number(unit)
        rising = min(done / amount, 1.0)
    return rising * (1.0 if decay is None else _decayed(decay, warmup, at))


def _decayed(decay: Mapping[str, Any], warmup: Sequence[Any] | None, at: Moment) -> float:
    kind = decay["kind"]
    if kind == "cosine":
        amount, unit = decay["over"] or (at.epochs, "epoch")
        begin = 0.0 if warmup is None else at.counted(warmup[0], warmup[1], unit)
        done = (at.number(unit) - begin) / max(amount - begin, 1e-12)
        least: float = decay["least"]
        return least + (1 - least) * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2
    base: float = decay["factor"]
    if decay.get("at") is not None:
        amounts, unit = decay["at"]
        reached = amounts if isinstance(amounts, Sequence) else [amounts]
        return float(base ** sum(at.number(unit) >= amount - _ROUNDING for amount in reached))
    amount, unit = decay["every"]
    times = at.number(unit) / amount
    return float(base ** (times if kind == "exponential" else math.floor(times + _ROUNDING)))
