"""The ragged axes of a model, each declared in the emitted source as a constant of the module."""

from __future__ import annotations

from collections.abc import Mapping

from specc.emit.code import quoted
from specc.emit.names import Names
from specc.passes.roles import CANDIDATE, axis_role
from specc.types.axis import Axis
from specc.types.kinds import KINDS


class Axes:
    """Declares axes when they are first used. The sources and parents of a derived axis are declared before
    it."""

    def __init__(self, spaces: Mapping[str, str], names: Names) -> None:
        self._spaces = spaces
        self._names = names
        self._known: dict[Axis, str] = {}
        self.lines: list[str] = []
        self.uses_candidate = False
        self.uses_fixed = False

    def constant(self, axis: Axis) -> str:
        """Return the name of the constant for an axis."""
        if axis not in self._known:
            text = self._declaration(axis)
            words = (axis.name, f"{axis.name}_{KINDS[axis.kind].word}")
            name = self._names.take(*(w.upper() for w in words))
            self._known[axis] = name
            self.lines.append(f"{name} = {text.replace('NAME', quoted(name.lower()))}")
        return self._known[axis]

    def _declaration(self, axis: Axis) -> str:
        if not axis.ragged:
            self.uses_fixed = True
            return f"fixed(NAME, {axis.size})"
        if axis.kind == "space":
            parent = ""
            if axis.parent is not None:
                parent = f", parent={self.constant(axis.parent)}"
            elif axis_role(axis, self._spaces) == CANDIDATE:
                self.uses_candidate = True
                parent = ", parent=CANDIDATE"
            return f"Axis({quoted(axis_id(axis))}, bound={axis.bound}{parent})"
        if axis.kind == "batch":
            return f'Axis(NAME, bound={axis.bound}, change="examples")'
        sources = dict(zip("ab", map(self.constant, axis.source), strict=False))
        declared = KINDS[axis.kind].declared
        if "{p}" in declared:
            assert axis.parent is not None
            sources["p"] = self.constant(axis.parent)
        return declared.format(n=axis.number, **sources)


def axis_id(axis: Axis) -> str:
    """Return the id of a space's own axis in batches and manifests: `visits.step`."""
    assert axis.kind == "space"
    return f"{axis.key[1]}.{axis.key[2]}"
