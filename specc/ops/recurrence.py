"""Regions: scans and what stands in them, and tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Effect, OpDef, Traits, slots
from specc.ops.rules import Inputs, line
from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def _scan(check: Checker, node: Node, inputs: Inputs) -> Type:
    axis = node.attrs["axis"]
    region = node.region
    check.require(node, region is not None and bool(region.states), "it has no state")
    assert region is not None
    for x in inputs:
        check.childless(node, x, axis)
    count = len(region.captures)
    inner = check.inside(node, line(axis), tuple(x.without(axis) for x in inputs[:count]))
    states = tuple(inner.types[s] for s in region.states)
    starts = [i for i in region.inits if i is not None]
    check.require(node, starts == list(range(count, len(inputs))), "its starts are not its last inputs")
    check.require(node, len(states) == len(region.inits) == len(region.nexts), "states, starts and nexts")
    parents = set(line(axis.parent))
    for state, start, following in zip(states, region.inits, region.nexts, strict=True):
        check.require(node, not state.has(axis) and parents <= set(state.axes), f"the state {state}")
        given = [inner.types[following], *([] if start is None else [inputs[start]])]
        for x in given:
            fits = x.width == state.width and set(x.axes) <= set(state.axes)
            check.require(node, fits, f"a state is {state}, and is given {x}")
    check.states[node.id] = states
    return _whole(states[0], axis)


def _whole(state: Type, axis: Axis) -> Type:
    return Type(union(Type((*state.axes, *line(axis)), 1)), state.width)


def _scan_out(check: Checker, node: Node, inputs: Inputs) -> Type:
    states = check.states.get(node.inputs[0], ())
    index: int = node.attrs["index"]
    check.require(node, index < len(states), "there is no such state")
    (axis,) = set(inputs[0].axes) - set(states[0].axes)
    return _whole(states[index], axis)


def _capture(check: Checker, node: Node, inputs: Inputs) -> Type:
    index: int = node.attrs["index"]
    check.require(node, index < len(check.captures), "it stands for nothing")
    return check.captures[index]


def _state(check: Checker, node: Node, inputs: Inputs) -> Type:
    check.require(node, check.region is not None, "it is outside of a region")
    return node.type  # held against its start and its next value by the scan


def _tiled(check: Checker, node: Node, inputs: Inputs) -> Type:
    inner = check.inside(node, (), inputs)
    region = node.region
    assert region is not None
    check.require(node, not region.states and len(region.nexts) == 1, "it has one value and no state")
    return inner.types[region.nexts[0]]


# What a region gives depends on what is in it: `specc.ops.effect` asks that, too.
_PURE = Traits(effect=Effect.PURE, portable=True)
_OF_PASS = "it is made by a pass that is left out of what is exported"
DEFINITIONS = (
    OpDef(
        op.SCAN, "recurrence",
        "Walks the axis; inputs are the captures, then the states' starts. Its value is the first state at "
        "each position.",
        slots("a*"), _scan, attrs={"axis": Axis, "backward": bool}, traits=_PURE,
    ),
    OpDef(
        op.SCAN_OUT, "recurrence", "State number `index` at each position.", slots("scan"), _scan_out,
        attrs={"index": int}, traits=Traits(effect=Effect.PURE, portable=True, view=True), drawn=False,
    ),
    OpDef(
        op.CAPTURE, "recurrence", "Inside a region: the scan's input number `index` at this position.", (),
        _capture, attrs={"index": int}, traits=_PURE, drawn=False,
    ),
    OpDef(
        op.STATE, "recurrence", "Inside a region: state number `index` before this position.", (), _state,
        attrs={"index": int}, traits=_PURE, drawn=False,
    ),
    OpDef(
        op.RECURRENCE, "fused", "A scan whose step has a compiled derivative; the same value as the scan.",
        slots("a*"), _scan, attrs={"axis": Axis, "backward": bool}, traits=Traits(effect=Effect.PURE),
        unportable=_OF_PASS,
    ),
    OpDef(
        op.TILED, "fused",
        "A region without states, computed for a few examples at a time; its one next value is its value.",
        slots("a*"), _tiled, attrs={"axis": Axis}, traits=Traits(effect=Effect.PURE), unportable=_OF_PASS,
    ),
)  # fmt: skip
