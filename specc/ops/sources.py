"""Where values come from: fields, free parameters, numbers, and the axes themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import (
    Call,
    Derivative,
    Effect,
    OpDef,
    Option,
    Origin,
    Pointwise,
    Positions,
    Traits,
    slots,
)
from specc.ops.rules import Inputs, line
from specc.types.axis import Axis, Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def _input(check: Checker, node: Node, inputs: Inputs) -> Type:
    spec = check.fields[node.attrs["field"]]
    return Type(spec.axes, spec.width)


def _embed(check: Checker, node: Node, inputs: Inputs) -> Type:
    weight = check.weights[node.weights[0]]
    check.require(node, weight.kind == "table" and len(weight.shape) == 2, f"`{weight.path}` is no table")
    return Type(check.fields[node.attrs["field"]].axes, weight.shape[-1])


def _rows(check: Checker, node: Node, inputs: Inputs) -> Type:
    weight, axis = check.weights[node.weights[0]], node.attrs["axis"]
    check.require(node, weight.kind == "table" and weight.shape[0] == axis.size, f"`{axis}` has other rows")
    return Type((axis,), weight.shape[-1])


def _lookup(check: Checker, node: Node, inputs: Inputs) -> Type:
    fields = node.attrs["fields"]
    check.require(node, len(fields) == len(node.attrs["modes"]) == len(node.weights) > 0, "it has no parts")
    axes = check.fields[fields[0]].axes
    for path, field in zip(node.weights, fields, strict=True):
        check.require(node, check.weights[path].kind == "table", f"`{path}` is no table")
        check.require(node, set(check.fields[field].axes) == set(axes), f"`{field}` has other rows")
    return Type(axes, sum(check.weights[path].shape[-1] for path in node.weights))


def _learned(check: Checker, node: Node, inputs: Inputs) -> Type:
    axes: tuple[Axis, ...] = node.attrs["axes"]
    check.shapes(node, (*(a.bound for a in axes), node.type.width))
    return Type(union(Type(tuple(a for axis in axes for a in line(axis)), 1)), node.type.width)


def _constant(check: Checker, node: Node, inputs: Inputs) -> Type:
    return Type((), 1)


def _key(check: Checker, node: Node, inputs: Inputs) -> Type:
    spec = check.fields[node.attrs["field"]]
    check.require(node, spec.encoding == "key", f"`{spec.path}` holds no keys")
    return Type(spec.axes, 1)


def _same_key(check: Checker, node: Node, inputs: Inputs) -> Type:
    both = check.broadcast(node, *inputs)
    check.require(node, both.width == 1, "a key is one number")
    return both


def _log_frequency(check: Checker, node: Node, inputs: Inputs) -> Type:
    weight = check.weights[node.weights[0]]
    check.require(node, weight.counts == node.attrs["field"], f"`{weight.path}` counts something else")
    return Type(check.fields[node.attrs["field"]].axes, 1)


def _label(check: Checker, node: Node, inputs: Inputs) -> Type:
    return Type((), 1)


def _traits(source: Origin, portable: bool = True) -> Traits:
    return Traits(effect=Effect.PURE, portable=portable, source=source)


_NO_INPUT = Derivative()
DEFINITIONS = (
    OpDef(
        op.INPUT, "sources", "A number or vector field as it was encoded: [axes, n].", (), _input,
        attrs={"field": str}, traits=_traits(Origin.DATA), derivative=_NO_INPUT,
    ),
    OpDef(
        op.EMBED, "sources", "The rows of a table that the field's ids name.", (), _embed,
        attrs={"field": str}, weights=slots("table"), traits=_traits(Origin.DATA), derivative=_NO_INPUT,
        noun="found",
    ),
    OpDef(
        op.EMBED_BAG, "sources", "A multi-valued field: sum, mean or max over its ids' rows; 0 for none.", (),
        _embed, attrs={"field": str, "mode": str}, weights=slots("table"), traits=_traits(Origin.DATA),
        derivative=_NO_INPUT, noun="found",
    ),
    OpDef(
        op.ROWS, "layers", "All rows of a table, along a new static axis.", (), _rows, attrs={"axis": Axis},
        weights=slots("table"), traits=_traits(Origin.PARAMETER), derivative=_NO_INPUT,
        call=Call((), (Option("table", "table"),), {"as": True}), noun="rows",
    ),
    OpDef(
        op.KEY, "sources", "A key, 64 bits: what `same_key` compares, and nothing else may read.", (), _key,
        attrs={"field": str}, traits=_traits(Origin.DATA), derivative=_NO_INPUT, noun="key", drawn=False,
    ),
    OpDef(
        op.SAME_KEY, "sources", "1 where two keys are the same, else 0; null is like no key.", slots("a b"),
        _same_key,
        traits=Traits(
            effect=Effect.PURE, portable=True, positions=Positions.SAME, pointwise=True, condition=True,
            passes_gradient=False,
        ),
        lowering=Pointwise(python="ops.same_key({a}, {b})"), noun="same",
    ),
    OpDef(
        op.LOG_FREQUENCY, "sources",
        "Logarithm of the share of the training data that has the field's row, at least one example.", (),
        _log_frequency, attrs={"field": str}, weights=slots("counts"), traits=_traits(Origin.DATA),
        derivative=_NO_INPUT, noun="log_frequency",
    ),
    OpDef(
        op.LABEL, "losses",
        "The label of a prediction, in losses and weights; where there is none the example is left out.", (),
        _label, attrs={"prediction": str}, traits=_traits(Origin.DATA, portable=False), derivative=_NO_INPUT,
        unportable="a label is known in training alone",
        call=Call((), (Option("prediction", "prediction"),)), noun="label",
    ),
    OpDef(
        op.LOOKUP, "fused",
        "Fields of the same rows side by side: each an embed (its mode None) or an embed_bag.", (), _lookup,
        attrs={"fields": tuple, "modes": tuple}, weights=slots("table*"), traits=_traits(Origin.DATA),
        derivative=_NO_INPUT, noun="found",
    ),
    OpDef(
        op.LEARNED, "sources",
        "A free parameter [*sizes or bounds of attrs.axes, width], indexed by position along them.", (),
        _learned, attrs={"axes": tuple}, weights=slots("value"), traits=_traits(Origin.PARAMETER),
        derivative=_NO_INPUT,
    ),
    OpDef(
        op.CONSTANT, "sources", "A number, width 1, no axes.", (), _constant,
        attrs={"value": int | float}, traits=_traits(Origin.LITERAL), derivative=_NO_INPUT, drawn=False,
    ),
)  # fmt: skip
