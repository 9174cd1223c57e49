"""Running sums as an operation."""

from specc.ops.definition import Along, Call, Derivative, Effect, OpDef, Positions, Traits, slots
from specc.ops.rules import along
from specc.types.axis import Axis

CUMSUM = OpDef(
    "cumsum",
    "reductions",
    "The sum of each position and of those before it.",
    slots("x"),
    along,
    attrs={"axis": Axis},
    traits=Traits(effect=Effect.PURE, positions=Positions.ALONG, keeps_axis=True),
    call=Call(("x",), clauses={"over": True}),
    derivative=Derivative(),
    lowering=Along(
        dense="{x}.cumsum({dim})",
        ragged="arec_cumsum.kernel.cumsum({x}, {rows}, {axis}{where})",
    ),
    imports=("arec_cumsum.kernel",),
    meaning="arec_cumsum.meaning",
)
