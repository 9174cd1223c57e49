"""Every built-in, by name: importing this has them all declared."""

from __future__ import annotations

from specc.elaborate import keys
from specc.elaborate.builtins import (
    axes,
    labels,
    layers,
    parts,
    pointwise,
    reading,
    reductions,
    tables,
    widths,
)
from specc.elaborate.builtins.signature import BUILTINS
from specc.ops import OPS

_uncalled = [name for name, known in OPS.items() if known.call is not None and name not in BUILTINS]
assert not _uncalled, _uncalled

__all__ = [
    "BUILTINS", "axes", "keys", "labels", "layers", "parts", "pointwise", "reading", "reductions",
    "tables", "widths",
]  # fmt: skip
