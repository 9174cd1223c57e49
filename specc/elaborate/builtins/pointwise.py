"""Arithmetic on channels, and the losses: `exp relu leaky_relu stop_gradient bce mse …`."""

from __future__ import annotations

from specc.elaborate.broadcast import broadcast
from specc.elaborate.builtins.signature import Arguments, Builtin, Option, declare
from specc.ir.graph import Node
from specc.types.axis import Type, union


def _leaky_relu(args: Arguments) -> Node:
    return args.add("leaky_relu", [args.x], args.x.type, {"slope": float(args.options["slope"])})


def _unary(name: str, doc: str) -> None:
    def rule(args: Arguments) -> Node:
        return args.add(name, [args.x], args.x.type)

    declare(Builtin(name, "arithmetic", ("x",), rule, doc))


for _name, _doc in (
    ("exp", "e to the power x."),
    ("log", "Natural logarithm."),
    ("sqrt", "Square root."),
    ("abs", "Magnitude."),
    ("tanh", "Hyperbolic tangent."),
    ("sigmoid", "1 / (1 + exp(-x))."),
    ("relu", "max(x, 0)."),
    ("silu", "x * sigmoid(x) (Elfwing et al. 2018)."),
    ("gelu", "x times the normal distribution's cumulative probability at x (Hendrycks and Gimpel 2016)."),
    ("stop_gradient", "x itself, through which no gradient flows."),
):
    _unary(_name, _doc)

declare(
    Builtin(
        "leaky_relu",
        "arithmetic",
        ("x",),
        _leaky_relu,
        "x where it is positive, else slope * x (Maas et al. 2013).",
        options=(Option("slope", "number", 0.01),),
    )
)


def _loss(name: str, doc: str) -> None:
    def rule(args: Arguments) -> Node:
        (a, _), (b, place) = args.nodes
        if name == "cross_entropy":
            if b.type.width != 1:
                raise args.world.fault(
                    "E0301",
                    "the class must be one index",
                    place,
                    expected="width 1",
                    found=str(b.type),
                )
            type_ = Type(union(a.type, b.type), 1)
        else:
            type_ = broadcast(args.site, args.span, *args.nodes).with_width(1)
            if name == "bce" and max(a.type.width, b.type.width) != 1:
                raise args.world.fault(
                    "E0301",
                    "a binary cross entropy is of one logit",
                    args.nodes[0][1],
                    expected="width 1",
                    found=str(a.type),
                    help="end the logit with `|> linear(1)`, or sum it over channels",
                )
        return args.add(name, [a, b], type_)

    declare(Builtin(name, "losses", ("logit" if name != "mse" else "x", "target"), rule, doc))


_loss("bce", "Binary cross entropy of a logit against a target between 0 and 1, at each position.")
_loss("mse", "Mean over channels of the squared difference, at each position.")
_loss("cross_entropy", "Negative log softmax of a logit a class at the class index, at each position.")
