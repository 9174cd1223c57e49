"""How a model is trained: the spec's `train { … }`, with what a call overrides.

Promises: the spec's names of options become torch's. Tables go by row where that is possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from torch.optim import Optimizer

from specc_runtime.train.lazy import build_optimizer

_TORCH = {"initial": "initial_accumulator_value"}


@dataclass(frozen=True)
class Recipe:
    """optimizer and options go by the spec's names. group: the path of the field that GAUC groups by.

    patience: stop after so many epochs in which the metric, on validation data, got no better.
    every: write a checkpoint after so many steps too, not only at an epoch's end.
    """

    optimizer: str = "adam"
    options: Mapping[str, float] = field(default_factory=dict)
    batch: int = 512
    epochs: int = 1
    metric: str = "auc"
    group: str | None = None
    clip: float | None = None
    seed: int = 0
    patience: int | None = None
    every: int | None = None

    @staticmethod
    def of(manifest: Mapping[str, Any]) -> Recipe:
        train = manifest["train"]
        return Recipe(
            optimizer=train["optimizer"]["name"],
            options=dict(train["optimizer"]["options"]),
            **{key: train[key] for key in ("batch", "epochs", "metric", "group", "clip")},
        )

    def changed(self, optimizer: str | None = None, lr: float | None = None, **others: Any) -> Recipe:
        """With what is not None put in its place; another optimizer has torch's options but for `lr`."""
        options = dict(self.options) if optimizer in (None, self.optimizer) else {}
        if lr is not None:
            options["lr"] = lr
        changes = {k: v for k, v in others.items() if v is not None}
        return replace(self, optimizer=optimizer or self.optimizer, options=options, **changes)

    def build(self, model: nn.Module) -> Optimizer:
        options: dict[str, Any] = {_TORCH.get(k, k): v for k, v in self.options.items()}
        if "beta1" in options:
            options["betas"] = (options.pop("beta1"), options.pop("beta2"))
        return build_optimizer(model, self.optimizer, options)
