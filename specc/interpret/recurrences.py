"""Regions: the body of a scan, walked position by position, and that of a tiled operation."""

from __future__ import annotations

import torch
from torch import Tensor

from specc.interpret.meaning import Inputs, evaluate, means
from specc.interpret.values import Place, Positions, Setting, Value
from specc.ir.graph import Node, Region
from specc.ops import op
from specc.types.axis import Axis, Type, union


@means(op.SCAN, op.RECURRENCE)
def _scan(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Every sequence by itself: each state begins with its start (or 0), and is at each position what
    the body makes of the captures there and of the states before it. `backward` begins at the end."""
    region, axis = node.region, node.attrs["axis"]
    assert region is not None
    index = {n.id: n for n in region.nodes}
    types = [index[state].type for state in region.states]
    trace: list[dict[Positions, Tensor]] = [{} for _ in types]
    axes = [union(Type((*t.axes, *_line(axis)), 1)) for t in types]
    for sequence in s.places(_line(axis.parent)):
        states = _starts(region, types, inputs, s.inside(sequence, (), ()))
        positions = range(s.length(axis, sequence))
        for position in reversed(positions) if node.attrs["backward"] else positions:
            here = {**sequence, axis: position}
            captures = tuple(_seen(x, axis, here) for x in inputs[: len(region.captures)])
            step = s.inside(here, captures, states)
            values = evaluate(region.nodes, [step])[0]
            states = tuple(_of_type(t, values[n], step) for t, n in zip(types, region.nexts, strict=True))
            for state, own, at in zip(states, axes, trace, strict=True):
                for place in step.places(own):
                    at[tuple(place[a] for a in own)] = state[place]
    every = tuple(Value(own, at) for own, at in zip(axes, trace, strict=True))
    return Value(every[0].axes, every[0].at, every)


@means(op.SCAN_OUT)
def _scan_out(node: Node, inputs: Inputs, s: Setting) -> Value:
    index: int = node.attrs["index"]
    return inputs[0].states[index]


@means(op.CAPTURE)
def _capture(node: Node, inputs: Inputs, s: Setting) -> Value:
    index: int = node.attrs["index"]
    return s.captures[index]


@means(op.STATE)
def _state(node: Node, inputs: Inputs, s: Setting) -> Value:
    index: int = node.attrs["index"]
    return s.states[index]


@means(op.TILED)
def _tiled(node: Node, inputs: Inputs, s: Setting) -> Value:
    """What the body gives, the captures being the inputs as they are."""
    region = node.region
    assert region is not None
    (result,) = region.nexts
    return evaluate(region.nodes, [s.inside({}, inputs, ())])[0][result]


def _line(axis: Axis | None) -> tuple[Axis, ...]:
    """Return an axis after its parents."""
    return () if axis is None else (*_line(axis.parent), axis)


def _starts(region: Region, types: list[Type], inputs: Inputs, s: Setting) -> tuple[Value, ...]:
    zero = Value((), {(): s.number(0)})
    starts = [zero if i is None else inputs[i] for i in region.inits]
    return tuple(_of_type(t, start, s) for t, start in zip(types, starts, strict=True))


def _of_type(type_: Type, value: Value, s: Setting) -> Value:
    """Return a value repeated along the axes of a type that it lacks, and to its width."""
    return s.value(type_, lambda place: torch.broadcast_to(value[place], (type_.width,)))


def _seen(x: Value, axis: Axis, here: Place) -> Value:
    """Return a value as it is seen from one position of an axis and of its parents: without that axis."""
    axes = tuple(a for a in x.axes if a != axis)
    at: dict[Positions, Tensor] = {}
    for positions, channels in x.at.items():
        place = dict(zip(x.axes, positions, strict=True))
        if all(here.get(a, p) == p for a, p in place.items()):
            at[tuple(place[a] for a in axes)] = channels
    return Value(axes, at)
