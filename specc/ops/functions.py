"""More functions of single channels: `sin cos atan2 erf sign floor softplus log_sigmoid clamp maximum
minimum`, and the remainder.

Every operation here is pointwise, and as exact as its result can be where the naive form is not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.arithmetic import POINTWISE
from specc.ops.definition import (
    Call,
    Derivative,
    Effect,
    OpDef,
    Option,
    Pointwise,
    Positions,
    Traits,
    slots,
)
from specc.ops.rules import Inputs, broadcast, same
from specc.types.axis import Type

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def _clamped(check: Checker, node: Node, inputs: Inputs) -> Type:
    low, high = node.attrs["low"], node.attrs["high"]
    check.require(node, low <= high, f"{low:g} is above {high:g}")
    return same(check, node, inputs)


def _of_one(name: str, doc: str, python: str, c: str, back: str = "", back_c: str = "") -> OpDef:
    """Return the definition of a function of one value. Without a derivative it is piecewise constant, and
    no gradient flows."""
    derivative = Derivative(inputs=True, python=(back,), c=(back_c,)) if back else Derivative()
    return OpDef(
        name, "arithmetic", doc, slots("x"), same, traits=replace(POINTWISE, passes_gradient=bool(back)),
        call=Call(("x",)), derivative=derivative, lowering=Pointwise(python=python, c=c),
    )  # fmt: skip


def _larger(name: str, doc: str, sign: str) -> OpDef:
    """Return the definition of `maximum` or `minimum`. Where both are equal each gets half of
    the gradient."""
    python = tuple(
        f"{{d}} * (({x} {sign} {y}) + 0.5 * ({x} == {y}))" for x, y in (("{a}", "{b}"), ("{b}", "{a}"))
    )
    c = tuple(
        f"({x} {sign} {y} ? {{d}} : {x} == {y} ? {{d}} / 2 : 0)" for x, y in (("{a}", "{b}"), ("{b}", "{a}"))
    )
    return OpDef(
        name, "arithmetic", doc, slots("a b"), broadcast, traits=replace(POINTWISE, commutative=True),
        call=Call(("a", "b")), derivative=Derivative(inputs=True, python=python, c=c),
        lowering=Pointwise(python=f"torch.{name}({{a}}, {{b}})", c=f"({{a}} {sign} {{b}} ? {{a}} : {{b}})"),
    )  # fmt: skip


DEFINITIONS = (
    _of_one(
        op.SIN, "Sine.", "torch.sin({x})", "sin({x})", "{d} * torch.cos({x})", "{d} * cos({x})",
    ),
    _of_one(
        op.COS, "Cosine.", "torch.cos({x})", "cos({x})", "-{d} * torch.sin({x})", "-{d} * sin({x})",
    ),
    OpDef(
        op.ATAN2, "arithmetic", "The angle of the point with abscissa b and ordinate a.", slots("a b"),
        broadcast, traits=POINTWISE, call=Call(("a", "b")),
        derivative=Derivative(
            inputs=True,
            python=("{d} * {b} / ({a} * {a} + {b} * {b})", "-{d} * {a} / ({a} * {a} + {b} * {b})"),
            c=("{d} * {b} / ({a} * {a} + {b} * {b})", "-{d} * {a} / ({a} * {a} + {b} * {b})"),
        ),
        lowering=Pointwise(python="torch.atan2({a}, {b})", c="atan2({a}, {b})"),
    ),
    _of_one(
        op.ERF, "The error function: 2 / sqrt(pi) times the integral of exp(-u * u) from 0 to x.",
        "torch.erf({x})", "erf({x})", "{d} * 1.1283791670955126 * torch.exp(-{x} * {x})",
        "{d} * 1.1283791670955126 * exp_(-{x} * {x})",
    ),
    _of_one(
        op.SIGN, "1 of what is positive, -1 of what is negative, else 0; no gradient flows.",
        "torch.sign({x})", "({x} > 0 ? 1 : {x} < 0 ? -1 : 0)",
    ),
    _of_one(
        op.FLOOR, "The largest integer that is not above x; no gradient flows.", "torch.floor({x})",
        "floor({x})",
    ),
    _of_one(
        op.SOFTPLUS, "log(1 + exp(x)), exact for all x.", "(-F.logsigmoid(-{x}))",
        "(({x} > 0 ? {x} : 0) + log1p(exp_(-fabs({x}))))", "{d} * torch.sigmoid({x})", "{d} * sigmoid_({x})",
    ),
    _of_one(
        op.LOG_SIGMOID, "log(sigmoid(x)), exact for all x.", "F.logsigmoid({x})",
        "(({x} < 0 ? {x} : 0) - log1p(exp_(-fabs({x}))))", "{d} * torch.sigmoid(-{x})",
        "{d} * sigmoid_(-{x})",
    ),
    OpDef(
        op.CLAMP, "arithmetic", "x, but at least `low` and at most `high`; beyond them no gradient flows.",
        slots("x"), _clamped, attrs={"low": float, "high": float}, traits=POINTWISE,
        call=Call(("x",), (Option("low", "number"), Option("high", "number"))),
        derivative=Derivative(
            inputs=True, python=("{d} * (({x} >= {low}) & ({x} <= {high}))",),
            c=("({x} < {low} || {x} > {high} ? 0 : {d})",),
        ),
        lowering=Pointwise(
            python="torch.clamp({x}, {low}, {high})", c="({x} < {low} ? {low} : {x} > {high} ? {high} : {x})"
        ),
        examples=("clamp({x}, -0.5, 1)",),
    ),
    _larger(op.MAXIMUM, "The larger of two values, channel by channel.", ">"),
    _larger(op.MINIMUM, "The smaller of two values, channel by channel.", "<"),
    OpDef(
        op.BERNOULLI, "arithmetic",
        "In training a draw: 1 with the chance p, else 0, and no gradient flows; in scoring p itself.",
        slots("p"), same, traits=Traits(effect=Effect.RANDOM, portable=True, positions=Positions.SAME),
        call=Call(("p",)),
        derivative=Derivative(), examples=("bernoulli(sigmoid({x}))",), noun="drawn",
    ),
    OpDef(
        op.MOD, "arithmetic", "a % b: the remainder of a / b, with the sign of b", slots("a b"), broadcast,
        traits=POINTWISE,
        derivative=Derivative(
            inputs=True, python=("{d}", "-{d} * torch.floor({a} / {b})"),
            c=("{d}", "-{d} * floor({a} / {b})"),
        ),
        lowering=Pointwise(python="torch.remainder({a}, {b})", c="({a} - {b} * floor({a} / {b}))"),
    ),
)  # fmt: skip
