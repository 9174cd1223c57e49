"""Calls of blocks: the signature's variables bound to the arguments' axes and widths, the body inlined.

Promises: every call is an instance of its own (its scope's path heads the names of its weights and
axes); an `attention` leaves a record of its weights; what the body makes is checked against the
declared type. Leaves scans to `scans`, single statements to `declarations`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from specc.graph.expressions import all_of, entry_value, static_or_layer, value
from specc.graph.ir import AttentionRecord, Node
from specc.graph.lookup import axis_of_value
from specc.graph.statics import describe_domain, in_domain, static, truth
from specc.graph.world import AttentionUse, Entry, Fault, LayerValue, Scope, Site, World
from specc.names.program import Module
from specc.report import Label
from specc.report.suggest import suggestion
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis
from specc.types.static import describe, kind_of

Given = tuple[Node, Span]


def call_block(
    module: Module, block: tree.Block, expr: tree.Call, site: Site, first: list[Given] | None
) -> Node:
    """The value of one instance of a block. Raises Fault.

    first: what is piped in; None where that is faulty.
    """
    world = site.world
    name = block.ident.name
    if any(other is block for other in world.calls):
        path = " -> ".join([*(b.ident.name for b in world.calls), name])
        raise world.fault(
            "E0502",
            f"`{name}` calls itself",
            expr.callee.span,
            why=f"every call is written out in place, so this would never end: {path}",
            help="repeat a layer with `repeat(n, layer)`; walk a sequence with `scan`",
        )
    if _declared_twice(block):
        raise Fault  # reported where the block is declared
    inputs, statics, over = _bind(block, expr, site, first)
    scope = Scope(world, module, site.child(name), site.frame, module_scope(world, module), block=True)
    passing = _bind_types(block, inputs, over, scope, site)
    world.calls.append(block)
    world.call_sites.append((name, expr.span))
    try:
        _bind_statics(block, statics, scope)
        _check_widths(block, inputs, scope)
        result = _body(block, scope)
        _check_result(block, result, scope, passing)
    finally:
        world.calls.pop()
        world.call_sites.pop()
    if block.kind == "attention" and site.frame.outer is None:
        _record(block, inputs, result, scope)
    # What passed through keeps whatever name it has here, if any: its own may mean another axis here.
    for axis in result.type.axes:
        if axis not in passing and not site.scope.knows_axis(axis):
            site.scope.name_axis(axis.name, axis)
    return result


def module_scope(world: World, module: Module) -> Scope:
    """The scope of a file's own declarations."""
    scope = world.module_scopes.get(id(module))
    if scope is None:
        scope = Scope(world, module, "", world.root)
        for name, item in module.named.items():
            scope.entries[name] = Entry(item, item.ident.span)
        world.module_scopes[id(module)] = scope
    return scope


# ------------------------------------------------------------------- arguments


def usage(block: tree.Block) -> str:
    """The block's signature, as it was written."""
    inputs = ", ".join(i.ident.name + i.type.span.text for i in block.inputs)
    statics = ", ".join(s.span.text for s in block.statics)
    return f"{block.ident.name}({inputs}{'; ' if statics else ''}{statics})"


def _bind(
    block: tree.Block, expr: tree.Call, site: Site, first: list[Given] | None
) -> tuple[dict[str, Given], dict[str, tuple[Any, Span]], tree.Over | None]:
    """Inputs, statics and the `over` clause by name, every mistake of the call reported."""
    world, name = site.world, block.ident.name
    declared = Label(block.ident.span, "declared here")
    given_names = [i.ident.name for i in block.inputs]
    inputs: dict[str, Given] = dict(zip(given_names, first or (), strict=False))
    statics: dict[str, tuple[Any, Span]] = {}
    over: tree.Over | None = None
    domains = {s.ident.name: s.domain for s in block.statics}
    order = [i.ident.name for i in block.inputs] + list(domains)
    named = {a.ident.name for a in expr.args if isinstance(a, tree.Keyword)}
    failed = (1 if first is None else len(first)) > len(block.inputs)
    if failed:
        site.report.error(
            "E0404", f"`{name}` takes no input", expr.span, expected=usage(block), secondary=(declared,)
        )

    def give(target: str, argument: tree.Expr, span: Span) -> None:
        if target in domains:
            statics[target] = (static_or_layer(argument, site, domains[target]), span)
        else:
            inputs[target] = (value(argument, site), span)

    seen: set[str] = set(given_names[:1]) if first is None else set(inputs)
    for argument in expr.args:
        try:
            match argument:
                case tree.Positional(value=given):
                    free = [n for n in order if n not in seen and n not in named]
                    if not free:
                        raise world.fault(
                            "E0404",
                            f"`{name}` is given an argument too many",
                            argument.span,
                            expected=usage(block),
                            secondary=(declared,),
                        )
                    seen.add(free[0])
                    give(free[0], given, argument.span)
                case tree.Keyword(ident=ident, value=given):
                    if ident.name not in order:
                        if site.report.lost(ident.name):
                            raise Fault
                        help, fix = suggestion(ident.name, ident.span, order)
                        raise world.fault(
                            "E0402",
                            f"`{name}` has no option `{ident.name}`",
                            ident.span,
                            label="unknown option",
                            expected=usage(block),
                            help=help,
                            secondary=(declared,),
                            fix=fix,
                        )
                    if ident.name in seen:
                        raise world.fault("E0404", f"`{ident.name}` is given twice", ident.span)
                    seen.add(ident.name)
                    give(ident.name, given, argument.span)
                case tree.Over(new=None, where=None) if over is None and _axis_variables(block):
                    over = argument
                case _:
                    word = argument.span.text.split(" ", 1)[0]
                    raise world.fault(
                        "E0404",
                        f"`{name}` takes no `{word}`" + (" here" if over else ""),
                        argument.span,
                        expected=usage(block),
                        secondary=(declared,),
                    )
        except Fault:
            failed = True
    missing = [n.ident.name for n in block.inputs if n.ident.name not in seen]
    missing += [s.ident.name for s in block.statics if s.default is None and s.ident.name not in seen]
    if missing and not failed:
        site.report.error(
            "E0404",
            f"`{name}` lacks " + " and ".join(f"`{m}`" for m in missing),
            expr.span,
            expected=usage(block),
            secondary=(declared,),
        )
    if failed or missing or first is None:
        raise Fault
    return inputs, statics, over


def _axis_variables(block: tree.Block) -> list[str]:
    return list(dict.fromkeys(a.name for i in block.inputs for a in i.type.axes))


# ---------------------------------------------------------------------- types


def _bind_types(
    block: tree.Block, inputs: dict[str, Given], over: tree.Over | None, scope: Scope, site: Site
) -> frozenset[Axis]:
    """Bind the signature's axis and width variables in the block's scope; gives the axes that only
    pass through."""
    bound: dict[str, Axis] = {}
    variables = _axis_variables(block)

    def one(item: tree.Input) -> None:
        node, place = inputs[item.ident.name]
        for ident in item.type.axes:
            if ident.name in bound:
                if bound[ident.name] not in node.type.axes:
                    raise _lacks_axis(block, item, ident, node, place, scope.world, bound[ident.name])
            elif over is not None and ident.name == variables[0]:
                bound[ident.name] = axis_of_value(over.axis, node, site)
            else:
                bound[ident.name] = _match(block, item, ident, node, place, site, bound)
        scope.bind(item.ident.name, node, place)

    all_of(*((lambda item=item: one(item)) for item in block.inputs))
    for name, axis in bound.items():
        scope.name_axis(name, axis)
    for item in block.inputs:
        node, place = inputs[item.ident.name]
        mentioned = {bound[ident.name] for ident in item.type.axes}
        for name, axis in bound.items():
            if axis in node.type.axes and axis not in mentioned and not _is_ancestor(axis, node.type.axes):
                raise scope.world.fault(
                    "E0503",
                    f"`{item.ident.name}` has the axis `{axis.name}` too",
                    place,
                    expected=f"{item.type.span.text}, without `{axis.name}`",
                    found=str(node.type),
                    secondary=(Label(item.span, f"declared without `{name}` here"),),
                    why=f"`{block.ident.name}` works along it as `{name}`, so it cannot also pass through",
                    help=f"give the value an axis of its own: `rename({place.text}, {axis.name} to s)`",
                )
    every = {axis for node, _ in inputs.values() for axis in node.type.axes}
    return frozenset(every - set(bound.values()))


def _is_ancestor(axis: Axis, axes: tuple[Axis, ...]) -> bool:
    """A parent comes along with every axis that lives in it."""
    for other in axes:
        up = other.parent
        while up is not None:
            if up == axis:
                return True
            up = up.parent
    return False


def _lacks_axis(
    block: tree.Block, item: tree.Input, ident: tree.Ident, node: Node, place: Span, world: World,
    axis: Axis | None,
) -> Fault:  # fmt: skip
    meant = f" (`{axis.name}` here)" if axis and axis.name != ident.name else ""
    return world.fault(
        "E0304",
        f"`{item.ident.name}` of `{block.ident.name}` needs the axis `{ident.name}`{meant}",
        place,
        expected=item.type.span.text,
        found=str(node.type),
        secondary=(Label(item.span, "declared here"),),
        help="give it a value that has an axis, such as a space declared with `[t <= 100]`"
        if not node.type.axes
        else "",
    )


def _match(
    block: tree.Block, item: tree.Input, ident: tree.Ident, node: Node, place: Span, site: Site,
    bound: dict[str, Axis],
) -> Axis:  # fmt: skip
    """The axis of an argument that an axis variable stands for."""
    free = [a for a in node.type.axes if a not in bound.values()]
    if not free:
        raise _lacks_axis(block, item, ident, node, place, site.world, None)
    alike = [a for a in free if a in site.scope.axes_named(ident.name)]
    alike = alike or [a for a in free if a.name == ident.name]
    if len(alike) == 1:
        return alike[0]
    if len(free) == 1:
        return free[0]
    raise site.world.fault(
        "E0306",
        f"`{ident.name}` of `{block.ident.name}` could be any of "
        + " and ".join(f"`{a.name}`" for a in free),
        place,
        expected=item.type.span.text,
        found=str(node.type),
        secondary=(Label(item.span, "declared here"),),
        help=f"say which: `{block.ident.name}(…, over {free[-1].name})`",
    )


def _bind_statics(block: tree.Block, given: dict[str, tuple[Any, Span]], scope: Scope) -> None:
    """Statics in order: what the call gave, else the default, which may use widths and earlier ones."""
    site = Site(scope, scope.frame, scope.path)
    _bind_width_variables(block, scope)

    def one(item: tree.Static) -> None:
        name = item.ident.name
        if name in given:
            result, place = given[name]
        else:
            assert item.default is not None
            result, place = static_or_layer(item.default, site, item.domain), item.default.span
        if item.domain is not None and not isinstance(result, LayerValue):
            if not in_domain(result, item.domain, site):
                raise scope.world.fault(
                    "E0406",
                    f"`{name}` of `{block.ident.name}` cannot be {describe(result)}",
                    place,
                    expected=describe_domain(item.domain, site),
                    found=describe(result),
                    secondary=(Label(item.span, "its domain is declared here"),),
                )
        scope.entries[name] = Entry(item, item.ident.span, result, "done")

    all_of(*((lambda item=item: one(item)) for item in block.statics))


def _is_variable(expr: tree.Expr, block: tree.Block, scope: Scope) -> bool:
    """A bare name in a signature is a variable, unless it is one of the block's statics or a param."""
    if not isinstance(expr, tree.Ref) or any(s.ident.name == expr.name for s in block.statics):
        return False
    found = scope.outer.find(expr.name) if scope.outer else None
    return found is None or not isinstance(found[1].statement, tree.Param)


def _bind_width_variables(block: tree.Block, scope: Scope) -> None:
    for item in block.inputs:
        expr = item.type.width
        if isinstance(expr, tree.Ref) and _is_variable(expr, block, scope):
            node: Node = scope.entries[item.ident.name].value
            known = scope.entries.get(expr.name)
            if known is None:
                scope.bind(expr.name, node.type.width, item.span)


def _check_widths(block: tree.Block, inputs: dict[str, Given], scope: Scope) -> None:
    site = Site(scope, scope.frame, scope.path)

    def one(item: tree.Input) -> None:
        node, place = inputs[item.ident.name]
        wanted = static(item.type.width, site)
        if wanted != node.type.width:
            text = item.type.width.span.text
            shown = f"{text} = {describe(wanted)}" if not isinstance(item.type.width, tree.Number) else text
            raise scope.world.fault(
                "E0301",
                f"`{item.ident.name}` of `{block.ident.name}` has the wrong width",
                place,
                expected=f"width {shown}",
                found=str(node.type),
                secondary=(Label(item.span, "declared here"),),
                help=f"bring it to that width with `|> linear({describe(wanted)})`",
            )

    all_of(*((lambda item=item: one(item)) for item in block.inputs))


# ----------------------------------------------------------------------- body


def _body(block: tree.Block, scope: Scope) -> Node:
    world = scope.world
    returned: tree.Return | None = None
    for item in block.body:
        match item:
            case tree.Binding() | tree.Layer() | tree.Learned():
                declare_name(scope, item.ident, item)
            case tree.Scan():
                for state in item.states:
                    declare_name(scope, state.ident, item)
            case tree.Return():
                if returned is not None:
                    world.report.error(
                        "E0501",
                        f"`{block.ident.name}` returns twice",
                        item.span,
                        secondary=(Label(returned.span, "it returns here"),),
                        help="keep one `return`; several results stand side by side in `concat`",
                    )
                returned = returned or item
    failed = False
    for item in block.body:
        if isinstance(item, tree.Require):
            try:
                require(item, Site(scope, scope.frame, scope.path))
            except Fault:
                failed = True
    if failed:
        raise Fault
    if returned is None:
        if world.report.lost("return"):
            raise Fault
        raise world.fault(
            "E0501",
            f"`{block.ident.name}` returns nothing",
            block.ident.span,
            help="end its body with `return …`",
        )
    final = returned
    # Every statement is elaborated, so that a fault in an unused one is seen too.
    makers: list[Callable[[], Any]] = [lambda: value(final.value, Site(scope, scope.frame, scope.path))]
    makers += [
        partial(entry_value, scope, entry, name)
        for name, entry in scope.entries.items()
        if entry.state == "waiting"
    ]
    result: Node = all_of(*makers)[0]
    return world.localize(result, scope.frame)


def declare_name(scope: Scope, ident: tree.Ident, statement: tree.Node) -> None:
    known = scope.entries.get(ident.name)
    if known is not None:
        raise scope.world.fault(
            "E0202",
            f"`{ident.name}` is declared twice",
            ident.span,
            label="declared again here",
            secondary=(Label(known.span, "first declared here"),),
            why="a name stands for one thing; nothing is assigned a second time",
            help="give one of them another name",
        )
    scope.entries[ident.name] = Entry(statement, ident.span)


def require(item: tree.Require, site: Site) -> None:
    """A static condition that must hold. Raises Fault if it does not, with the values it has."""
    if truth(item.condition, site, "`require`"):
        return
    values = sorted({f"{r} = {describe(v)}" for r, v in _values(item.condition, site)})
    raise site.world.fault(
        "E0512",
        item.message.value if item.message else f"it is required that {item.condition.span.text}",
        item.condition.span,
        label="this does not hold",
        found=", ".join(values),
        help="choose other values for the params",
    )


def _values(expr: tree.Expr, site: Site) -> list[tuple[str, Any]]:
    match expr:
        case tree.Ref(name=name):
            found = site.scope.find(name)
            return [] if found is None else [(name, entry_value(*found, name))]
        case tree.Unary(operand=operand):
            return _values(operand, site)
        case tree.Binary(left=left, right=right):
            return _values(left, site) + _values(right, site)
        case _:
            return []


# --------------------------------------------------------------------- result


def _check_result(block: tree.Block, node: Node, scope: Scope, passing: frozenset[Axis]) -> None:
    world, declared = scope.world, block.result
    site = Site(scope, scope.frame, scope.path)
    found: set[Axis] = set()
    place = next((s.value.span for s in block.body if isinstance(s, tree.Return)), block.span)

    def wrong(code: str, message: str, advice: str = "") -> Fault:
        return world.fault(
            code,
            message,
            place,
            expected=declared.span.text,
            found=str(node.type),
            secondary=(Label(declared.span, "declared here"),),
            help=advice,
        )

    for ident in declared.axes:
        local = scope.axes_named(ident.name)
        matching = [a for a in node.type.axes if a in local]
        matching = matching or [a for a in node.type.axes if a.name == ident.name]
        if not matching:
            raise wrong("E0506", f"`{block.ident.name}` returns a value without the axis `{ident.name}`")
        found.update(matching)
    for axis in node.type.axes:
        if axis not in found and axis not in passing and not _is_ancestor(axis, node.type.axes):
            raise wrong(
                "E0506",
                f"`{block.ident.name}` returns a value with an axis `{axis.name}` that it does not declare",
                f"reduce over it, such as `sum(…, over {axis.name})`, or declare it after `->`",
            )
    if isinstance(declared.width, tree.Ref) and scope.find(declared.width.name) is None:
        return  # a width that only the body decides
    wanted = static(declared.width, site)
    if wanted != node.type.width:
        text = declared.width.span.text
        raise wrong(
            "E0506",
            f"`{block.ident.name}` returns {node.type.width} channels, not "
            + (text if isinstance(declared.width, tree.Number) else f"{text} = {describe(wanted)}"),
            f"end it with `|> linear({text})`, or declare what it returns",
        )


def _record(block: tree.Block, inputs: dict[str, Given], result: Node, scope: Scope) -> None:
    world = scope.world
    entry = scope.entries.get("weight")
    if entry is None or not isinstance(entry.statement, tree.Binding | tree.Scan):
        if world.report.lost("weight"):
            raise Fault
        raise world.fault(
            "E0504",
            f"attention `{block.ident.name}` does not say what its weights are",
            block.ident.span,
            why="an attention's weights are kept, so that they can be inspected for any example",
            help="name them: `weight = softmax(score, over …)`",
        )
    nodes: dict[str, Node] = {}
    for name in ("weight", "score"):
        known = scope.entries.get(name)
        if known is not None and isinstance(known.statement, tree.Binding | tree.Scan):
            if isinstance(known.value, Node):
                nodes[name] = known.value
    if "weight" not in nodes:
        raise world.fault(
            "E0504",
            f"the weights of attention `{block.ident.name}` are {kind_of(entry.value)}, not a value",
            entry.span,
            why="an attention's weights are kept, so that they can be inspected for any example",
            help="compute them from the query and the key: `weight = softmax(score, over …)`",
        )
    path, count = scope.path, 1
    taken = {use.record.path for use in world.attentions}
    while path in taken:
        count += 1
        path = f"{scope.path}_{count}"
    score = nodes["score"].id if "score" in nodes else None
    record = AttentionRecord(path, nodes["weight"].id, score, block.ident.span)
    keys = tuple(node.id for name, (node, _) in inputs.items() if name.startswith("key"))
    queries = tuple(node.id for name, (node, _) in inputs.items() if name.startswith("query"))
    place = world.call_sites[0][1] if world.call_sites else block.ident.span
    world.attentions.append(AttentionUse(record, result.id, queries, keys, place))


def _declared_twice(block: tree.Block) -> list[tuple[tree.Ident, tree.Ident]]:
    """Names that a signature has twice, the first place and the other."""
    seen: dict[str, tree.Ident] = {}
    names = [i.ident for i in block.inputs] + [s.ident for s in block.statics]
    return [(seen[ident.name], ident) for ident in names if seen.setdefault(ident.name, ident) is not ident]


def check_block(block: tree.Block, world: World) -> None:
    """What a block must have wherever it is called from (or not at all)."""
    if block.kind == "encoder" and not any(item.type.axes for item in block.inputs):
        world.report.error(
            "E0505",
            f"encoder `{block.ident.name}` reads no sequence",
            block.ident.span,
            expected="at least one input with an axis, such as `x[t, d]`",
            help="give an input an axis, or declare it as a `block`",
        )
    if (
        block.kind == "attention"
        and not world.report.lost("weight")
        and not any(
            (isinstance(s, tree.Binding) and s.ident.name == "weight")
            or (isinstance(s, tree.Scan) and any(state.ident.name == "weight" for state in s.states))
            for s in block.body
        )
    ):
        world.report.error(
            "E0504",
            f"attention `{block.ident.name}` does not say what its weights are",
            block.ident.span,
            why="an attention's weights are kept, so that they can be inspected for any example",
            help="name them: `weight = softmax(score, over …)`",
        )
    for first, again in _declared_twice(block):
        world.report.error(
            "E0202",
            f"`{again.name}` is declared twice",
            again.span,
            secondary=(Label(first.span, "first declared here"),),
            help="give one of them another name",
        )
    returns = [s for s in block.body if isinstance(s, tree.Return)]
    if not returns and not world.report.lost("return"):
        world.report.error(
            "E0501",
            f"`{block.ident.name}` returns nothing",
            block.ident.span,
            help="end its body with `return …`",
        )
