"""The error function as an operation."""

from specc.ops.definition import Call, Derivative, Effect, OpDef, Pointwise, Positions, Traits, slots
from specc.ops.rules import same

ERF = OpDef(
    "erf",
    "arithmetic",
    "The error function of each channel.",
    slots("x"),
    same,
    traits=Traits(effect=Effect.PURE, positions=Positions.SAME, pointwise=True),
    call=Call(("x",)),
    derivative=Derivative(
        inputs=True,
        python=("{d} * 1.1283791670955126 * torch.exp(-{x} * {x})",),
        c=("{d} * 1.1283791670955126 * exp_(-{x} * {x})",),
    ),
    lowering=Pointwise(python="torch.erf({x})", c="erf({x})"),
    meaning="arec_erf.meaning",
)
