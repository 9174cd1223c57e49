"""How a built-in is declared: its inputs, its statics, the clauses it takes, what becomes of a call.

Promises: `BUILTINS` has every built-in once, with a one-sentence doc; the reference and
`tests/elaborate/test_registry.py` walk it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

from specc.elaborate.binding import Signature
from specc.elaborate.world import Site, World
from specc.frozen import dataclass
from specc.ir.graph import Node
from specc.ops import OPS
from specc.ops.definition import REQUIRED, OpDef, Option
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Type


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
    to: tuple[tree.To, ...] = ()
    at: tree.Expr | None = None

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
    built-in takes (over, where, new, =, as, by, to) to whether it must be there."""

    name: str
    group: str
    inputs: tuple[str, ...]
    rule: Callable[[Arguments], Node]
    doc: str
    options: tuple[Option, ...] = ()
    clauses: Mapping[str, bool] = field(default_factory=dict)

    @cached_property
    def signature(self) -> Signature:
        """What a call of it is bound by."""
        return Signature(
            self.name,
            self.inputs,
            tuple(option.name for option in self.options),
            frozenset(option.name for option in self.options if option.default is REQUIRED),
            frozenset(self.clauses),
            tuple(option.name for option in self.options),
            self.usage,
        )

    @cached_property
    def by_name(self) -> Mapping[str, Option]:
        return {option.name: option for option in self.options}

    @property
    def usage(self) -> str:
        """The call as a reader would write it."""
        parts = [name.replace("*", "") + (", …" if "*" in name else "") for name in self.inputs]
        for option in self.options:
            if option.kind == "axis" and "over" in self.clauses:
                continue  # as it was written before
            if option.default is REQUIRED:
                parts.append(option.name)
            else:
                parts.append(f"{option.name} = {written(option.default)}")
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
                if clause == "over" and "=" in self.clauses:
                    text += " = position"
                parts.append(text if self.clauses[clause] else f"[{text}]")
        return f"{self.name}({', '.join(parts)})"


def written(default: Any) -> str:
    """Return a default as a spec would say it."""
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


Rule = Callable[[Arguments], Node]


def built_in(*names: str) -> Callable[[Rule], Rule]:
    """Declare operations as built-ins, called as they are defined; the function makes the node of a call."""

    def enter(rule: Rule) -> Rule:
        for name in names:
            declare(of_operation(OPS[name], rule))
        return rule

    return enter


def of_operation(known: OpDef, rule: Rule) -> Builtin:
    """Return an operation as a built-in."""
    assert known.call is not None, known.name
    call = known.call
    return Builtin(known.name, known.group, call.inputs, rule, known.doc, call.options, call.clauses)
