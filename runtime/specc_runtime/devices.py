"""The devices of a placed model: from the names in its spec to what this machine has.

Promises: a device that is absent is an error that names the override to use, before anything is moved.
`auto` is the accelerator where there is one, else the CPU.
`transfer` is the one function through which every move between them goes.
Leaves to others: what is where, and when it is moved (the compiled source).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor


class DeviceError(ValueError):
    """Devices that this machine does not have, or that the model does not name. The message lists every
    one, with the override that helps."""


Wanted = str | torch.device | Mapping[str, str | torch.device] | None

_own: int | None = None


def prefer(number: int | None) -> None:
    """Have an accelerator that is named without a number be this one of them; None: torch's current one."""
    global _own
    _own = number


def preferred() -> int | None:
    """The number of the accelerator that is taken where one is named without a number, if that was said."""
    return _own


def transfer(x: Tensor, device: torch.device) -> Tensor:
    """The same value on another device; its gradient goes the way back."""
    # A copy to the CPU must be over before the CPU reads it.
    return x.to(device, non_blocking=device.type != "cpu")


# What glibc takes notice of when it is freed: somewhat less than 32 MB.
_LARGEST = 2**25 - 2**17


@cache
def keep_freed() -> None:
    """Make glibc keep freed memory for the next allocation.

    A step frees what the next one allocates again. glibc returns freed memory to the system once it is
    more than twice the largest block freed so far (mallopt(3), M_TRIM_THRESHOLD), and every page that is
    allocated anew is first filled with zeros: up to a sixth of a step. Freeing one large block, never
    written to, raises that threshold. Where the environment sets a threshold, or the allocator is another
    one, this changes nothing.
    """
    torch.empty(_LARGEST, dtype=torch.uint8, device="cpu")


def resolve(devices: Mapping[str, str], wanted: Wanted = None) -> dict[str, torch.device]:
    """By name, the devices that a placed model runs on.

    devices: what its spec declares, by name ("cpu", "cuda:1", "auto").
    wanted: other targets by name, or one for all of them.
    Raises DeviceError, with every fault.
    """
    if isinstance(wanted, str | torch.device):
        wanted = dict.fromkeys(devices, wanted)
    wanted = wanted or {}
    faults = [
        f"the model has no device `{name}`; it has {', '.join(devices) or 'none'}"
        for name in wanted
        if name not in devices
    ]
    found: dict[str, torch.device] = {}
    for name in devices:
        target = str(wanted.get(name, devices[name]))
        device = _device(target)
        if device is None:
            faults.append(
                f"device `{name}` is {target}, and this machine has only {', '.join(available())}: "
                f"use `--device {name}={available()[-1]}`, or `--device auto` for what there is"
            )
        else:
            found[name] = device
    if faults:
        raise DeviceError("\n".join(faults))
    return found


def only(wanted: str | torch.device | Mapping[str, str | torch.device]) -> str | torch.device:
    """Return the one target that was given for a model without places. Raises DeviceError for several."""
    if isinstance(wanted, str | torch.device):
        return wanted
    targets = {str(target) for target in wanted.values()}
    if len(targets) != 1:
        raise DeviceError(
            f"the model has no places, so it is on one device, not on {', '.join(sorted(targets))}; "
            "write `place … on …` in its spec, or give one device"
        )
    return targets.pop()


def one(target: str | torch.device) -> torch.device:
    """Return a device by its name, `auto` included. Raises DeviceError if this machine does not have it."""
    device = _device(str(target))
    if device is None:
        raise DeviceError(
            f"{target} is not a device of this machine, which has {', '.join(available())}; "
            "`auto` takes what there is"
        )
    return device


def available() -> list[str]:
    """The devices of this machine, "cpu" first."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    return ["cpu", *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]


def _device(target: str) -> torch.device | None:
    """The device that a target stands for here, or None if there is no such device."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    try:
        device = accelerator or torch.device("cpu") if target == "auto" else torch.device(target)
    except RuntimeError:
        return None
    if device.type in ("cpu", "meta"):
        return device
    if accelerator is None or device.type != accelerator.type:
        return None
    if _own is not None and ":" not in target:
        device = torch.device(device.type, _own)
    return device if (device.index or 0) < torch.accelerator.device_count() else None
