"""Sizes of memory as people write them: `80GB`, `24GiB`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from specc.elaborate.devices import TARGET

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:[._]\d+)*)\s*([KMGT]?)(I?)B", re.IGNORECASE)


class SizeError(ValueError):
    """Sizes or devices that cannot be read; the message says how to write them."""


@dataclass(frozen=True)
class Device:
    """A device that there is: its target ("cuda:0") and the bytes it has."""

    target: str
    capacity: int

    @property
    def accelerator(self) -> bool:
        return self.target != "cpu"


def size(text: str) -> int:
    """Return the bytes of `80GB` (10^9) or `24GiB` (2^30). Raises SizeError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise SizeError(f"{text!r} is not a size: write 80GB, 24GiB or 512MB")
    number, unit, binary = found[1].replace("_", ""), found[2].upper(), bool(found[3])
    if number.count(".") > 1 or (binary and not unit):
        raise SizeError(f"{text!r} is not a size: write 80GB, 24GiB or 512MB")
    return int(float(number) * (_BINARY if binary else _UNITS)[unit])


def devices(text: str) -> list[Device]:
    """Return the devices of `cuda:0=80GB,cuda:1=80GB,cpu=256GB`. Raises SizeError, with every fault."""
    faults: list[str] = []
    found: dict[str, Device] = {}
    for part in (p.strip() for p in text.split(",")):
        target, equals, given = (p.strip() for p in part.partition("="))
        if not equals:
            faults.append(f"{part!r} has no size: write {part or 'cuda:0'}=80GB")
            continue
        if not TARGET.fullmatch(target):
            faults.append(f"{target!r} is not a device: write cpu, cuda:0, mps or auto")
        if target in found:
            faults.append(f"{target} is there twice")
        try:
            bytes_ = size(given)
        except SizeError as fault:
            faults.append(str(fault))
            continue
        if not bytes_:
            faults.append(f"{target} has no memory")
        found[target] = Device(target, bytes_)
    if faults:
        raise SizeError("; ".join(faults))
    return list(found.values())


def human(bytes_: float) -> str:
    """Write bytes as `1.5 GB`, with three digits; `0` for nothing."""
    if not bytes_:
        return "0"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(bytes_) >= 0.9995 * factor:
            return f"{digits(bytes_ / factor)} {unit}"
    return f"{bytes_:.0f} B"


def digits(number: float) -> str:
    """Write a number with about three digits."""
    places = max(2 - math.floor(math.log10(abs(number))), 0) if number else 0
    text = f"{number:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
