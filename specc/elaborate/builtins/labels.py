"""Labels as values, for losses and weights: `label(click)`."""

from __future__ import annotations

from specc.elaborate.builtins.signature import Arguments, built_in
from specc.ir.graph import Node
from specc.ops import op
from specc.types.axis import Type


@built_in(op.LABEL)
def _label(args: Arguments) -> Node:
    """A node outside of all scans, as fields are."""
    attrs = {"prediction": args.options["prediction"]}
    node = args.world.put(args.world.root, op.LABEL, [], Type((), 1), args.span, attrs)
    return args.world.localize(node, args.site.frame)
