"""Crosses: several fields read as one key, checked once all the fields are known.

Promises: each field of a cross exists, has one key at each place where the cross has one, and is known where
the cross is: what is the same for all candidates may be crossed with what differs, and not the other way.
"""

from __future__ import annotations

import contextlib

from specc.elaborate.scope import Scope
from specc.elaborate.world import Fault
from specc.ir.graph import FieldSpec
from specc.source import Span
from specc.syntax import tree

CROSSED = ("ids", "vocab", "hash", "bucket", "time")


def check_crosses(scope: Scope) -> None:
    """Report what is wrong with the crosses of all spaces."""
    for space in scope.world.spaces.values():
        for spec in space.fields:
            if spec.encoding == "cross":
                for path, span in zip(spec.options["of"], _written(scope, spec), strict=True):
                    with contextlib.suppress(Fault):
                        _check(scope, spec, path, span)


def _written(scope: Scope, spec: FieldSpec) -> list[Span]:
    """Return where the fields of a cross are named."""
    statement = scope.entries[spec.space].statement
    assert isinstance(statement, tree.Space)
    call = next(f.encoding for f in statement.fields if f.ident.name == spec.name)
    assert isinstance(call, tree.Call)
    return [a.value.span for a in call.args if isinstance(a, tree.Positional)]


def _check(scope: Scope, spec: FieldSpec, path: str, span: Span) -> None:
    world = scope.world
    space, _, name = path.partition(".")
    declared = scope.entries.get(space)
    if declared is None or not isinstance(declared.statement, tree.Space):
        spaces = [n for n, e in scope.entries.items() if isinstance(e.statement, tree.Space)]
        raise world.unknown("E0201", "space", space, span, spaces)
    if space not in world.spaces:
        raise Fault  # it has faults of its own
    fields = world.spaces[space].fields
    member = next((f for f in fields if f.name == name), None)
    if member is None:
        names = [f.name for f in fields if f is not spec]
        raise world.unknown("E0201", "field", name, span, names, f"space `{space}`")
    if member.encoding not in CROSSED:
        raise world.fault(
            "E0509",
            f"`{path}` cannot be crossed: it is a {member.encoding}",
            span,
            expected="a field with one key: " + ", ".join(f"`{c}`" for c in CROSSED),
            help="numbers are crossed as buckets: `bucket([18, 25, 35], 4)`" if member.table is None else "",
        )
    if spec.role == "request" and member.role == "candidate":
        raise world.fault(
            "E0508",
            f"`{path}` is of a candidate, and `{spec.path}` is the same for all of them",
            span,
            help=f"write the cross in `{space}`: there, fields of the request are known",
        )
    if spec.axes[: len(member.axes)] != member.axes or (spec.role != member.role and member.axes):
        raise world.fault(
            "E0303",
            f"`{path}` is not one key at each place of `{spec.path}`",
            span,
            expected=_axes(spec),
            found=_axes(member),
        )


def _axes(spec: FieldSpec) -> str:
    return f"a value at each [{', '.join(axis.name for axis in spec.axes)}]" if spec.axes else "one value"
