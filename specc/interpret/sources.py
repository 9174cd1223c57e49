"""Where values come from: fields, free parameters, constants, and the axes themselves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from specc.interpret.meaning import Inputs, means
from specc.interpret.values import Held, Place, Setting, Value, Weighted
from specc.ir.graph import Node, readings
from specc.ops import op


def _held(node: Node, place: Place, s: Setting, field: str | None = None) -> Held:
    """Return what the node's field holds at a place."""
    positions = tuple({**s.here, **place}[a] for a in node.type.axes)
    return s.example.fields[field or node.attrs["field"]][positions]


@means(op.INPUT)
def _input(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The numbers as they were encoded."""

    def numbers(place: Place) -> Tensor:
        held = _held(node, place, s)
        assert isinstance(held, Tensor)
        return held.to(s.dtype)

    return s.value(node.type, numbers)


@means(op.ROWS)
def _rows(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Position i is row i."""
    table, axis = s.weights[node.weights[0]], node.attrs["axis"]
    return s.value(node.type, lambda place: table[place[axis]])


@means(op.EMBED)
def _embed(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The table's row that the id names."""
    table = s.weights[node.weights[0]]

    return s.value(node.type, lambda place: _row(table, _held(node, place, s)))


def _row(table: Tensor, held: Held) -> Tensor:
    assert isinstance(held, int)
    assert 0 <= held < len(table), held
    return table[held]


@means(op.EMBED_BAG)
def _embed_bag(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Sum, mean or largest of the rows that the ids name, an id counted as often as it is there; 0 for a
    bag without ids. The gradient of the largest is shared equally among equals. Rows that have weights are
    multiplied with them before they are added up."""
    table = s.weights[node.weights[0]]

    return s.value(node.type, lambda place: _bag(table, _held(node, place, s), node.attrs["mode"]))


def _bag(table: Tensor, held: Held, mode: str) -> Tensor:
    if isinstance(held, Weighted):
        assert mode == "sum"
        rows = [w * table[i] for i, w in zip(held.ids, held.weights, strict=True)]
        return torch.stack(rows).sum(0) if rows else table.new_zeros(table.shape[1])
    assert isinstance(held, tuple)
    if not held:
        return table.new_zeros(table.shape[1])
    found = torch.stack([table[i] for i in held])
    match mode:
        case "sum":
            return found.sum(0)
        case "mean":
            return found.mean(0)
        case "max":
            return found.amax(0)
    raise AssertionError(mode)


@means(op.LOOKUP)
def _lookup(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Its fields side by side, each as `embed` or `embed_bag` has it."""

    def parts(place: Place) -> Tensor:
        held = [(s.weights[r.table], _held(node, place, s, r.field), r.mode) for r in readings(node)]
        return torch.cat([_row(t, h) if mode is None else _bag(t, h, mode) for t, h, mode in held])

    return s.value(node.type, parts)


@means(op.LEARNED)
def _learned(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The parameter at the position along the axes it was declared with."""
    parameter = s.weights[node.weights[0]]
    axes = node.attrs["axes"]
    return s.value(node.type, lambda place: parameter[tuple(place[a] for a in axes)])


NO_KEY = -(2**63)


@means(op.KEY)
def _key(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The key itself, an integer."""

    def key(place: Place) -> Tensor:
        held = _held(node, place, s)
        assert isinstance(held, Tensor)
        return held

    return s.value(node.type, key)


@means(op.SAME_KEY)
def _same_key(node: Node, inputs: Inputs, s: Setting) -> Value:
    """1 where both are one key; a key that is missing is like none, not even itself."""
    a, b = inputs
    return s.value(
        node.type, lambda place: s.number(int(a[place]) == int(b[place]) and int(a[place]) != NO_KEY)
    )


@means(op.LOG_FREQUENCY)
def _log_frequency(node: Node, inputs: Inputs, s: Setting) -> Value:
    """log(count of the row / all counts); what was never met counts as met once."""
    counts = s.weights[node.weights[0]].clamp(min=1)
    return s.value(
        node.type, lambda place: (_row(counts, _held(node, place, s)) / counts.sum()).log().unsqueeze(0)
    )


@means(op.ROW_LOSS)
def _row_loss(node: Node, inputs: Inputs, s: Setting) -> Value:
    """-log softmax of the products with the rows of classes, at the label's row. What is drawn in training
    stands for all of them."""
    (x, label), first = (one.only for one in inputs), node.attrs["first"]
    table, counts, *bias = (s.weights[path] for path in node.weights)
    logits = table @ x + (bias[0] if bias else 0)
    known = counts > 0
    known[:first] = False
    return s.value(node.type, lambda _: (logits[known].logsumexp(0) - logits[int(label)]).unsqueeze(0))


@means(op.LABEL)
def _label(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The example's label, a class by its number; 0 where there is none, for what is left out."""
    label = s.example.labels.get(node.attrs["prediction"])
    number = 0.0 if label is None or not labelled(label) else float(label)
    return s.value(node.type, lambda place: s.number(number))


def labelled(label: Tensor) -> bool:
    """Return whether there is a label: NaN, or a class of -1, stands for none."""
    return float(label) >= 0 if not label.is_floating_point() else not math.isnan(float(label))


@means(op.CONSTANT)
def _constant(node: Node, inputs: Inputs, s: Setting) -> Value:
    return s.value(node.type, lambda place: s.number(node.attrs["value"]))


@means(op.INDEX)
def _index(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The position along the axis, counted from 0."""
    return s.value(node.type, lambda place: s.number(place[node.attrs["axis"]]))


@means(op.LENGTH)
def _length(node: Node, inputs: Inputs, s: Setting) -> Value:
    """How many positions the axis has; at each position of its parents."""
    return s.value(node.type, lambda place: s.number(s.length(node.attrs["axis"], place)))
