"""How a built-in is declared: its inputs, its statics, the clauses it takes, its type rule.

Promises: `BUILTINS` has every built-in once, with a one-sentence doc; the reference and
`tests/elaborate/test_registry.py` walk it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from specc.elaborate.world import Site, World
from specc.frozen import dataclass
from specc.ir.graph import Node
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Type

REQUIRED = object()


@dataclass(frozen=True)
class Option:
    """A static of a built-in. kind: "count" (integer >= 1), "copies" (of a layer), "int", "number", "rate"
    (0 <= p < 1), "bool", "sizes" (list of counts), "layer", "layer?" (or `none`), "init", "axis" (a name),
    "text?" (in quotes, or `none`), "choice" (one of `choices`)."""

    name: str
    kind: str
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call, bound and checked."""

    site: Site
    span: Span
    callee: Span
    nodes: tuple[tuple[Node, Span], ...]
    options: Mapping[str, Any]
    over: tree.Ident | None = None
    where: tree.Expr | None = None
    new: tree.Ident | None = None
    as_: tree.Ident | None = None
    by: tuple[Node, Span] | None = None
    to: tree.To | None = None

    @property
    def world(self) -> World:
        return self.site.world

    @property
    def x(self) -> Node:
        return self.nodes[0][0]

    def add(
        self,
        op: str,
        inputs: list[Node],
        type: Type,
        attrs: Mapping[str, Any] | None = None,
        weights: tuple[str, ...] = (),
    ) -> Node:
        return self.world.add(self.site, op, inputs, type, self.span, attrs, weights)


@dataclass(frozen=True)
class Builtin:
    """`inputs` names the values; a name with `*` takes any number. `clauses` maps each clause the
    built-in takes (over, where, new, as, by, to) to whether it must be there."""

    name: str
    group: str
    inputs: tuple[str, ...]
    rule: Callable[[Arguments], Node]
    doc: str
    options: tuple[Option, ...] = ()
    clauses: Mapping[str, bool] = field(default_factory=dict)

    @property
    def usage(self) -> str:
        """The call as a reader would write it."""
        parts = [name.replace("*", "") + (", …" if "*" in name else "") for name in self.inputs]
        for option in self.options:
            if option.default is REQUIRED:
                parts.append(option.name)
            else:
                parts.append(f"{option.name} = {_written(option.default)}")
        words = {
            "over": "over t",
            "as": "as axis",
            "by": "by score",
            "to": "t to s",
        }
        for clause, text in words.items():
            if clause in self.clauses:
                if clause == "over" and "new" in self.clauses:
                    text += " as u"
                if clause == "over" and "where" in self.clauses:
                    text += " where …"
                parts.append(text if self.clauses[clause] else f"[{text}]")
        return f"{self.name}({', '.join(parts)})"


def _written(default: Any) -> str:
    """A default as a spec would say it."""
    if default is None:
        return "none"
    if isinstance(default, tuple):
        name, *numbers = default
        return f"{name}({', '.join(map(str, numbers))})" if numbers else str(name)
    return str(default).lower() if isinstance(default, bool) else str(default)


BUILTINS: dict[str, Builtin] = {}


def declare(builtin: Builtin) -> None:
    assert builtin.name not in BUILTINS, builtin.name
    BUILTINS[builtin.name] = builtin
