"""The names that one file, block instance or scan body can see.

Promises: a name is looked for from the inside out; an axis's name in a block's signature hides those outside.
Leaves to others: what a name stands for (`Meaning`, asked through the world).
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from specc.frozen import dataclass
from specc.ir.graph import Node
from specc.names.program import Module
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis

if TYPE_CHECKING:
    from specc.elaborate.world import Frame, World


@dataclass
class Entry:
    """One name in a scope: a value once it is known, else the statement that gives it."""

    statement: tree.Node | None
    span: Span
    value: Any = None
    state: str = "waiting"  # "waiting" | "busy" | "done" | "faulty"
    static: bool | None = None  # whether a binding is known at compile time, once judged


@dataclass
class Scope:
    """The names one file, block instance or scan body can see. `path` heads its weights' names."""

    world: World
    module: Module
    path: str
    frame: Frame
    outer: Scope | None = None
    block: bool = False  # the signature's axis names hide those outside
    entries: dict[str, Entry] = field(default_factory=dict)
    axes: dict[str, list[Axis]] = field(default_factory=dict)
    static: dict[int, bool] = field(default_factory=dict)  # by id of an operation, whether it is static
    scans: dict[int, tuple[Node, ...]] = field(default_factory=dict)  # by id of the statement
    bound: dict[str, Axis] = field(default_factory=dict)  # in a block: by name of its signature
    results: dict[str, tuple[Scope, str]] = field(
        default_factory=dict
    )  # where a result's axis is known, and as
    passing: frozenset[Axis] = frozenset()  # in a block: axes of its inputs that its signature does not name
    returned: tuple[tree.Expr, ...] = ()  # in a block

    @property
    def body(self) -> Scope:
        """The scope of the body that this one is in: the file's, or that of a block's instance."""
        scope = self
        while scope.outer is not None and not scope.block:
            scope = scope.outer
        return scope

    def value_of(self, entry: Entry, name: str) -> Any:
        """Return what one of this scope's names stands for. Raises Fault."""
        return self.world.meaning.entry_value(self, entry, name)

    def find(self, name: str) -> tuple[Scope, Entry] | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.entries:
                return scope, scope.entries[name]
            scope = scope.outer
        return None

    def bind(self, name: str, value: Any, span: Span) -> None:
        self.entries[name] = Entry(None, span, value, "done")

    def name_axis(self, name: str, axis: Axis) -> None:
        known = self.axes.setdefault(name, [])
        if axis not in known:
            known.append(axis)

    def axes_named(self, name: str) -> list[Axis]:
        found: list[Axis] = []
        scope: Scope | None = self
        while scope is not None:
            found.extend(a for a in scope.axes.get(name, []) if a not in found)
            if found and scope.block:
                break
            scope = scope.outer
        return found

    def make_axes(self, name: str) -> bool:
        """Have the axes of a name made that the bodies around make, innermost first, until there is one;
        whether the text of any makes one."""
        scope: Scope | None = self.body
        made = False
        while scope is not None:
            made = self.world.meaning.make_axes(scope, name) or made
            if scope.axes.get(name):
                break
            scope = scope.outer
        return made

    def knows_axis(self, axis: Axis) -> bool:
        scope: Scope | None = self
        while scope is not None:
            if any(axis in axes for axes in scope.axes.values()):
                return True
            scope = scope.outer
        return False

    def names(self) -> list[str]:
        found: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            found.extend(scope.entries)
            scope = scope.outer
        return found
