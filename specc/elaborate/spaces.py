"""Feature spaces: their axes, and a node for every field.

Promises: `space.field` and `space` are nodes of the graph itself; fields that name one table share its
weight; the axes of all spaces are known before anything else is elaborated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from specc.elaborate.encodings import Encoding, encoding
from specc.elaborate.lookup import origins
from specc.elaborate.scope import Scope
from specc.elaborate.statics import static
from specc.elaborate.world import Fault, Site, all_of
from specc.ir.graph import FieldSpec, Node, SpaceSpec, Weight
from specc.ops import op
from specc.report import Label
from specc.report.suggest import nearest
from specc.syntax import tree
from specc.types.axis import Axis, Type
from specc.types.static import describe, whole_between

ROLES = ("request", "candidate")
LONGEST = 10**6


def declare_axes(scope: Scope) -> None:
    """Name the axes of all spaces, so that any declaration can mention them."""
    spaces = [e.statement for e in scope.entries.values() if isinstance(e.statement, tree.Space)]
    for space in spaces:
        parent: Axis | None = None
        for item in space.axes:
            if item.like:
                parent = None
                continue
            try:
                parent = _own_axis(space, item, parent, scope)
            except Fault:
                parent = None
    for space in spaces:
        last: Axis | None = None
        for item in space.axes:
            if item.like:
                try:
                    last = _like(item, scope)
                except Fault:
                    last = None
            elif last is not None:
                # An axis of its own inside a shared one: named again, now with its parent.
                own = next(
                    (a for a in scope.axes.get(item.ident.name, []) if a.key[1] == space.ident.name), None
                )
                if own is not None and own.parent is None:
                    scope.axes[item.ident.name].remove(own)
                    last = Axis(own.key, own.name, own.bound, None, last)
                    scope.name_axis(item.ident.name, last)


def _own_axis(space: tree.Space, item: tree.AxisDecl, parent: Axis | None, scope: Scope) -> Axis:
    site, name = Site(scope, scope.frame, ""), item.ident.name
    assert item.bound is not None
    bound = static(item.bound, site)
    if not isinstance(bound, int) or isinstance(bound, bool) or not 1 <= bound <= LONGEST:
        raise scope.world.fault(
            "E0403",
            f"the bound of `{name}` must be an integer from 1 to {LONGEST:,}",
            item.bound.span,
            found=describe(bound),
            help=whole_between(bound, 1, LONGEST),
        )
    axis = Axis(("space", space.ident.name, name), name, bound, None, parent)
    if axis in scope.axes.get(name, []):
        raise scope.world.fault("E0202", f"`{space.ident.name}` has two axes `{name}`", item.span)
    scope.name_axis(name, axis)
    return axis


def _like(item: tree.AxisDecl, scope: Scope) -> Axis:
    name = item.ident.name
    found = scope.axes.get(name, [])
    if len(found) == 1:
        return found[0]
    if not found:
        raise scope.world.unknown("E0201", "axis", name, item.ident.span, scope.axes)
    raise scope.world.fault(
        "E0306",
        f"several axes are called `{name}`",
        item.ident.span,
        secondary=origins(found, scope),
        why="each space has axes of its own, so it is not clear which one is shared",
        help="give the spaces' axes different names",
    )


def _axes(space: tree.Space, scope: Scope) -> tuple[Axis, ...]:
    axes: list[Axis] = []
    for item in space.axes:
        if item.like:
            shared: Axis | None = _like(item, scope)
            chain: list[Axis] = []
            while shared is not None:
                chain.insert(0, shared)
                shared = shared.parent
            axes.extend(a for a in chain if a not in axes)
            continue
        own = [a for a in scope.axes.get(item.ident.name, []) if a.key[1] == space.ident.name]
        if not own or own[0] in axes:
            raise Fault  # reported when the axes were declared
        axes.extend(own)
    for first, second in itertools.pairwise(axes):
        if second.parent != first:
            raise scope.world.fault(
                "E0306",
                f"`{second.name}` does not live inside `{first.name}`",
                space.axes[-1].span,
                why="the axes of a space are nested: each lives in the one before it",
                help="a space has one sequence axis, or one inside the other",
            )
    return tuple(axes)


def space_value(scope: Scope, space: tree.Space) -> Node:
    """Return the concatenation of a space's fields. Raises Fault."""
    world, name = scope.world, space.ident.name
    site = Site(scope, world.root, "")
    if space.role.name not in ROLES:
        close = nearest(space.role.name, ROLES)
        world.report.error(
            "E0508",
            f"a space is `from request` or `from candidate`, not `{space.role.name}`",
            space.role.span,
            help=f"did you mean `{close}`?" if close else "",
            why="request: the same for every candidate that is scored; candidate: its own for each",
        )
    if not space.fields:
        raise world.fault("E0508", f"space `{name}` has no field", space.ident.span)
    _once(space, world.report.error)
    axes = _axes(space, scope)
    clashing = _names_elsewhere(scope, space)
    specs: list[FieldSpec] = []

    def one(field: tree.Field) -> Node:
        found = encoding(field.encoding, site)
        spec = _spec(space, field, found, axes, clashing, site)
        specs.append(spec)
        return _node(spec, found, site)

    nodes = all_of(*((lambda f=f: one(f)) for f in space.fields))
    if len(nodes) == 1:
        whole = nodes[0]
    else:
        width = sum(n.type.width for n in nodes)
        made = world.add(site, op.CONCAT, nodes, Type(axes, width), space.span)
        whole = world.name(world.root, made, name)
    world.spaces[name] = SpaceSpec(name, space.role.name, axes, tuple(specs), space.ident.span, space.doc)
    world.space_fields[whole.id] = tuple(nodes)
    return whole


def _once(space: tree.Space, error: object) -> None:
    assert callable(error)
    seen: dict[str, tree.Field] = {}
    for field in space.fields:
        if field.ident.name in seen:
            first = seen[field.ident.name].ident.span
            error(
                "E0202",
                f"`{space.ident.name}` has two fields `{field.ident.name}`",
                field.ident.span,
                secondary=(Label(first, "first declared here"),),
            )
            raise Fault
        seen[field.ident.name] = field


def _names_elsewhere(scope: Scope, space: tree.Space) -> frozenset[str]:
    """Return field names that another space has too: those need the column `space_field`."""
    others: Iterable[tree.Space] = (
        e.statement
        for e in scope.entries.values()
        if isinstance(e.statement, tree.Space) and e.statement is not space
    )
    return frozenset(f.ident.name for other in others for f in other.fields)


def _spec(
    space: tree.Space,
    field: tree.Field,
    found: Encoding,
    axes: tuple[Axis, ...],
    clashing: frozenset[str],
    site: Site,
) -> FieldSpec:
    path = f"{space.ident.name}.{field.ident.name}"
    said = field.column or found.column
    column: str | None = said.value if said else f"{space.ident.name}_{field.ident.name}"
    fallback = None if said or field.ident.name in clashing else field.ident.name
    table = f"{found.shared or path}.weight" if found.rows else None
    learnt = found.rows and (found.of or found).name == "vocab"
    options = dict(found.options)
    if found.name == "cross":
        column = fallback = None
        options["of"] = [_member(space, member) for member in found.members]
        if field.column is not None:
            raise site.world.fault(
                "E0404",
                "a cross has no column of its own",
                field.column.span,
                why="it is made of what its fields have read",
            )
    levels = len(axes) + (found.name in ("bag", "vector"))
    levels += site.world.of_requests and space.role.name == "candidate"
    if len(found.split) > levels:
        held = f"{levels} level{'s' if levels > 1 else ''} of lists" if levels else "one value a row"
        raise site.world.fault(
            "E0402",
            f"`split` has more separators than the column of `{path}` has levels: it holds {held}",
            field.encoding.span,
            help="an axis of the space is a list in its columns, and a `bag` or `vector` is one more inside"
            + "; the candidates of a request are one more outside" * site.world.of_requests,
        )
    return FieldSpec(
        path, space.ident.name, field.ident.name, column, fallback, space.role.name, axes, found.name,
        options, table, (found.shared or path) if learnt else None, found.width, field.span, found.split,
    )  # fmt: skip


def _member(space: tree.Space, member: tree.Ref | tree.Attribute) -> str:
    """Return the path of a field that is crossed; a bare name is of the same space."""
    if isinstance(member, tree.Ref):
        return f"{space.ident.name}.{member.name}"
    return f"{member.base.name}.{member.ident.name}"


def _node(spec: FieldSpec, found: Encoding, site: Site) -> Node:
    world, type_ = site.world, Type(spec.axes, found.width)
    name = f"{spec.space}_{spec.name}"
    if spec.table is None:
        made = world.add(site, op.INPUT, [], type_, spec.span, {"field": spec.path})
        return world.name(world.root, made, name)
    of = found.of or found
    world.weight(
        Weight(
            spec.table, (of.rows, of.width), "table", of.init, spec.span, found.shared or spec.path,
            l2=of.l2, l2_by_frequency=of.l2_by_frequency, frozen=of.frozen, pretrained=of.pretrained,
            vocabulary=spec.vocabulary,
        )
    )  # fmt: skip
    lookup, attrs = op.EMBED, {"field": spec.path}
    if found.name == "bag":
        lookup, attrs = op.EMBED_BAG, {"field": spec.path, "mode": found.options["mode"]}
    made = world.add(site, lookup, [], type_, spec.span, attrs, (spec.table,))
    return world.name(world.root, made, name)
