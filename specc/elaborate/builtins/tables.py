"""Tables as they are: `rows`."""

from __future__ import annotations

from specc.elaborate.builtins.signature import Arguments, built_in
from specc.elaborate.builtins.widths import new_axis
from specc.elaborate.catalogue import weight_of_table
from specc.ir.graph import Node
from specc.ops import op
from specc.types.axis import Type


@built_in(op.ROWS)
def _rows(args: Arguments) -> Node:
    """Return a node outside of all scans, as fields are."""
    world = args.world
    name, table = args.options["table"]
    assert args.as_ is not None
    axis = new_axis(args, args.as_, table.rows)
    path = weight_of_table(world, name, table, args.span)
    known = (
        n for n in world.root.nodes if n.op == op.ROWS and (n.attrs["axis"], n.weights) == (axis, (path,))
    )
    type_, attrs = Type((axis,), table.width), {"axis": axis}
    node = next(known, None) or world.put(world.root, op.ROWS, [], type_, args.span, attrs, (path,))
    return world.localize(node, args.site.frame)
