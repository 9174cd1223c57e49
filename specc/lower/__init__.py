"""Graph to lowered program: rows, buffers, kernels and loops, all decided before any text is printed."""

from __future__ import annotations

from specc.lower.model import lower

__all__ = ["lower"]
