"""Arithmetic, comparisons and functions of single channels.

Every operation here is pointwise. Derivatives are texts in terms of the upstream gradient `d`, the value `y`
and the inputs.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace

from specc.ops import op
from specc.ops.definition import Call, Derivative, Effect, OpDef, Option, Pointwise, Positions, Traits, slots
from specc.ops.rules import broadcast, same

POINTWISE = Traits(effect=Effect.PURE, portable=True, positions=Positions.SAME, pointwise=True)


def _binary(
    name: str,
    infix: str,
    doc: str,
    derivative: Derivative,
    traits: Traits,
    symbol: str = "",
    noun: str = "",
    fold: Callable[..., float] | None = None,
    neutral: float | None = None,
) -> OpDef:
    c = {"and": "({a} != 0 && {b} != 0 ? 1 : 0)", "or": "({a} != 0 || {b} != 0 ? 1 : 0)"}.get(name, "")
    if not c:
        c = f"({{a}} {infix} {{b}} ? 1 : 0)" if traits.condition else f"{{a}} {infix} {{b}}"
    return OpDef(
        name, "arithmetic", doc, slots("a b"), broadcast, traits=traits, derivative=derivative,
        lowering=Pointwise(
            infix=infix,
            over=f"{{a}}.{name}_({{b}})" if infix in tuple("+-*/") else "",
            out=f"torch.{name}({{a}}, {{b}}, out={{out}})" if infix in tuple("+-*/") else "",
            c="pow({a}, {b})" if infix == "**" else c,
        ),
        symbol=symbol, noun=noun, fold=fold, neutral=neutral,
    )  # fmt: skip


_CONDITION = replace(POINTWISE, condition=True)


def _comparison(name: str, infix: str, doc: str, commutative: bool = False) -> OpDef:
    traits = replace(_CONDITION, commutative=commutative)
    return _binary(name, infix, doc, Derivative(), traits)


def _function(
    name: str,
    doc: str,
    lowering: Pointwise,
    derivative: Derivative,
    examples: tuple[str, ...] = (),
    activation: bool = False,
    fold: Callable[..., float] | None = None,
    bounds: tuple[float, float] | None = None,
) -> OpDef:
    traits = replace(POINTWISE, activation=activation, bounds=bounds)
    return OpDef(
        name, "arithmetic", doc, slots("x"), same, traits=traits,
        call=Call(("x",)), derivative=derivative, lowering=lowering, examples=examples, fold=fold,
    )  # fmt: skip


def _of_output(python: str, c: str, out: str = "") -> Derivative:
    return Derivative(output=True, python=(python,), c=(c,), out=(out,))


def _of_input(python: str, c: str, out: str = "") -> Derivative:
    return Derivative(inputs=True, python=(python,), c=(c,), out=(out,))


def _torch(name: str, c: str, in_place: bool = False) -> Pointwise:
    return Pointwise(
        python=f"torch.{name}({{x}})",
        over=f"{{x}}.{name}_()" if in_place else "",
        out=f"torch.{name}({{x}}, out={{out}})",
        c=c,
    )


_GELU_SLOPE = (
    "{d} * (0.5 + 0.5 * torch.erf({x} * 0.7071067811865476)"
    " + {x} * 0.3989422804014327 * torch.exp(-0.5 * {x} * {x}))",
    "{d} * (0.5 + 0.5 * erf({x} * 0.7071067811865476) + {x} * 0.3989422804014327 * exp_(-0.5 * {x} * {x}))",
)
DEFINITIONS = (
    _binary(
        op.ADD, "+", "a + b", Derivative(python=("{d}", "{d}"), c=("{d}", "{d}")),
        replace(POINTWISE, commutative=True, terms=(1.0, 1.0)), "+", "total", operator.add, 0.0,
    ),
    _binary(
        op.SUB, "-", "a - b", Derivative(python=("{d}", "-{d}"), c=("{d}", "-{d}")),
        replace(POINTWISE, terms=(1.0, -1.0)), "−", "difference", operator.sub, 0.0,
    ),
    _binary(
        op.MUL, "*", "a * b",
        Derivative(inputs=True, python=("{d} * {b}", "{d} * {a}"), c=("{d} * {b}", "{d} * {a}")),
        replace(POINTWISE, commutative=True), "×", "product", operator.mul, 1.0,
    ),
    _binary(
        op.DIV, "/", "a / b",
        Derivative(
            inputs=True, output=True,
            python=("{d} / {b}", "-({d} * {y} / {b})"), c=("{d} / {b}", "-({d} * {y} / {b})"),
        ),
        POINTWISE, "÷", "ratio", operator.truediv, 1.0,
    ),
    _binary(
        op.POW, "**", "a ^ b", Derivative(inputs=True, output=True), POINTWISE, "^", "", operator.pow, 1.0,
    ),
    _comparison(op.LT, "<", "1 where a < b, else 0"),
    _comparison(op.LE, "<=", "1 where a <= b, else 0"),
    _comparison(op.GT, ">", "1 where a > b, else 0"),
    _comparison(op.GE, ">=", "1 where a >= b, else 0"),
    _comparison(op.EQ, "==", "1 where a == b, else 0", commutative=True),
    _comparison(op.NE, "!=", "1 where a != b, else 0", commutative=True),
    _comparison(op.AND, "&", "1 where both are not 0", commutative=True),
    _comparison(op.OR, "|", "1 where one is not 0", commutative=True),
    OpDef(
        op.NOT, "arithmetic", "1 where x is 0", slots("x"), same, traits=_CONDITION, derivative=Derivative(),
        lowering=Pointwise(prefix="~", c="({x} == 0 ? 1 : 0)"),
    ),
    OpDef(
        op.NEG, "arithmetic", "-x", slots("x"), same, traits=replace(POINTWISE, terms=(-1.0,)),
        derivative=Derivative(python=("-{d}",), c=("-{d}",)),
        lowering=Pointwise(prefix="-", out="torch.neg({x}, out={out})", over="{x}.neg_()", c="-{x}"),
        symbol="−", examples=("(-{x})",), fold=operator.neg,
    ),
    _function(
        op.EXP, "e to the power x.", _torch("exp", "exp_({x})"), _of_output("{d} * {y}", "{d} * {y}"),
        ("exp(tanh({x}))",), fold=math.exp,
    ),
    _function(
        op.LOG, "Natural logarithm.", _torch("log", "log({x})"), _of_input("{d} / {x}", "{d} / {x}"),
        ("log(1 + abs({x}))",), fold=math.log,
    ),
    _function(
        op.SQRT, "Square root.", _torch("sqrt", "sqrt({x})"),
        _of_output("{d} * 0.5 / {y}", "{d} * 0.5 / {y}"), ("sqrt(1 + abs({x}))",), fold=math.sqrt,
    ),
    _function(
        op.ABS, "Magnitude.", _torch("abs", "fabs({x})"),
        _of_input("{d} * torch.sign({x})", "({x} > 0 ? {d} : {x} < 0 ? -{d} : 0)"), fold=abs,
    ),
    _function(
        op.TANH, "Hyperbolic tangent.", _torch("tanh", "tanh_({x})", in_place=True),
        _of_output(
            "ops.tanh_back({d}, {y})", "{d} * (1 - {y} * {y})", "ops.tanh_back({d}, {y}, {out})"
        ), activation=True, fold=math.tanh, bounds=(-1.0, 1.0),
    ),
    _function(
        op.SIGMOID, "1 / (1 + exp(-x)).", _torch("sigmoid", "sigmoid_({x})", in_place=True),
        _of_output(
            "ops.sigmoid_back({d}, {y})", "{d} * (1 - {y}) * {y}", "ops.sigmoid_back({d}, {y}, {out})"
        ), activation=True, bounds=(0.0, 1.0),
    ),
    _function(
        op.RELU, "max(x, 0).",
        Pointwise(python="torch.relu({x})", over="{x}.relu_()", c="({x} < 0 ? 0 : {x})"),
        _of_output(
            "ops.relu_back({d}, {y})", "({y} <= 0 ? 0 : {d})", "ops.relu_back({d}, {y}, {out})"
        ), activation=True,
        fold=lambda x: max(x, 0.0),
    ),
    _function(
        op.SILU, "x * sigmoid(x) (Elfwing et al. 2018).",
        Pointwise(python="F.silu({x})", c="{x} * sigmoid_({x})"),
        _of_input(
            "ops.silu_back({d}, {x})", "silu_back({d}, {x})", "ops.silu_back({d}, {x}, {out})"
        ), activation=True,
    ),
    _function(
        op.GELU,
        "x times the normal distribution's cumulative probability at x (Hendrycks and Gimpel 2016).",
        Pointwise(python="F.gelu({x})", c="{x} * (0.5 + 0.5 * erf({x} * 0.7071067811865476))"),
        _of_input(*_GELU_SLOPE), activation=True,
    ),
    OpDef(
        op.STOP_GRADIENT, "arithmetic", "x itself, through which no gradient flows.", slots("x"), same,
        traits=replace(POINTWISE, view=True, passes_gradient=False), call=Call(("x",)),
        derivative=Derivative(), lowering=Pointwise(python="{x}.detach()", c="{x}"),
    ),
    OpDef(
        op.LEAKY_RELU, "arithmetic", "x where it is positive, else slope * x (Maas et al. 2013).", slots("x"),
        same, attrs={"slope": float}, traits=replace(POINTWISE, activation=True),
        call=Call(("x",), (Option("slope", "number", 0.01),)),
        derivative=_of_input(
            "{d} * torch.where({x} > 0, 1.0, {slope})", "({x} > 0 ? {d} : {d} * {slope})"
        ),
        lowering=Pointwise(
            python="F.leaky_relu({x}, {slope})",
            over="F.leaky_relu({x}, {slope}, inplace=True)",
            c="({x} > 0 ? {x} : {slope} * {x})",
        ),
        examples=("leaky_relu({x}, 0.1)",),
    ),
)  # fmt: skip
