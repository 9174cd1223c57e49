"""What packages that are installed beside the compiler offer, by their entry points; none is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OPERATIONS, METRICS, ENCODINGS = "arec.operations", "arec.metrics", "arec.encodings"


@cache
def offered(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """By name the entry points of a group: one, unless several packages offer the same name."""
    from importlib.metadata import entry_points

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found
