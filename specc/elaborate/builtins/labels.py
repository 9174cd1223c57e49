"""What losses alone may be made of: labels, and the other examples of the batch."""

from __future__ import annotations

from specc.elaborate.batches import across, among
from specc.elaborate.builtins.signature import Arguments, Builtin, built_in, declare
from specc.ir.graph import Node
from specc.ops import op
from specc.ops.definition import Option
from specc.types.axis import Type, union


@built_in(op.LABEL)
def _label(args: Arguments) -> Node:
    """Return a node outside of all scans, as fields are."""
    attrs = {"prediction": args.options["prediction"]}
    node = args.world.put(args.world.root, op.LABEL, [], Type((), 1), args.span, attrs)
    return args.world.localize(node, args.site.frame)


def _contrast(args: Arguments) -> Node:
    """Return -log softmax of dot(x, y) / scale among the y of the batch."""
    world, ((x, of_x), (y, of_y)) = args.world, args.nodes
    if args.site.frame.outer is not None:
        raise world.fault(
            "E0517", "`contrast` compares examples, and cannot stand in a scan", args.span,
            help="let the scan give the value, and compare it behind it",
        )  # fmt: skip
    if x.type.axes or y.type.axes or x.type.width != y.type.width:
        wrong, place = (x, of_x) if x.type.axes else (y, of_y)
        raise world.fault(
            "E0517",
            "`contrast` compares two vectors of one width",
            place,
            found=f"{x.type} and {y.type}",
            help=f"reduce it first, such as `mean(…, over {wrong.type.axes[0].name})`"
            if wrong.type.axes
            else f"bring them to one width with `|> linear({x.type.width})`",
        )
    if args.options["scale"] <= 0:
        raise world.fault("E0403", "`scale` is a number above 0", args.span)
    others = across(world, y, of_y)
    scale = args.add(op.CONSTANT, [], Type((), 1), {"value": float(args.options["scale"])})
    scores = args.add(op.DOT, [x, others], Type(union(x.type, others.type), 1))
    scores = args.add(op.DIV, [scores, scale], scores.type)
    return among(world, scores, scores, args.span)


declare(
    Builtin(
        "contrast",
        "losses",
        ("x", "y"),
        _contrast,
        "Negative log softmax of dot(x, y) / scale among the y of all examples of the batch (InfoNCE, "
        "van den Oord et al. 2018); in losses only.",
        options=(Option("scale", "number", 0.1),),
    )
)
