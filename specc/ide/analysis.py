"""One look at a text: its faults, its names, and the type of every expression that has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from specc.driver import check_source
from specc.elaborate.scope import Scope
from specc.elaborate.world import Site
from specc.frozen import dataclass
from specc.ide.names import Names, names_of
from specc.ir.graph import Graph, Node
from specc.names.program import Program
from specc.report import Diagnostic, Report
from specc.source import Source, Span
from specc.syntax import tree
from specc.types.static import describe


@dataclass(frozen=True)
class Typed:
    """An expression of the text and its type, `[t, 64]`; several where a block is called with several."""

    span: Span
    types: tuple[str, ...]
    role: str


@dataclass
class Analysis:
    """What is known of one text. `report` has its faults and those of the files that it uses."""

    source: Source
    report: Report
    file: tree.File
    program: Program | None
    graph: Graph | None
    types: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    scope: Scope | None = None  # the file's own, where anything was elaborated

    @cached_property
    def names(self) -> Names:
        """Every name in the text that means something."""
        return Names() if self.program is None else names_of(self.file, self.program)

    @property
    def faults(self) -> Iterator[Diagnostic]:
        """What is wrong in this text itself."""
        return (d for d in self.report if d.span.source.name == self.source.name)

    def type_of(self, span: Span) -> str:
        """The type of an expression, several as `[t, 8] or [t, 16]`; '' where none is known."""
        return " or ".join(self.types.get((span.start, span.stop), ()))

    def static(self, name: str) -> str:
        """The value of a name of the file that is known while compiling; '' if it has none."""
        entry = None if self.scope is None else self.scope.entries.get(name)
        if entry is None or entry.state != "done" or entry.value is None or isinstance(entry.value, Node):
            return ""
        if not isinstance(entry.statement, tree.Param | tree.Binding):
            return ""
        return describe(entry.value)

    @cached_property
    def roles(self) -> Mapping[str, str]:
        """By binding of the model whether it is computed once a request or once a candidate."""
        if self.graph is None:
            return {}
        from specc.passes.roles import assign_roles

        nodes = {n.id: n for n in assign_roles(self.graph).nodes}
        return {name: nodes[id].role for name, id in self.graph.bindings.items() if id in nodes}


def analyse(text: str, path: Path, params: Mapping[str, Any] | None = None) -> Analysis:
    """Return what there is to know of a text that is, or will be, the file `path`.

    Libraries and bases are looked for beside it.
    """
    source = Source(str(path), text)
    types: dict[tuple[int, int], list[str]] = {}
    scopes: list[Scope] = []

    def seen(expr: tree.Expr, site: Site, node: Node) -> None:
        if expr.span.source is not source:
            return
        if not scopes:
            scopes.append(site.scope)
        own = types.setdefault((expr.span.start, expr.span.stop), [])
        written = str(node.type)
        if written not in own:
            own.append(written)

    report = Report()
    read = check_source(source, path.parent, params, report, seen)
    world = scopes[0].world if scopes else None
    main = None if world is None or read.program is None else world.module_scopes.get(id(read.program.main))
    return Analysis(source, report, read.file, read.program, read.graph, types, main)
