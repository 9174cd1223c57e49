"""Crosses: several fields read as one key, checked once all the fields are known.

Promises: each field of a cross exists, has one key at each place where the cross has one, and is known where
the cross is: what is the same for all candidates may be crossed with what differs, and not the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

from specc.graph.expressions import entry_value
from specc.graph.ir import FieldSpec
from specc.graph.world import Fault, Scope
from specc.syntax import tree

CROSSED = ("ids", "vocab", "hash", "bucket", "time")


def check_crosses(scope: Scope, specs: Sequence[FieldSpec]) -> None:
    """Check the crosses among a space's fields. Raises Fault once every mistake is reported."""
    failed = False
    for spec in specs:
        for path in spec.options["of"] if spec.encoding == "cross" else ():
            try:
                _check(scope, spec, path, specs)
            except Fault:
                failed = True
    if failed:
        raise Fault


def _check(scope: Scope, spec: FieldSpec, path: str, specs: Sequence[FieldSpec]) -> None:
    world = scope.world
    space, _, name = path.partition(".")
    fields = specs if space == spec.space else _fields_of(scope, space, spec)
    member = next((f for f in fields if f.name == name), None)
    if member is None:
        names = [f.name for f in fields if f is not spec]
        raise world.unknown("E0201", f"field of `{space}`", name, spec.span, names)
    if member.encoding not in CROSSED:
        raise world.fault(
            "E0509",
            f"`{path}` cannot be crossed: it is a {member.encoding}",
            spec.span,
            expected="a field with one key: " + ", ".join(f"`{c}`" for c in CROSSED),
            help="numbers are crossed as buckets: `bucket([18, 25, 35], 4)`" if member.table is None else "",
        )
    if spec.role == "request" and member.role == "candidate":
        raise world.fault(
            "E0508",
            f"`{path}` is of a candidate, and `{spec.path}` is the same for all of them",
            spec.span,
            help=f"write the cross in `{space}`: there, fields of the request are known",
        )
    if spec.axes[: len(member.axes)] != member.axes or (spec.role != member.role and member.axes):
        raise world.fault(
            "E0303",
            f"`{path}` is not one key at each place of `{spec.path}`",
            spec.span,
            expected=_axes(spec),
            found=_axes(member),
        )


def _fields_of(scope: Scope, space: str, spec: FieldSpec) -> Sequence[FieldSpec]:
    entry = scope.entries.get(space)
    if entry is None or not isinstance(entry.statement, tree.Space):
        spaces = [n for n, e in scope.entries.items() if isinstance(e.statement, tree.Space)]
        raise scope.world.unknown("E0201", "space", space, spec.span, spaces)
    entry_value(scope, entry, space)
    return scope.world.spaces[space].fields


def _axes(spec: FieldSpec) -> str:
    return f"[{', '.join(axis.name for axis in spec.axes)}]" if spec.axes else "one value for an example"
