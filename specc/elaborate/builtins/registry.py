"""Every built-in, by name: importing this has them all declared."""

from __future__ import annotations

from specc.elaborate.builtins import axes, layers, pointwise, reductions, widths
from specc.elaborate.builtins.signature import BUILTINS

__all__ = ["BUILTINS", "axes", "layers", "pointwise", "reductions", "widths"]
