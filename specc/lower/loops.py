"""Regions: scans as loops with a step, compiled recurrences, tiles.

Promises: a scan whose step sees each sequence by itself is a loop over a batch that shrinks as sequences end
(`scan`); one whose step reads values with different rows runs all sequences to the longest's end
(`scan_together`); along a static axis it is a plain loop (`scan_along`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from specc.ir.graph import Node, Region, axis_of
from specc.lower import choices
from specc.lower.body import Body, matrices, with_examples
from specc.lower.cell import cell_of
from specc.lower.program import Function, Record, Symbol, Value
from specc.lower.shape import EXAMPLES, Domain, Shape, whole_shape
from specc.ops import op
from specc.passes.recurrence import obstacle
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
    body.kernels[-1].why = obstacle(node) or ""


def scan_out(body: Body, node: Node) -> None:
    """Known already, with the scan."""
    return


# ------------------------------------------------------------------ state tuples


def _states(body: Body, node: Node) -> list[Node | None]:
    """By number the node that is a state's sequence; None for one that nobody reads."""
    assert node.region is not None
    found: list[Node | None] = [node, *([None] * (len(node.region.states) - 1))]
    for other in body.nodes.values():
        if other.op == op.SCAN_OUT and other.inputs[0] == node.id:
            found[other.attrs["index"]] = other
    return found


def _results(body: Body, node: Node, standing: Mapping[int, Node] | None = None) -> tuple[Value | None, ...]:
    """The values of all states' sequences. standing: for a state's sequence, the node whose value the result
    is instead."""
    results: list[Value | None] = []
    for state in _states(body, node):
        if state is None:
            results.append(None)
            continue
        result = (standing or {}).get(state.id, state)
        body.values[result.id] = body.value_of(result)
        results.append(body.values[result.id])
    return tuple(results)


def _back(node: Node) -> tuple[bool, ...]:
    return (True,) if node.attrs["backward"] else ()


def _init(body: Body, node: Node, region: Region, number: int, shape: Shape) -> Value:
    """A state before the first step."""
    given = region.inits[number]
    if given is not None:
        return body.at(node.inputs[given], shape, node, whole=True)
    assert shape.domain is not None
    width = next(n for n in region.nodes if n.id == region.states[number]).type.width
    # The batch's own axis has as many positions as there are examples.
    examples = body.rows(Domain(frozenset(), candidate=True), node)
    sizes = (*(Record("count", (examples,)) if a.kind == "batch" else a.size for a in shape.dims), width)
    return body.make("zeros", body.rows(shape.domain, node), *sizes, like=node, shape=shape, width=width)


def _state_shape(body: Body, region: Region, number: int) -> Shape:
    state = next(n for n in region.nodes if n.id == region.states[number])
    return whole_shape(body.shape(state))


def _step(body: Body, node: Node, region: Region, inner: Body, seen: list[int], closed: bool) -> Function:
    """A function of captures and states that gives the next states. seen: the captures it is given."""
    index = {n.id: n for n in region.nodes}
    inner.nodes |= index
    parameters = [_parameter(body, inner, index[region.captures[i]], node, i) for i in seen]
    for id in region.states:
        parameters.append(inner.value_of(index[id]))
        parameters[-1].names = (index[id].name or "state",)
        inner.values[id] = parameters[-1]
    inner.compute(region.nodes, region.nexts)
    results = [
        _next(inner, index[state], index[following])
        for state, following in zip(region.states, region.nexts, strict=True)
    ]
    stem = node.scope.rpartition(".")[2] or node.name or node.op
    step = inner.function((f"{stem}_step",), parameters, results)
    step.span, step.closed = node.span, closed
    return step


def _parameter(body: Body, inner: Body, capture: Node, node: Node, number: int) -> Value:
    """What a function is given for a captured value."""
    source = body.nodes[node.inputs[number]]
    found = inner.value_of(capture)
    found.names = (capture.name or source.name or "value",)
    inner.values[capture.id] = found
    return found


def _next(inner: Body, state: Node, following: Node) -> Value:
    """A state's next value, with all rows and dimensions of the state."""
    own, shape = inner.shape(following), whole_shape(inner.shape(state))
    value = inner.at(following.id, shape, following, whole=True)
    if own.dims != shape.dims or own.domain is None:
        of = inner.values[state.id]
        return inner.make("expand_as", value, of, like=of, view=value)
    return value


def _captures(body: Body, node: Node, region: Region, axis: Axis) -> tuple[list[int], list[int]]:
    """Numbers of the inputs that have the scan's axis, and of those that stay the same."""
    seen = [i for i in range(len(region.captures)) if body.nodes[node.inputs[i]].type.has(axis)]
    held = [i for i in range(len(region.captures)) if i not in seen]
    return seen, held


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
    inner = body.inner(flat=True)
    numbers = [i for i in held if body.values[node.inputs[i]].dtype == "number"]
    for i in numbers:
        inner.values[region.captures[i]] = body.values[node.inputs[i]]
    held = [i for i in held if i not in numbers]
    step = _step(body, node, region, inner, [*seen, *held], closed=True)
    values, constants = (
        [body.at(node.inputs[i], Shape(rows, _dims_of(body, node, i)), node, whole=True) for i in numbers_]
        for numbers_, rows in ((seen, domain), (held, without))
    )
    states = [_init(body, node, region, i, _state_shape(body, region, i)) for i in range(len(region.states))]
    rows = body.rows(domain, node)
    parts = (step, rows, axis, values, constants, states, *_back(node))
    body.statement("scan", *parts, results=_results(body, node), span=node)


def _together(body: Body, node: Node, region: Region, axis: Axis) -> None:
    seen, held = _captures(body, node, region, axis)
    inner = body.inner()
    for i in held:
        inner.values[region.captures[i]] = _settled(body, node, i, axis)
    step = _step(body, node, region, inner, seen, closed=False)
    values = []
    for i in seen:
        shape = whole_shape(body.shape(body.nodes[node.inputs[i]]))
        x = body.at(node.inputs[i], shape, node, whole=True)
        values.append((x, body.rows(with_examples(shape), node)))
    states = []
    for i in range(len(region.states)):
        shape = _state_shape(body, region, i)
        states.append((_init(body, node, region, i, shape), body.rows(with_examples(shape), node)))
    parts = (step, axis, values, states, *_back(node))
    body.statement("scan_together", *parts, results=_results(body, node), span=node)


def _settled(body: Body, node: Node, number: int, axis: Axis) -> Value:
    """A captured value with 1 for sequences without positions, where a division by their length could be."""
    value = _kept(body, node, number)
    source = body.nodes[node.inputs[number]]
    domain = body.shape(source).domain
    within = EXAMPLES if axis.parent is None else Domain(frozenset({axis.parent}))
    candidate = axis_role(axis, body.unit.roles) == CANDIDATE
    if domain is None or not within.axes <= domain.axes or (candidate and not domain.candidate):
        return value
    found = body.make("settled", value, body.rows(domain, node), axis, like=value, span=source)
    found.names, found.kept = (f"{source.name or 'value'}_settled",), True
    return found


def _kept(body: Body, node: Node, number: int) -> Value:
    """A captured value that a function reads from the function around it."""
    id = node.inputs[number]
    return body.hold(body.values[id], body.nodes[id].name or "value")


# ------------------------------------------------------------------ static axes


def _along(body: Body, node: Node, region: Region, axis: Axis) -> None:
    assert axis.size is not None
    seen, held = _captures(body, node, region, axis)
    inner = body.inner()
    for i in held:
        inner.values[region.captures[i]] = _kept(body, node, i)
    step = _step(body, node, region, inner, seen, closed=False)
    values = []
    for i in seen:
        shape = body.shape(body.nodes[node.inputs[i]])
        x = body.of(node.inputs[i])
        rest = Shape(shape.domain, tuple(a for a in shape.dims if a != axis))
        values.append(body.make("unbind", x, shape.dim(axis), like=x, shape=rest, view=x))
    shapes = [_state_shape(body, region, i) for i in range(len(region.states))]
    states = [_init(body, node, region, i, shape) for i, shape in enumerate(shapes)]
    dims = [1 + body.unit.shapes.dims((*s.dims, axis)).index(axis) for s in shapes]
    parts = (step, values, states, axis.size, dims, *_back(node))
    body.statement("scan_along", *parts, results=_results(body, node), span=node)


# ---------------------------------------------------------- compiled recurrences


def recurrence(body: Body, node: Node) -> None:
    axis, region = axis_of(node), node.region
    assert axis is not None
    assert region is not None
    domain = _domain(body, node)
    without = domain.without(axis)
    varying = tuple(body.nodes[node.inputs[i]].type.has(axis) for i in range(len(region.captures)))
    cell = cell_of(node, varying)
    values = [_value(body, node.inputs[i], domain, node, axis) for i in cell.seen]
    constants = [body.at(node.inputs[i], Shape(without, ()), node, whole=True) for i in cell.held]
    multiplied = [matrices(products, width) for products, width in cell.products]
    weights = [matrix for matrix, _ in multiplied]
    biases = [bias for _, bias in multiplied if bias is not None]
    starts = [_init(body, node, region, i, Shape(without, ())) for i in range(len(region.states))]
    parts = (cell, body.rows(domain, node), axis, values, constants, weights, biases, starts, *_back(node))
    states = _states(body, node)
    ends = {s.id: end for s in states if s is not None and (end := _end(body, s, node, axis)) is not None}
    options = {}
    wanted = ["NONE" if s is None else "FINAL" if s.id in ends else "ALL" for s in states]
    if set(wanted) != {"ALL"}:
        options["wanted"] = tuple(Symbol(w) for w in wanted)
    body.statement("recur", *parts, results=_results(body, node, ends), span=node, **options)


def _end(body: Body, state: Node, scan: Node, axis: Axis) -> Node | None:
    """What reads of a state's sequence only it after the last step, if nothing else reads the sequence."""
    reader = next((n for n in body.nodes.values() if state.id in n.inputs), None)
    if reader is None or body.reads(state.id) != 1:
        return None
    end = "first" if scan.attrs["backward"] else "last"
    return reader if reader.op == end and axis_of(reader) == axis and len(reader.inputs) == 1 else None


def _value(body: Body, id: int, domain: Domain, user: Node, axis: Axis) -> Value | Record:
    """A value that a recurrence sees step by step."""
    if id in body.values or id not in body.fusions.put_off:
        return body.at(id, Shape(domain, ()), user, whole=True)
    node = body.nodes[id]
    own = body.shape(node).domain
    assert own is not None
    matrix, bias = body.matrices(node)
    x = body.of(node.inputs[0])
    parts: tuple[object, ...] = (x, matrix)
    if bias is not None or own != domain:
        parts = (*parts, bias)
    if own != domain:
        parts = (*parts, body.rows(own, node), body.rows(domain, user))
    in_steps = _in_steps(body, x, domain, axis, _back(user))
    return Record("Projected", parts, body.looked_up(x) if in_steps is None else {"in_steps": in_steps})


def _in_steps(body: Body, x: Value, domain: Domain, axis: Axis, back: tuple[bool, ...]) -> Value | None:
    """A value that another recurrence of this function gave along the same steps (for one candidate a request
    they are those of each), in their order."""
    kernel = next((k for k in body.kernels if k.name == "recur" and x in k.results), None)
    if kernel is None:
        return None
    _, rows, along, *_ = kernel.args
    if (along, rows.domain.axes, kernel.args[8:]) != (axis, domain.axes, back):
        return None
    place = kernel.results.index(x)
    # Of each state one result, of `BOTH` two.
    wanted = [w.name for w in kernel.options.get("wanted", ())] or ["ALL"] * len(kernel.results)
    number = [n for n, w in enumerate(wanted) for _ in range(1 + (w == "BOTH"))][place]
    if wanted[number] != "ALL":
        return kernel.results[place + 1] if wanted[number] == "BOTH" else None
    wanted[number] = "BOTH"
    found = Value(body.unit.next_id(), x.shape, x.width, x.device, span=x.span)
    found.names, found.held = (f"{x.names[0]}_in_steps",), True
    kernel.results = (*kernel.results[: place + 1], found, *kernel.results[place + 1 :])
    kernel.options = {**kernel.options, "wanted": tuple(Symbol(w) for w in wanted)}
    return found


# ------------------------------------------------------------------------ tiles


def tiled(body: Body, node: Node) -> Value:
    region = node.region
    assert region is not None
    shape = body.shape(node)
    inner = body.inner(flat=True)
    same = [i for i, id in enumerate(node.inputs) if body.shape(body.nodes[id]).domain is None]
    for i in same:
        inner.values[region.captures[i]] = _kept(body, node, i)
    moving = [i for i in range(len(node.inputs)) if i not in same]
    index = {n.id: n for n in region.nodes}
    inner.nodes |= index
    parameters = [_parameter(body, inner, index[region.captures[i]], node, i) for i in moving]
    inner.compute(region.nodes, region.nexts)
    stem = node.name or node.scope.rpartition(".")[2] or "value"
    function = inner.function((f"{stem}_of_tile",), parameters, [inner.of(region.nexts[0])])
    function.span = node.span
    largest = max(prod(a.size or 1 for a in n.type.axes if not a.ragged) * n.type.width for n in region.nodes)
    domain = shape.domain if shape.domain is not None else EXAMPLES
    values = [
        body.at(node.inputs[i], Shape(domain, _dims_of(body, node, i)), node, whole=True) for i in moving
    ]
    if not moving:
        once = body.make("call", function, like=node, shape=Shape(None, shape.dims))
        return body.repeat(once, domain, node)
    return body.make("by_tile", function, choices.tile_rows(largest), *values, like=node)
