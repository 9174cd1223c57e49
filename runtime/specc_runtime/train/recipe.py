"""How a model is trained: the spec's `train { … }`, with what a call overrides.

Promises: the spec's names of options become torch's. Tables go by row where that is possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from specc_runtime.fetched import Source
from specc_runtime.train.lazy import build_optimizer
from specc_runtime.train.schedule import Moment, factor
from specc_runtime.train.skipped import without_closed_form

_TORCH = {"initial": "initial_accumulator_value"}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: what `train { … }` of a spec says.

    optimizer and options go by the spec's names. group: the path of the field that GAUC groups by.
    lazy: whether rows of tables skip, for good, the steps in which no batch named them.
    decay, warmup: how the learning rate changes, as in the manifest (see schedule).
    precision: "fp32", or "bf16" for what autocast computes in bfloat16.

    patience: stop after so many epochs in which the metric, on validation data, got no better.
    every: write a checkpoint after so many steps too, not only at an epoch's end.
    """

    optimizer: str = "adam"
    options: Mapping[str, float] = field(default_factory=dict)
    lazy: bool = False
    decay: Mapping[str, Any] | None = None
    warmup: Sequence[Any] | None = None
    batch: int = 512
    epochs: int = 1
    metric: str = "auc"
    group: str | None = None
    clip: float | None = None
    seed: int = 0
    patience: int | None = None
    every: int | None = None
    precision: str = "fp32"

    @staticmethod
    def of(manifest: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a compiled model's spec."""
        train = manifest["train"]
        optimizer = train["optimizer"]
        kept = ("batch", "epochs", "metric", "group", "clip", "seed", "patience", "precision")
        return Recipe(
            optimizer=optimizer["name"],
            options=dict(optimizer["options"]),
            **{key: optimizer[key] for key in ("lazy", "decay", "warmup") if key in optimizer},
            **{key: train[key] for key in kept if key in train},
        )

    def changed(self, optimizer: str | None = None, lr: float | None = None, **others: Any) -> Recipe:
        """Return the recipe with other values where they are not None.

        Another optimizer begins with torch's options but for `lr`, and is not lazy.
        """
        same = optimizer in (None, self.optimizer)
        options = dict(self.options) if same else {}
        if lr is not None:
            options["lr"] = lr
        changes = {k: v for k, v in others.items() if v is not None}
        lazy = self.lazy and same
        return replace(
            self, optimizer=optimizer or self.optimizer, options=options, **{"lazy": lazy, **changes}
        )

    def torch_options(self) -> dict[str, Any]:
        """The options by torch's names."""
        options: dict[str, Any] = {_TORCH.get(k, k): v for k, v in self.options.items()}
        if "beta1" in options:
            options["betas"] = (options.pop("beta1"), options.pop("beta2"))
        return options

    def why_whole(self) -> str | None:
        """Why tables are trained as a whole, so that a step takes as long as they are large; None if not."""
        return None if self.lazy else without_closed_form(self.optimizer, self.torch_options())

    def build(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of the weights of a model that are trained."""
        tables = "lazy" if self.lazy else "exact" if self.why_whole() is None else "dense"
        return build_optimizer(model, self.optimizer, self.torch_options(), tables)

    @property
    def over_all(self) -> bool:
        """Whether a step depends on how many epochs there will be."""
        return self.decay is not None and self.decay["kind"] == "cosine" and self.decay["over"] is None

    def at(self, optimizer: Optimizer | Source, moment: Moment) -> None:
        """Set the learning rate that a step has."""
        if self.decay is None and self.warmup is None:
            return
        changed = factor(self.decay, self.warmup, moment)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * changed

    def schedule(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """The recipe's schedule as torch's, for one's own loop. steps: how many an epoch has."""

        def at(step: int) -> float:
            return factor(self.decay, self.warmup, Moment(step, step / steps, steps, self.epochs))

        return LambdaLR(optimizer, at)
