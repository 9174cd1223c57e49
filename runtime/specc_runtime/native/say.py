"""What users are told of kernels, and whether they want any."""

from __future__ import annotations

import os
import warnings
from functools import cache

import torch

_SWITCH = "AREC_NATIVE"

# Numbers that are worth kernels, of models of an interface before 3. Later ones say it themselves.
FROM = 2**17


def wanted(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there may be kernels for tensors of a kind."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.float64):
        return False
    return os.environ.get(_SWITCH, "1") != "0"


@cache
def say(why: str) -> None:
    """Warn once that there are none."""
    warnings.warn(
        f"recurrences and attention are slower without kernels in C: {why}; "
        f"{_SWITCH}=0 in the environment does without",
        stacklevel=2,
    )
