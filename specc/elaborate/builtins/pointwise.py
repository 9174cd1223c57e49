"""Functions of channels, and the losses: `exp relu leaky_relu stop_gradient bce mse …`."""

from __future__ import annotations

from specc.elaborate.broadcast import broadcast
from specc.elaborate.builtins.general import as_defined
from specc.elaborate.builtins.signature import Arguments, built_in
from specc.ir.graph import Node
from specc.ops import OPS, op
from specc.types.axis import Type, union

for _known in OPS.values():
    if _known.traits.pointwise and _known.call is not None:
        built_in(_known.name)(as_defined(_known))
for _name in (op.MSE, op.BERNOULLI):
    built_in(_name)(as_defined(OPS[_name]))


@built_in(op.BCE)
def _bce(args: Arguments) -> Node:
    (a, place), (b, _) = args.nodes
    type_ = broadcast(args.site, args.span, *args.nodes)
    if type_.width != 1:
        raise args.world.fault(
            "E0301",
            "a binary cross entropy is of one logit",
            place,
            expected="width 1",
            found=str(a.type),
            help="end the logit with `|> linear(1)`, or sum it over channels",
        )
    return args.add(op.BCE, [a, b], type_)


@built_in(op.CROSS_ENTROPY)
def _cross_entropy(args: Arguments) -> Node:
    (a, _), (b, place) = args.nodes
    if b.type.width != 1:
        raise args.world.fault(
            "E0301",
            "the class must be one index",
            place,
            expected="width 1",
            found=str(b.type),
        )
    return args.add(op.CROSS_ENTROPY, [a, b], Type(union(a.type, b.type), 1))
