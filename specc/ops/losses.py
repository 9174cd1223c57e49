"""Losses, at each position: `bce mse cross_entropy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Call, Called, Derivative, Effect, OpDef, Positions, Rule, Traits, slots
from specc.ops.rules import Inputs, one_channel
from specc.types.axis import Type, union

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def _bce(check: Checker, node: Node, inputs: Inputs) -> Type:
    both = check.broadcast(node, *inputs)
    check.require(node, both.width == 1, "a binary cross entropy is of one logit")
    return both


def _cross_entropy(check: Checker, node: Node, inputs: Inputs) -> Type:
    check.require(node, inputs[1].width == 1, "the class is one number")
    return Type(union(*inputs), 1)


def _loss(name: str, doc: str, first: str, rule: Rule) -> OpDef:
    return OpDef(
        name, "losses", doc, slots("a b"), rule, call=Call((first, "target")),
        traits=Traits(effect=Effect.PURE, portable=True, positions=Positions.SAME),
        derivative=Derivative(inputs=True),
        lowering=Called(f"ops.{name}"),
    )  # fmt: skip


DEFINITIONS = (
    _loss(
        op.BCE, "Binary cross entropy of a logit against a target between 0 and 1, at each position.",
        "logit", _bce,
    ),
    _loss(op.MSE, "Mean over channels of the squared difference, at each position.", "x", one_channel),
    _loss(
        op.CROSS_ENTROPY, "Negative log softmax of a logit a class at the class index, at each position.",
        "logit", _cross_entropy,
    ),
)  # fmt: skip
