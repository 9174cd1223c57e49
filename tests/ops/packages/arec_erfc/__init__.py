"""The complementary error function as an operation."""

from specc.ops.definition import Call, Derivative, Effect, OpDef, Pointwise, Positions, Traits, slots
from specc.ops.rules import same

ERFC = OpDef(
    "erfc",
    "arithmetic",
    "The complementary error function of each channel.",
    slots("x"),
    same,
    traits=Traits(effect=Effect.PURE, positions=Positions.SAME, pointwise=True),
    call=Call(("x",)),
    derivative=Derivative(
        inputs=True,
        python=("-1.1283791670955126 * {d} * torch.exp(-{x} * {x})",),
        c=("-1.1283791670955126 * {d} * exp_(-{x} * {x})",),
    ),
    lowering=Pointwise(python="torch.erfc({x})", c="erfc({x})"),
    meaning="arec_erfc.meaning",
)
