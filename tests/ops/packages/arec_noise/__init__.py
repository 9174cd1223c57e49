"""Noise as an operation that says nothing of itself: no traits, no derivative."""

from specc.ops.definition import Call, OpDef, Pointwise, slots
from specc.ops.rules import same

NOISE = OpDef(
    "noise",
    "layers",
    "x with a random number added to each channel.",
    slots("x"),
    same,
    call=Call(("x",)),
    lowering=Pointwise(python="{x} + torch.rand_like({x})"),
    meaning="arec_noise.meaning",
)
