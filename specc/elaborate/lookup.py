"""Which axis a name means: `over step`, `rename(x, t to s)`, `bound(t)`.

Promises: an axis found is one the value has; otherwise E0304/E0305/E0306 says what there is.
"""

from __future__ import annotations

from collections.abc import Iterable

from specc.elaborate.scope import Scope
from specc.elaborate.world import Site
from specc.ir.graph import Node
from specc.report import Label
from specc.report.suggest import nearest
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis
from specc.types.kinds import origin


def axis_of_value(ident: tree.Ident, node: Node, site: Site) -> Axis:
    """Return the axis of `node` that a name means at this place. Raises Fault."""
    axes = node.type.axes
    local = site.scope.axes_named(ident.name)
    found = [a for a in axes if a in local]
    if not found and axes:
        site.scope.make_axes(ident.name)  # of one axis that has two names, one may be given further down
        local = site.scope.axes_named(ident.name)
        found = [a for a in axes if a in local]
    if not found:
        # An axis that this scope has no name for (it came out of a block) goes by its own name.
        found = [a for a in axes if a.name == ident.name and not site.scope.knows_axis(a)]
    if len(found) == 1:
        unwalked(found[0], ident.span, site)
        return found[0]
    if len(found) > 1:
        raise site.world.fault(
            "E0306",
            f"`{ident.name}` could be two axes of this value",
            ident.span,
            found=str(node.type),
            secondary=origins(found, site.scope),
            help="name the derived axis with `as` where it is made, such as `tail(x, over t as u)`",
        )
    close = nearest(ident.name, [a.name for a in axes])
    if close:
        advice = f"did you mean `over {close}`?"
    elif axes:
        advice = "it has " + " and ".join(f"`{a.name}`" for a in axes)
    else:
        advice = "it is one vector and has no axis to go over"
    raise site.world.fault(
        "E0304",
        f"the value has no axis `{ident.name}`",
        ident.span,
        expected=f"a value with `{ident.name}`, such as [{ident.name}, {node.type.width}]",
        found=str(node.type),
        help=advice,
    )


def origins(axes: Iterable[Axis], scope: Scope) -> tuple[Label, ...]:
    """Return where axes of spaces are declared, as second places."""
    labels: list[Label] = []
    for axis in axes:
        found = scope.find(str(axis.key[1])) if axis.kind == "space" else None
        if found is not None and isinstance(found[1].statement, tree.Space):
            labels += [
                Label(item.ident.span, f"one is of `{axis.key[1]}`")
                for item in found[1].statement.axes
                if item.ident.name == axis.name and not item.like
            ]
    return tuple(labels)


def axis_by_name(name: str, span: Span, site: Site) -> Axis:
    """Return the axis that a name means with no value at hand (`length(t)`, `learned w[t, 1]`)."""
    made = site.scope.make_axes(name)
    found = site.scope.axes_named(name)
    # An axis derived from another keeps its name unless it is given one: the name alone means the first.
    first = [a for a in found if not any(b != a and is_made_of(a, b) for b in found)]
    if len(first) == 1:
        return first[0]
    if not found:
        scope, known = site.scope, set[str]()
        while scope is not None:
            known |= set(scope.axes)
            if scope.outer is None:
                break
            scope = scope.outer
        if made:
            raise site.world.fault(
                "E0201",
                f"there is no axis `{name}` yet",
                span,
                label="unknown name",
                why=f"what makes `{name}` needs this first, or stands behind it in the same statement",
                help=f"give what makes `{name}` a binding of its own, or its size here too: `{name} = …`",
            )
        raise site.world.unknown("E0201", "axis", name, span, known)
    raise site.world.fault(
        "E0306",
        f"several axes are called `{name}`",
        span,
        found=", and ".join(origin(a) for a in first),
        secondary=origins(found, site.scope),
        why="each space has axes of its own, unless one is declared `like` the other"
        if any(a.kind == "space" for a in found)
        else "an axis is its name and its size",
        help="give them different names"
        + (", or share one with `like`" if any(a.kind == "space" for a in found) else ""),
    )


def is_made_of(axis: Axis, other: Axis) -> bool:
    """Return whether an axis was derived from another, in however many steps."""
    return any(source == other or is_made_of(source, other) for source in axis.source)


def unwalked(axis: Axis, span: Span, site: Site) -> None:
    """A scan's body sees one sequence at a time, so the axes that its axis lives in are settled there."""
    frame = site.frame
    while frame.outer is not None:
        walked = frame.axis
        outer = None if walked is None else walked.parent
        while outer is not None and walked is not None:
            if outer == axis:
                raise site.world.fault(
                    "E0307",
                    f"`{axis.name}` is settled inside a scan over `{walked.name}`",
                    span,
                    why=f"each `{axis.name}` has `{walked.name}`s of its own, and is walked by itself",
                    help=f"work over `{axis.name}` before the scan or after it",
                )
            outer = outer.parent
        frame = frame.outer
