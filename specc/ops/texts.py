"""Templates by which operations say how they are computed: expressions with names in braces."""

from __future__ import annotations

from functools import cache
from string import Formatter


@cache
def placeholders(text: str) -> frozenset[str]:
    """Return the names in braces in a template."""
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name)
