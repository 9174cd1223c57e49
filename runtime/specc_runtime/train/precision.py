"""In what precision a training step computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from specc_runtime.model import Model


@contextmanager
def computing(model: Model, precision: str) -> Iterator[None]:
    """Compute in "fp32", or in "bf16": torch's autocast on all devices of the model, whose weights stay."""
    with ExitStack() as stack:
        if precision == "bf16":
            for kind in sorted({weight.device.type for weight in model.parameters()} | {model.home.type}):
                stack.enter_context(torch.autocast(kind, dtype=torch.bfloat16))
        yield
