"""What is timed: one model with its optimizer and one batch, built by a contender."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Where contenders compute.
DEVICE = os.environ.get("BENCH_DEVICE", "cpu")


class Absent(Exception):
    """The contender has no such model, or is not installed; the message says which."""


@dataclass(frozen=True)
class Contender:
    """train: one step: forward, loss, backward, optimizer. score: one forward pass, no gradients.

    numbers: of which a step reads and trains each at least once: those of layers, and of tables the rows that
    the batch names; 0 where that is not counted.
    differs: where its model is another than the spec's and cannot be told otherwise, in words. lesser: it
    is left with markedly less arithmetic by that, so that its time is of other work.
    """

    train: Callable[[], Any]
    score: Callable[[], Any]
    differs: str = ""
    lesser: bool = False
    numbers: int = 0

    @staticmethod
    def of(
        model: nn.Module,
        loss: Callable[[], Tensor],
        score: Callable[[], Any],
        optimizer: torch.optim.Optimizer | None = None,
        differs: str = "",
        lesser: bool = False,
    ) -> Contender:
        """With torch's quickest Adam for all weights, unless another optimizer is given: models are
        compared, and a library's own choice of optimizer is a line of its user's."""
        step = optimizer or torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def train() -> None:
            if not model.training:
                model.train()
            step.zero_grad()
            loss().backward()
            step.step()

        def scored() -> Any:
            if model.training:
                model.eval()
            with torch.no_grad():
                return score()

        return Contender(train, scored, differs, lesser)
