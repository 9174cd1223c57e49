"""What packages that are installed beside the compiler offer, by their entry points; none is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OPERATIONS, METRICS, ENCODINGS = "arec.operations", "arec.metrics", "arec.encodings"


def offered(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """By name the entry points of a group: one, unless several packages offer the same name."""
    # Few specs use other packages: the others are checked without this import.
    from specc_runtime import packages

    return packages.offered(group)
