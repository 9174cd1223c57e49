"""Running products as an operation."""

from specc.ops.definition import Along, Call, Derivative, Effect, OpDef, Positions, Traits, slots
from specc.ops.rules import along
from specc.types.axis import Axis

CUMPROD = OpDef(
    "cumprod",
    "reductions",
    "The product of each position and of those before it.",
    slots("x"),
    along,
    attrs={"axis": Axis},
    traits=Traits(effect=Effect.PURE, positions=Positions.ALONG, keeps_axis=True),
    call=Call(("x",), clauses={"over": True}),
    derivative=Derivative(),
    lowering=Along(
        dense="{x}.cumprod({dim})",
        ragged="arec_cumprod.kernel.cumprod({x}, {rows}, {axis}{where})",
    ),
    imports=("arec_cumprod.kernel",),
    meaning="arec_cumprod.meaning",
)
