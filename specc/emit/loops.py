"""Regions in the emitted source: scans as local functions, compiled recurrences, tiles.

Promises: a scan whose step sees every sequence by itself walks the sequences that are still running
(`ops.scan`); one whose step looks at rows of several kinds walks all of them (`ops.scan_together`); along a
static axis it is a plain loop (`ops.scan_along`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from specc.emit.body import Body, whole_shape
from specc.emit.cell import CellSource, cell_source
from specc.emit.code import Expr, Line, target, tuple_text
from specc.emit.names import Names, identifier
from specc.emit.products import bias_text, matrix_text
from specc.emit.shape import EXAMPLES, Domain, Shape
from specc.ir.graph import Node, Region, axis_of
from specc.ops.products import Product, products_of
from specc.passes.roles import CANDIDATE, axis_role
from specc.types.axis import Axis


def scan(body: Body, node: Node) -> None:
    axis, region = axis_of(node), node.region
    assert axis is not None
    assert region is not None
    if not axis.ragged:
        _along(body, node, region, axis)
    elif _by_sequence(body, node, region, axis):
        _sequences(body, node, region, axis)
    else:
        _together(body, node, region, axis)


def scan_out(body: Body, node: Node) -> None:
    """Said already, with the scan."""
    return


# ------------------------------------------------------------------ state tuples


def _states(body: Body, node: Node) -> list[Node | None]:
    """By number the node that is a state's sequence; None for one that nobody reads."""
    assert node.region is not None
    found: list[Node | None] = [node, *([None] * (len(node.region.states) - 1))]
    for other in body.nodes.values():
        if other.op == "scan_out" and other.inputs[0] == node.id:
            found[other.attrs["index"]] = other
    return found


def _assigned(body: Body, node: Node, text: str, standing: Mapping[int, Node] | None = None) -> None:
    """A call whose result is a tuple of all states' sequences. standing: for a state's sequence, the node
    whose value the result is instead."""
    names = []
    for state in _states(body, node):
        if state is None:
            names.append("_")
            continue
        result = (standing or {}).get(state.id, state)
        names.append(body.name_of(result))
        body.values[result.id] = Expr(names[-1])
    body.say(f"{target(names)} = {text}", node)


def _list(parts: list[str]) -> str:
    return f"[{', '.join(parts)}]"


def _init(body: Body, node: Node, region: Region, number: int, shape: Shape) -> str:
    """A state before the first step."""
    given = region.inits[number]
    if given is not None:
        return body.at(node.inputs[given], shape, node, whole=True).text
    assert shape.domain is not None
    width = next(n for n in region.nodes if n.id == region.states[number]).type.width
    sizes = ", ".join(str(n) for n in (*(a.size for a in shape.dims), width))
    return f"self.zeros({body.rows(shape.domain, node)}, {sizes})"


def _state_shape(body: Body, region: Region, number: int) -> Shape:
    state = next(n for n in region.nodes if n.id == region.states[number])
    return whole_shape(body.shape(state))


def _step(
    body: Body, node: Node, region: Region, inner: Body, given: list[tuple[int, str]], first: str = "step"
) -> str:
    """A local function of captures and states that gives the next states: its name.

    given: captures that are arguments, with the names wished for them.
    """
    name = body.names.take(f"{identifier(node.scope.rpartition('.')[2] or node.name or node.op)}_{first}")
    index = {n.id: n for n in region.nodes}
    inner.nodes |= index
    arguments = []
    for id, wish in given:
        argument = inner.names.take(wish)
        inner.values[id] = Expr(argument)
        arguments.append(argument)
    for id in region.states:
        argument = inner.names.take(index[id].name or "state")
        inner.values[id] = Expr(argument)
        arguments.append(argument)
    inner.emit(region.nodes, region.nexts)
    results = []
    for state, following in zip(region.states, region.nexts, strict=True):
        results.append(_next(inner, index[state], index[following]))
    arguments = [f"{a}: Tensor" for a in arguments]
    body.say(f"def {name}({', '.join(arguments)}) -> tuple[Tensor, ...]:", node)
    body.lines += inner.lines
    body.lines.append(Line(" " * inner.indent + f"return {tuple_text(results)}"))
    return name


def _next(inner: Body, state: Node, following: Node) -> str:
    """A state's next value, with all rows and dimensions of the state."""
    own, shape = inner.shape(following), whole_shape(inner.shape(state))
    value = inner.at(following.id, shape, following, whole=True)
    if own.dims != shape.dims or own.domain is None:
        return f"{value.at(9)}.expand_as({inner.values[state.id].text})"
    return value.text


def _captures(body: Body, node: Node, region: Region, axis: Axis) -> tuple[list[int], list[int]]:
    """Numbers of the inputs that have the scan's axis, and of those that stay the same."""
    seen = [i for i in range(len(region.captures)) if body.nodes[node.inputs[i]].type.has(axis)]
    held = [i for i in range(len(region.captures)) if i not in seen]
    return seen, held


def _wish(body: Body, node: Node, number: int, region: Region) -> str:
    """A name for a captured value in the step."""
    capture = next(n for n in region.nodes if n.id == region.captures[number])
    source = body.nodes[node.inputs[number]]
    return capture.name or source.name or "value"


# ----------------------------------------------------------------- ragged axes


def _domain(body: Body, node: Node) -> Domain:
    domain = body.shape(node).domain
    assert domain is not None
    return domain


def _by_sequence(body: Body, node: Node, region: Region, axis: Axis) -> bool:
    """Whether every value of the step has the rows of the states, or fewer."""
    rows = _domain(body, node).without(axis).axes
    if any(a.ragged and a not in rows for n in region.nodes for a in n.type.axes):
        return False
    return all(_state_shape(body, region, i).domain == _domain(body, node).without(axis)
               for i in range(len(region.states)))  # fmt: skip


def _dims_of(body: Body, node: Node, number: int) -> tuple[Axis, ...]:
    return body.shape(body.nodes[node.inputs[number]]).dims


def _sequences(body: Body, node: Node, region: Region, axis: Axis) -> None:
    domain = _domain(body, node)
    without = domain.without(axis)
    seen, held = _captures(body, node, region, axis)
    inner = Body(body.unit, Names(), flat=True, outer=body)
    literals = [i for i in held if body.values[node.inputs[i]].literal]
    for i in literals:
        inner.values[region.captures[i]] = body.values[node.inputs[i]]
    held = [i for i in held if i not in literals]
    order = [*seen, *held]
    step = _step(
        body, node, region, inner, [(region.captures[i], _wish(body, node, i, region)) for i in order]
    )
    values = [
        body.at(node.inputs[i], Shape(domain, _dims_of(body, node, i)), node, whole=True).text for i in seen
    ]
    constants = [
        body.at(node.inputs[i], Shape(without, _dims_of(body, node, i)), node, whole=True).text for i in held
    ]
    states = [_init(body, node, region, i, _state_shape(body, region, i)) for i in range(len(region.states))]
    back = ", True" if node.attrs["backward"] else ""
    rows, name = body.rows(domain, node), body.axis(axis)
    text = f"ops.scan({step}, {rows}, {name}, {_list(values)}, "
    text += f"{_list(constants)}, {_list(states)}{back})"
    _assigned(body, node, text)


def _together(body: Body, node: Node, region: Region, axis: Axis) -> None:
    seen, held = _captures(body, node, region, axis)
    inner = Body(body.unit, Names(), outer=body)
    for i in held:
        inner.values[region.captures[i]] = _settled(body, node, i, axis)
        inner.names.take(inner.values[region.captures[i]].text)
    _reserve(body, inner)
    step = _step(
        body, node, region, inner, [(region.captures[i], _wish(body, node, i, region)) for i in seen]
    )
    values = []
    for i in seen:
        shape = whole_shape(body.shape(body.nodes[node.inputs[i]]))
        assert shape.domain is not None
        x = body.at(node.inputs[i], shape, node, whole=True)
        values.append(f"({x.text}, {body.rows(shape.domain, node)})")
    states = []
    for i in range(len(region.states)):
        shape = _state_shape(body, region, i)
        assert shape.domain is not None
        states.append(f"({_init(body, node, region, i, shape)}, {body.rows(shape.domain, node)})")
    back = ", True" if node.attrs["backward"] else ""
    text = f"ops.scan_together({step}, {body.axis(axis)}, {_list(values)}, "
    _assigned(body, node, f"{text}{_list(states)}{back})")


def _settled(body: Body, node: Node, number: int, axis: Axis) -> Expr:
    """A captured value that says nothing of sequences without positions."""
    expr = _kept(body, node, number)
    source = body.nodes[node.inputs[number]]
    domain = body.shape(source).domain
    within = EXAMPLES if axis.parent is None else Domain(frozenset({axis.parent}))
    candidate = axis_role(axis, body.unit.roles) == CANDIDATE
    if domain is None or not within.axes <= domain.axes or (candidate and not domain.candidate):
        return expr
    text = f"ops.settled({expr.text}, {body.rows(domain, node)}, {body.axis(axis)})"
    return body.named(f"{source.name or 'value'}_settled", text, source)


def _kept(body: Body, node: Node, number: int) -> Expr:
    """A captured value that a local function reads from the function around it."""
    id = node.inputs[number]
    expr = body.values[id]
    if expr.literal or (expr.text.isidentifier() and not expr.boolean):
        return expr
    source = body.nodes[id]
    return body.named(source.name or "value", body.of(id).text, source)


def _reserve(body: Body, inner: Body) -> None:
    """Locals of the function around are not hidden."""
    for expr in body.values.values():
        if expr.text.isidentifier():
            inner.names.take(expr.text)


# ------------------------------------------------------------------ static axes


def _along(body: Body, node: Node, region: Region, axis: Axis) -> None:
    assert axis.size is not None
    seen, held = _captures(body, node, region, axis)
    inner = Body(body.unit, Names(), outer=body)
    for i in held:
        inner.values[region.captures[i]] = _kept(body, node, i)
        inner.names.take(inner.values[region.captures[i]].text)
    _reserve(body, inner)
    step = _step(
        body, node, region, inner, [(region.captures[i], _wish(body, node, i, region)) for i in seen]
    )
    values = []
    for i in seen:
        shape = body.shape(body.nodes[node.inputs[i]])
        values.append(f"{body.of(node.inputs[i]).at(9)}.unbind({shape.dim(axis)})")
    shapes = [_state_shape(body, region, i) for i in range(len(region.states))]
    states = [_init(body, node, region, i, shape) for i, shape in enumerate(shapes)]
    dims = [str(1 + body.unit.shapes.dims((*s.dims, axis)).index(axis)) for s in shapes]
    back = ", True" if node.attrs["backward"] else ""
    text = f"ops.scan_along({step}, {_list(values)}, {_list(states)}, "
    _assigned(body, node, f"{text}{axis.size}, {_list(dims)}{back})")


# ---------------------------------------------------------- compiled recurrences


def recurrence(body: Body, node: Node) -> None:
    axis, region = axis_of(node), node.region
    assert axis is not None
    assert region is not None
    domain = _domain(body, node)
    without = domain.without(axis)
    varying = tuple(body.nodes[node.inputs[i]].type.has(axis) for i in range(len(region.captures)))
    source = cell_source(region, varying)
    cell = _cell(body, node, source)
    values = [_value(body, node.inputs[i], domain, node) for i in source.seen]
    constants = [body.at(node.inputs[i], Shape(without, ()), node, whole=True).text for i in source.held]
    matrices = [matrix_text(products, width, body.weight) for products, width in source.products]
    biases = [text for products, _ in source.products if (text := bias_text(products))]
    starts = [_init(body, node, region, i, Shape(without, ())) for i in range(len(region.states))]
    parts = [cell, body.rows(domain, node), body.axis(axis)]
    parts += [_list(p) for p in (values, constants, matrices, biases, starts)]
    if node.attrs["backward"]:
        parts.append("True")
    states = _states(body, node)
    ends = {s.id: end for s in states if s is not None and (end := _end(body, s, node, axis)) is not None}
    if ends or None in states:
        wanted = ["ops.NONE" if s is None else "ops.FINAL" if s.id in ends else "ops.ALL" for s in states]
        parts.append(f"wanted={tuple_text(wanted)}")
    _assigned(body, node, f"ops.recur({', '.join(parts)})", ends)


def _end(body: Body, state: Node, scan: Node, axis: Axis) -> Node | None:
    """What reads of a state's sequence only it after the last step, if nothing else reads the sequence."""
    reader = next((n for n in body.nodes.values() if state.id in n.inputs), None)
    if reader is None or body.reads(state.id) != 1:
        return None
    end = "first" if scan.attrs["backward"] else "last"
    return reader if reader.op == end and axis_of(reader) == axis and len(reader.inputs) == 1 else None


def _biased(products: tuple[tuple[tuple[Product, ...], int], ...]) -> tuple[int, ...]:
    return tuple(number for number, (group, _) in enumerate(products) if any(p.bias for p in group))


def _value(body: Body, id: int, domain: Domain, user: Node) -> str:
    """A value that a recurrence sees step by step."""
    if id not in body.put_off:
        return body.at(id, Shape(domain, ()), user, whole=True).text
    node = body.nodes[id]
    own, source = body.shape(node).domain, node.inputs[0]
    assert own is not None
    width = body.nodes[source].type.width
    products = products_of(node, width)
    parts = [body.of(source).text, matrix_text(products, width, body.weight)]
    bias = bias_text(products)
    if bias or own != domain:
        parts.append(bias or "None")
    if own != domain:
        parts += [body.rows(own, node), body.rows(domain, user)]
    return f"ops.Projected({', '.join(parts)})"


def _cell(body: Body, node: Node, source: CellSource) -> str:
    """The two functions of a recurrence's step, and the name of the cell that holds them."""
    unit = body.unit
    stem = identifier("_".join(p for p in (node.scope.replace(".", "_"), "") if p) or node.name or "scan")
    forward = unit.names.take(f"{stem}_step")
    backward = unit.names.take(f"{stem}_back")
    cell = unit.names.take(f"{stem}_cell".upper())
    described = [f"sloped={source.sloped!r}"] if not all(source.sloped) else []
    described += [f"places={source.places!r}"] if any(source.places) else []
    biased = _biased(source.products)
    described += [f"biased={biased!r}"] if biased else []
    unit.functions += [
        Line(f"def {forward}(values, constants, matrices, biases, states, nexts):", node.span),
        Line(f'    """One step of `{node.name or stem}`: `nexts`, and what the derivative reads."""'),
        *(Line(f"    {line}") for line in source.step),
        Line(""),
        Line(""),
        Line(
            f"def {backward}(values, constants, matrices, states, kept, d_next, d_values, d_products):",
            node.span,
        ),
        Line(f'    """The derivative of `{forward}`."""'),
        *(Line(f"    {line}") for line in source.back),
        Line(""),
        Line(""),
        Line(f"{cell} = ops.Cell({', '.join([forward, backward, *described])})"),
        Line(""),
        Line(""),
    ]
    return cell


# ------------------------------------------------------------------------ tiles


def tiled(body: Body, node: Node) -> Expr:
    region = node.region
    assert region is not None
    shape = body.shape(node)
    inner = Body(body.unit, Names(), flat=True, outer=body)
    same = [i for i, id in enumerate(node.inputs) if body.shape(body.nodes[id]).domain is None]
    for i in same:
        inner.values[region.captures[i]] = _kept(body, node, i)
    _reserve(body, inner)
    moving = [i for i in range(len(node.inputs)) if i not in same]
    given = [(region.captures[i], _wish(body, node, i, region)) for i in moving]
    name = body.names.take(f"{identifier(node.name or node.scope.rpartition('.')[2] or 'value')}_of_tile")
    inner.nodes |= {n.id: n for n in region.nodes}
    arguments = []
    for id, wish in given:
        arguments.append(inner.names.take(wish))
        inner.values[id] = Expr(arguments[-1])
    inner.emit(region.nodes, region.nexts)
    body.say(f"def {name}({', '.join(f'{a}: Tensor' for a in arguments)}) -> Tensor:", node)
    body.lines += inner.lines
    body.lines.append(Line(" " * inner.indent + f"return {inner.of(region.nexts[0]).text}"))
    largest = max(prod(a.size or 1 for a in n.type.axes if not a.ragged) * n.type.width for n in region.nodes)
    domain = shape.domain if shape.domain is not None else EXAMPLES
    values = [
        body.at(node.inputs[i], Shape(domain, _dims_of(body, node, i)), node, whole=True).text for i in moving
    ]
    if not moving:
        return Expr(f"ops.repeat({name}(), {body.rows(domain, node)})")
    return Expr(f"ops.tiled({name}, {largest}, {', '.join(values)})")
