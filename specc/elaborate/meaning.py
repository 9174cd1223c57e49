"""What expressions and names mean, put together: the one implementation of `world.Meaning`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.elaborate.builtins.registry import BUILTINS
from specc.elaborate.calls import apply_layer, call
from specc.elaborate.declarations import entry_value
from specc.elaborate.expressions import layer, value
from specc.elaborate.makers import make_axes
from specc.elaborate.statics import static
from specc.elaborate.world import Seen, World
from specc.names.program import Program
from specc.report import Report

assert BUILTINS  # every built-in is declared before anything is elaborated


class _Meaning:
    """The functions that give each its result."""

    value = staticmethod(value)
    static = staticmethod(static)
    layer = staticmethod(layer)
    call = staticmethod(call)
    apply = staticmethod(apply_layer)
    entry_value = staticmethod(entry_value)
    make_axes = staticmethod(make_axes)


_MEANING = _Meaning()


def world_of(
    program: Program, report: Report, overrides: Mapping[str, Any], seen: Seen | None = None
) -> World:
    """Return an empty world for the elaboration of one program with some of its params overridden.

    seen: who is told the node of every expression, and where it stands.
    """
    return World(program, report, _MEANING, overrides=dict(overrides), seen=seen)
