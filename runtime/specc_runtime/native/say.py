"""Whether kernels in C are wanted, and the warning if there are none."""

from __future__ import annotations

import os
import warnings
from functools import cache

import torch

_SWITCH = "AREC_NATIVE"

# From how many numbers on kernels pay off, for models of an interface before 3. Later models state it.
FROM = 2**17


def wanted(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether kernels in C may be used for tensors of this device and dtype."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.float64):
        return False
    return os.environ.get(_SWITCH, "1") != "0"


@cache
def say(why: str) -> None:
    """Warn once that there are no kernels in C, and why."""
    warnings.warn(
        f"scoring, recurrences and attention are slower without kernels in C: {why}; "
        f"{_SWITCH}=0 in the environment does without",
        stacklevel=2,
    )
