"""Recurrences: `scan` walks a sequence axis with states.

Promises: one `scan` node whose region computes every state's next value from the captures and the
states at one position; the states' axes are the smallest set that the body does not outgrow.
"""

from __future__ import annotations

from specc.elaborate.blocks import declare_name
from specc.elaborate.lookup import axis_by_name, unwalked
from specc.elaborate.scope import Scope
from specc.elaborate.statics import static
from specc.elaborate.world import Fault, Frame, Site, all_of
from specc.ir.graph import Node, Region
from specc.ir.prune import pruned_region
from specc.names.program import taken
from specc.ops import op
from specc.report import Fix, Label
from specc.report.suggest import nearest
from specc.syntax import tree
from specc.types.axis import Axis, Type, union
from specc.types.static import describe, whole_between


def scan_value(scope: Scope, scan: tree.Scan, name: str) -> Node:
    """Return the sequence of one of a scan's states. Raises Fault."""
    if id(scan) not in scope.scans:
        scope.scans[id(scan)] = ()  # a failed scan is not tried again for its other states
        scope.scans[id(scan)] = _scan(scope, scan)
    nodes = scope.scans[id(scan)]
    for state, node in zip(scan.states, nodes, strict=False):
        if state.ident.name == name:
            return node
    raise Fault


def _scan(scope: Scope, scan: tree.Scan) -> tuple[Node, ...]:
    world = scope.world
    site = Site(scope, scope.frame, scope.path)
    axis = axis_by_name(scan.axis.name, scan.axis.span, site)
    unwalked(axis, scan.axis.span, site)
    nexts = _nexts(scan, site)
    widths: list[int] = all_of(*((lambda s=s: _width(s, site)) for s in scan.states))
    inits = all_of(
        *((lambda s=s, w=w: _init(s, w, axis, site)) for s, w in zip(scan.states, widths, strict=True))
    )
    parents = axis.parent.chain if axis.parent else ()
    axes = [union(Type(parents, 1), *([i.type] if i else [])) for i in inits]
    while True:
        types = [Type(a, w) for a, w in zip(axes, widths, strict=True)]
        frame, states, values = _elaborate(scope, scan, axis, types, nexts)
        grown = [union(t, v.type) for t, v in zip(types, values, strict=True)]
        if all(len(g) == len(a) for g, a in zip(grown, axes, strict=True)):
            break
        # A next value has more axes than its state: each of those has a state of its own.
        axes = grown
    outer_inits = [i for i in inits if i is not None]
    starts = iter(range(len(frame.order), len(frame.order) + len(outer_inits)))
    region = Region(
        tuple(frame.nodes),
        tuple(frame.captured[n.id].id for n in frame.order),
        tuple(s.id for s in states),
        tuple(None if i is None else next(starts) for i in inits),
        tuple(v.id for v in values),
    )
    region, kept = pruned_region(region)  # a size may have been asked of what no step reads
    inputs = [[*frame.order, *outer_inits][i] for i in kept]
    for captured in inputs[: len(region.captures)]:
        child = next((a for a in captured.type.axes if a.parent == axis), None)
        if child is not None:
            raise world.fault(
                "E0307",
                f"`{child.name}` lives inside `{axis.name}`",
                scan.axis.span,
                found=str(captured.type),
                secondary=(Label(captured.span, "used in the scan, defined here"),),
                help=f"reduce over `{child.name}` before the scan",
            )
    return _finish(scope, scan, axis, region, inputs, types)


def _finish(
    scope: Scope, scan: tree.Scan, axis: Axis, region: Region, inputs: list[Node], types: list[Type]
) -> tuple[Node, ...]:
    """Return the scan's node and one more for each further state."""
    world, site = scope.world, Site(scope, scope.frame, scope.path)
    whole = [Type(union(Type((*t.axes, *axis.chain), 1)), t.width) for t in types]
    attrs = {"axis": axis, "backward": scan.backward}
    first = world.add(site, op.SCAN, inputs, whole[0], scan.span, attrs, region=region)
    nodes = [first]
    for index, type_ in enumerate(whole[1:], 1):
        nodes.append(world.add(site, op.SCAN_OUT, [first], type_, scan.span, {"index": index}))
    return tuple(
        world.name(scope.frame, node, state.ident.name)
        for node, state in zip(nodes, scan.states, strict=True)
    )


def _width(state: tree.State, site: Site) -> int:
    width = static(state.width, site)
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise site.world.fault(
            "E0403",
            f"the width of state `{state.ident.name}` must be an integer of at least 1",
            state.width.span,
            found=describe(width),
            help=whole_between(width, 1),
        )
    return width


def _init(state: tree.State, width: int, axis: Axis, site: Site) -> Node | None:
    if state.init is None:
        return None
    node = site.value(state.init)
    if node.type.width != width:
        raise site.world.fault(
            "E0301",
            f"`{state.ident.name}` starts with another width than it has",
            state.init.span,
            expected=f"width {width}",
            found=str(node.type),
            help=f"bring it to that width with `|> linear({width})`",
        )
    if axis in node.type.axes:
        raise site.world.fault(
            "E0304",
            f"`{state.ident.name}` starts with one value, and this has one at each `{axis.name}`",
            state.init.span,
            found=str(node.type),
            help=f"take one position, such as `first(…, over {axis.name})`",
        )
    return node


def _nexts(scan: tree.Scan, site: Site) -> dict[str, tree.Next]:
    """Return the `next` statement of every state: one each, no more."""
    names = [s.ident.name for s in scan.states]
    nexts: dict[str, tree.Next] = {}
    failed = False
    for item in scan.body:
        if not isinstance(item, tree.Next):
            continue
        name = item.ident.name
        if name not in names:
            failed = True
            if site.report.lost(name):
                continue
            close = nearest(name, names)
            site.report.error(
                "E0507",
                f"the scan has no state `{name}`",
                item.ident.span,
                help=f"did you mean `{close}`?" if close else "its states are named after `scan`",
                secondary=(Label(scan.states[0].span, "the states are declared here"),),
            )
            failed = True
        elif name in nexts:
            site.report.error(
                "E0202",
                f"`next {name}` is given twice",
                item.ident.span,
                secondary=(Label(nexts[name].span, "first given here"),),
            )
            failed = True
        nexts.setdefault(name, item)
    misnamed = failed  # a `next` of another name may have been meant for a state
    for state in scan.states:
        name = state.ident.name
        if name in nexts:
            continue
        failed = True
        if misnamed or site.report.lost("next", scan.span):
            continue
        bound = next((b for b in scan.body if isinstance(b, tree.Binding) and b.ident.name == name), None)
        fix = None if bound is None else Fix(bound.ident.span, f"next {name}", f"write `next {name}`")
        site.report.error(
            "E0507",
            f"state `{name}` never changes",
            state.span,
            secondary=() if bound is None else (Label(bound.ident.span, "`next` is missing here"),),
            help=f"give it its new value: `next {name} = …`",
            fix=fix,
        )
    if failed:
        raise Fault
    return nexts


def _path(scope: Scope, scan: tree.Scan) -> str:
    """Return what heads the names of a body's weights: where a block has several scans, a state of each, so
    that a gate of one is not the gate of the same name in another."""
    scans = {id(e.statement) for e in scope.entries.values() if isinstance(e.statement, tree.Scan)}
    return scope.path if len(scans) == 1 else f"{scope.path}.{scan.states[0].ident.name}"


def _elaborate(
    scope: Scope, scan: tree.Scan, axis: Axis, types: list[Type], nexts: dict[str, tree.Next]
) -> tuple[Frame, list[Node], list[Node]]:
    """Return the region for states of the given types: its frame, the states and their next values."""
    world = scope.world
    frame = Frame(scope.frame, axis)
    body = Scope(world, scope.module, _path(scope, scan), frame, scope)
    states = []
    for index, (state, type_) in enumerate(zip(scan.states, types, strict=True)):
        node = world.put(frame, op.STATE, (), type_, state.span, {"index": index}, (), scope.path)
        states.append(world.name(frame, node, state.ident.name))
        body.bind(state.ident.name, states[-1], state.ident.span)
    steps: list[tree.Statement] = []
    for step in scan.body:
        steps += taken(step) if isinstance(step, tree.Unpack) else [step]
    for item in steps:
        if isinstance(item, tree.Binding | tree.Layer):
            known = scope.entries.get(item.ident.name)
            if known is not None:
                declare_name(scope, item.ident, item)
            declare_name(body, item.ident, item)

    def one(state: tree.State, type_: Type) -> Node:
        item = nexts[state.ident.name]
        path = f"{scope.path}.{state.ident.name}" if scope.path else state.ident.name
        node = world.localize(Site(body, frame, path).value(item.value), frame)
        if node.type.width != type_.width:
            raise world.fault(
                "E0301",
                f"`next {state.ident.name}` has another width than `{state.ident.name}`",
                item.value.span,
                expected=f"width {type_.width}",
                found=str(node.type),
                secondary=(Label(state.span, "the state is declared here"),),
                help=f"bring it to that width with `|> linear({type_.width})`",
            )
        return node

    makers = [(lambda s=s, t=t: one(s, t)) for s, t in zip(scan.states, types, strict=True)]
    waiting = [(n, e) for n, e in body.entries.items() if e.state == "waiting"]
    makers += [(lambda n=n, e=e: body.value_of(e, n)) for n, e in waiting]
    return frame, states, all_of(*makers)[: len(states)]
