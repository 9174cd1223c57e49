"""Reductions over an axis or over channels, and softmax: `sum mean max min last first softmax
log_softmax cumsum logsumexp`.

Over an axis a second input, of one channel, keeps those positions at which it is not 0.
"""

from __future__ import annotations

from dataclasses import replace

from specc.ops import op
from specc.ops.definition import Along, Call, Derivative, Effect, OpDef, Positions, Rule, Traits, slots
from specc.ops.rules import along, reduced
from specc.types.axis import Axis

_ALONG = Traits(effect=Effect.PURE, portable=True, positions=Positions.ALONG)


def _reduction(
    name: str,
    doc: str,
    channels: str,
    dense: str,
    derivative: Derivative,
    traits: Traits = _ALONG,
    rule: Rule = reduced,
) -> OpDef:
    return OpDef(
        name, "reductions", doc, slots("x where?"), rule, attrs={"axis": Axis | None}, traits=traits,
        call=Call(("x",), clauses={"over": False, "where": False}), derivative=derivative,
        lowering=Along(
            channels,
            dense,
            f"ops.dense.{name}({{x}}, {{dim}}, {{mask}})",
            f"ops.segment.{name}({{x}}, {{rows}}, {{axis}}{{where}})",
        ),
    )  # fmt: skip


DEFINITIONS = (
    _reduction(
        op.SUM, "Sum; 0 over nothing.", "{x}.sum(-1, keepdim=True)", "{x}.sum({dim})", Derivative()
    ),
    _reduction(
        op.MEAN, "Mean; 0 over nothing.", "{x}.mean(-1, keepdim=True)", "{x}.mean({dim})", Derivative()
    ),
    _reduction(
        op.MAX, "Largest; 0 over nothing.", "{x}.amax(-1, keepdim=True)", "{x}.amax({dim})",
        Derivative(inputs=True, output=True),
    ),
    _reduction(
        op.MIN, "Smallest; 0 over nothing.", "{x}.amin(-1, keepdim=True)", "{x}.amin({dim})",
        Derivative(inputs=True, output=True),
    ),
    _reduction(
        op.LAST, "The last position; 0 where there is none.", "{x}[..., -1:]", "{x}.select({dim}, -1)",
        Derivative(),
    ),
    _reduction(
        op.FIRST, "The first position; 0 where there is none.", "{x}[..., :1]", "{x}.select({dim}, 0)",
        Derivative(),
    ),
    _reduction(
        op.SOFTMAX, "exp(x) divided by its sum along the axis, which stays.", "{x}.softmax(-1)",
        "ops.dense.softmax({x}, {dim})", Derivative(output=True),
        replace(_ALONG, keeps_axis=True, bounds=(0.0, 1.0)), along,
    ),
    _reduction(
        op.LOG_SOFTMAX, "The logarithm of softmax, exact where that is 0 in floating point.",
        "{x}.log_softmax(-1)", "{x}.log_softmax({dim})", Derivative(output=True),
        replace(_ALONG, keeps_axis=True), along,
    ),
    _reduction(
        op.CUMSUM, "At each position the sum of those up to it.", "{x}.cumsum(-1)", "{x}.cumsum({dim})",
        Derivative(), replace(_ALONG, keeps_axis=True), along,
    ),
    _reduction(
        op.LOGSUMEXP, "Logarithm of the sum of exp(x); 0 over nothing.",
        "ops.logsumexp({x}, -1, keepdim=True)", "ops.logsumexp({x}, {dim})",
        Derivative(inputs=True, output=True),
    ),
)  # fmt: skip
