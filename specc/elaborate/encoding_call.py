"""One call of an encoding as it is written, and what becomes of it once it is checked.

Promises: `read` gives a call's values in order, its options by name, and what stands behind `;`, or raises
Fault with every mistake of their form reported. Leaves what they mean to `encodings` and `encoding_options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from specc.elaborate.statics import static
from specc.elaborate.world import Fault, Site
from specc.frozen import dataclass
from specc.syntax import tree
from specc.types.static import describe, whole_between

LARGEST_TABLE = 10**10


@dataclass(frozen=True)
class Encoding:
    """A checked encoding. `rows` and `width` are of its table; `rows` is 0 where it has none.

    `shared` is the declared table it reads, if it names one; `of` is a bag's inner encoding, or the one that
    a cross goes into. `split` holds the separators of a column of texts, outermost first. `members` are the
    fields that are crossed, as they are written.
    """

    name: str
    options: Mapping[str, Any]
    rows: int
    width: int
    init: tuple[Any, ...] = ("normal", 0.01)
    l2: float = 0.0
    l2_by_frequency: bool = False
    frozen: bool = False
    pretrained: str | None = None
    column: tree.Text | None = None
    split: tuple[str, ...] = ()
    shared: str | None = None
    of: Encoding | None = None
    members: tuple[tree.Ref | tree.Attribute, ...] = ()


@dataclass
class Call:
    """One call of an encoding while it is read: positional values in order, then options."""

    expr: tree.Expr
    site: Site
    given: list[tree.Expr] = field(default_factory=list)
    options: dict[str, tuple[tree.Expr | None, tree.Ident]] = field(default_factory=dict)
    column: tree.Text | None = None
    into: tree.Into | None = None

    def count(self, name: str, expr: tree.Expr, most: int = LARGEST_TABLE) -> int:
        result = static(expr, self.site)
        if not isinstance(result, int) or isinstance(result, bool) or not 1 <= result <= most:
            raise self.site.world.fault(
                "E0403",
                f"`{name}` must be an integer from 1 to {most:,}",
                expr.span,
                found=describe(result),
                help=whole_between(result, 1, most),
            )
        return result

    def wrong_number(self, name: str, names: tuple[str, ...]) -> Fault:
        """Return the fault of a call with fewer or more values than it takes, which is reported."""
        listed, count = ", ".join(names), len(self.given)
        if count < len(names):
            message = f"`{name}` lacks " + " and ".join(f"`{n}`" for n in names[count:])
        else:
            message = f"`{name}` is given an argument too many"
        place = self.expr.span if count <= len(names) else self.given[len(names)].span
        return self.site.world.fault("E0404", message, place, expected=f"{name}({listed})")

    def name_values(self, names: tuple[str, ...]) -> None:
        """Move values that are given by name to their places among the others."""
        if self.given and isinstance(self.given[0], tree.Ref) and self.given[0].name == "log2":
            names = ("log2", "n", "width")
        elif "edges" in names:
            names = ("edges", "width")
        for place in range(len(self.given), len(names)):
            option = self.options.pop(names[place], None)
            if option is None or option[0] is None:
                break
            self.given.append(option[0])


def read(expr: tree.Expr, site: Site) -> Call:
    """Return a call, or a bare name, as it is written."""
    call = Call(expr, site)
    failed = False
    for argument in expr.args if isinstance(expr, tree.Call) else ():
        match argument:
            case tree.Positional(value=tree.Ref(name="frozen") as ref):
                call.options["frozen"] = (None, tree.Ident("frozen", span=ref.span))
            case tree.Positional(value=given):
                call.given.append(given)
            case tree.Keyword(ident=ident, value=given):
                if ident.name in call.options:
                    site.report.error("E0404", f"`{ident.name}` is given twice", ident.span)
                    failed = True
                call.options[ident.name] = (given, ident)
            case tree.From(column=column):
                call.column = column
            case tree.Into():
                call.into = argument
            case _:
                site.report.error("E0404", "an encoding takes no axis", argument.span)
                failed = True
    if failed:
        raise Fault
    return call
