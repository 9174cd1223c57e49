"""Classes that are the rows of a table: `class(items)`.

Promises: the table has its weight even where no field reads it; a row of `vocab` that no key has, and row 0,
are no classes. Leaves to `predictions` what all kinds have in common.
"""

from __future__ import annotations

from collections.abc import Mapping

from specc.elaborate.encodings import Encoding
from specc.elaborate.scope import Scope
from specc.elaborate.statics import static, truth
from specc.elaborate.world import Site, World
from specc.frozen import dataclass
from specc.ir.graph import Node, TableRows, Weight
from specc.ops import op
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Type
from specc.types.static import describe

_MOST = 2**24  # what numbers of single precision tell apart


@dataclass(frozen=True)
class Catalogue:
    """A table whose rows are classes. sampled: how many of them are drawn in training, 0 for all."""

    name: str
    table: Encoding
    bias: bool
    sampled: int


def catalogue(scope: Scope, expr: tree.Expr, options: Mapping[str, tree.Expr]) -> Catalogue | None:
    """Return what `class(TABLE, …)` says; None where it is not a table. Raises Fault."""
    world, site = scope.world, Site(scope, scope.frame, "")
    found = scope.find(expr.name) if isinstance(expr, tree.Ref) else None
    if found is None and isinstance(expr, tree.Ref):
        known = [n for n, e in scope.entries.items() if isinstance(e.statement, tree.Table | tree.Param)]
        raise world.unknown("E0201", "table or param", expr.name, expr.span, known)
    if found is None or not isinstance(found[1].statement, tree.Table) or not isinstance(expr, tree.Ref):
        for name in ("bias", "sampled"):
            if name in options:
                raise world.fault(
                    "E0404",
                    f"`{name}` is for classes that are the rows of a table",
                    options[name].span,
                    help="write `class(items)` with a declared `table items`, or leave it out",
                )
        return None
    table: Encoding = found[0].value_of(found[1], expr.name)
    if table.name not in ("ids", "vocab"):
        raise world.fault(
            "E0509",
            f"the rows of `{expr.name}` do not stand for one key each",
            expr.span,
            found=table.name,
            help="classes are rows of `ids` or `vocab`",
        )
    if table.rows > _MOST:
        raise world.fault(
            "E0509", f"`{expr.name}` has too many rows for classes", expr.span, found=f"{table.rows:,}",
            expected=f"{_MOST:,} at most",
        )  # fmt: skip
    bias = "bias" in options and truth(options["bias"], site, "`bias`")
    return Catalogue(expr.name, table, bias, _sampled(world, options.get("sampled"), site))


def _sampled(world: World, expr: tree.Expr | None, site: Site) -> int:
    if expr is None:
        return 0
    count = static(expr, site)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise world.fault(
            "E0403", "`sampled` says how many rows are drawn a batch", expr.span, found=describe(count),
            help="write a whole number from 1, or leave it out for a softmax over all rows",
        )  # fmt: skip
    return count


def weight_of_table(world: World, name: str, table: Encoding, span: Span) -> str:
    """Return the path of a declared table's weight, which there then is even if no field reads it."""
    path = f"{name}.weight"
    if path not in world.weights:
        world.weight(
            Weight(
                path, (table.rows, table.width), "table", table.init, span, name, l2=table.l2,
                l2_by_frequency=table.l2_by_frequency, frozen=table.frozen, pretrained=table.pretrained,
                vocabulary=name if table.name == "vocab" else None,
            )
        )  # fmt: skip
    return path


def row_loss(world: World, name: str, of: Catalogue, x: Node, span: Span) -> tuple[TableRows, Node]:
    """Return what the classes of a prediction are, and the loss of an example."""
    table, size = of.table, of.table.rows
    first = int(table.name == "vocab")
    path = weight_of_table(world, of.name, table, span)
    counts = Weight(
        f"{name}.classes.counts", (size,), "buffer", ("ones",), span, name, counts=f"label:{name}"
    )
    paths = [path, world.weight(counts)]
    if of.bias:
        paths.append(world.weight(Weight(f"{name}.bias", (size,), "learned", ("zeros",), span, name)))
    label = world.put(world.root, op.LABEL, [], Type((), 1), span, {"prediction": name})
    attrs = {"first": first, "sampled": of.sampled}
    loss = world.put(world.root, op.ROW_LOSS, [x.id, label.id], Type((), 1), span, attrs, tuple(paths))
    rows = TableRows(
        path, table.width, first, paths[1], paths[2] if of.bias else None, of.name if first else None,
        table.name, table.options,
    )  # fmt: skip
    return rows, loss
