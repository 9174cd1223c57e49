"""Operations that are called as they are defined: the type of a node is what the definition's rule gives.

Promises: what a rule refuses is told at the call, as a fault of the spec's. Operations of other packages are
called in no other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, NoReturn

from specc.elaborate.broadcast import broadcast
from specc.elaborate.builtins.axes import no_children
from specc.elaborate.builtins.signature import Arguments, Rule
from specc.elaborate.conditions import condition
from specc.elaborate.lookup import axis_of_value
from specc.frozen import dataclass
from specc.ir.graph import FieldSpec, Node, Region, Weight
from specc.ops.definition import Call, OpDef
from specc.types.axis import Axis, Type
from specc.types.static import real


def as_defined(known: OpDef) -> Rule:
    """Return what becomes of a call of an operation: its inputs in order, then the condition of a `where`;
    its options as the attributes of their names, and the axis of `over` as `axis`, which is None without it.
    """
    assert known.call is not None, known.name
    call: Call = known.call

    def made(args: Arguments) -> Node:
        attrs = {name: _attribute(known.attrs[name], value) for name, value in args.options.items()}
        inputs = [node for node, _ in args.nodes]
        if "over" in call.clauses:
            attrs["axis"] = None if args.over is None else axis_of_value(args.over, args.x, args.site)
        if args.where is not None:
            inputs.append(condition(args.where, args.site, args.x.type))
        ids, types = tuple(n.id for n in inputs), tuple(n.type for n in inputs)
        node = Node(-1, known.name, ids, args.x.type, args.span, attrs)
        return args.add(known.name, inputs, known.rule(_Checker(args), node, types), attrs)

    return made


def _attribute(kind: Any, value: Any) -> Any:
    return real(value) if kind is float else value


@dataclass(frozen=True)
class _Checker:
    """Faults of a call. It has no weights, and is of no region."""

    args: Arguments
    weights: Mapping[str, Weight] = field(default_factory=dict)
    fields: Mapping[str, FieldSpec] = field(default_factory=dict)
    captures: tuple[Type, ...] = ()
    region: Region | None = None
    states: dict[int, tuple[Type, ...]] = field(default_factory=dict)
    types: Mapping[int, Type] = field(default_factory=dict)

    def require(self, node: Node, holds: bool, message: str) -> None:
        if not holds:
            found = ", ".join(str(n.type) for n, _ in self.args.nodes)
            raise self.args.world.fault(
                "E0404", f"`{node.op}` cannot take this: {message}", self.args.span, found=found
            )

    def shapes(self, node: Node, *expected: tuple[int, ...]) -> NoReturn:
        raise AssertionError(f"{node.op} is called with weights")

    def along(self, node: Node, x: Type, axis: Axis) -> None:
        if not x.has(axis):  # a number that is shown must be one: see specc/types/many.py
            self.require(node, False, f"{x} has no `{axis}`")
        self.childless(node, x, axis)

    def childless(self, node: Node, x: Type, axis: Axis) -> None:
        no_children(self.args, x, axis, self.args.span)

    def broadcast(self, node: Node, *types: Type) -> Type:
        return broadcast(self.args.site, self.args.span, *self.args.nodes)

    def inside(self, node: Node, axes: tuple[Axis, ...], captures: tuple[Type, ...]) -> NoReturn:
        raise AssertionError(f"{node.op} is called with a region")
