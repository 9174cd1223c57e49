"""Names and forms of other libraries, met where names are looked up: `torch.cat([a, b])`, `self.x`.

Promises: gives a fault that says what to write here, or None for what is not of that kind.
"""

from __future__ import annotations

from specc.elaborate.builtins.signature import BUILTINS, Builtin
from specc.elaborate.world import Fault, Site
from specc.ops import op
from specc.report import Fix
from specc.report.elsewhere import LIBRARIES, OBJECTS
from specc.report.suggest import absent, translated
from specc.syntax import tree


def other_library(expr: tree.Attribute, site: Site) -> Fault | None:
    """Return the fault of `torch.cat` or `self.x`."""
    name, member = expr.base.name, expr.ident.name
    if name in OBJECTS:
        return site.world.fault(
            "E0201",
            f"there is no `{name}`",
            expr.base.span,
            label="unknown name",
            why="every name stands for itself",
            help=f"write `{member}`",
            fix=Fix(expr.span, member, f"write `{member}`"),
        )
    if name not in LIBRARIES:
        return None
    ours = translated(member, [*BUILTINS, *site.world.program.prelude_names])
    return site.world.fault(
        "E0201",
        f"`{expr.span.text}` is another library's",
        expr.span,
        label="unknown name",
        why="there are no packages: built-ins and the standard library have plain names",
        help=f"write `{ours}`" if ours else absent(member) or "docs/language.md lists the layers there are",
        fix=Fix(expr.span, ours, f"write `{ours}`") if ours else None,
    )


def other_shape(builtin: Builtin, expr: tree.Call, site: Site) -> Fault | None:
    """Return the fault of inputs given as a list, `concat([a, b])`, or of two values given
    to a reduction."""
    positional = [a for a in expr.args if isinstance(a, tree.Positional)]
    first = positional[0].value if positional else None
    if isinstance(first, tree.List) and builtin.inputs and builtin.inputs[-1].startswith("*"):
        inner = first.span.text[1:-1].strip().rstrip(",").rstrip()
        written = f"{builtin.name}({inner})"
        return site.world.fault(
            "E0312",
            f"`{builtin.name}` takes its values one by one, and no list",
            first.span,
            expected=builtin.usage,
            help=f"write `{written}`" if len(written) < 60 else "leave the `[ ]` out",
            fix=Fix(first.span, inner, "leave the `[ ]` out"),
        )
    second = positional[1].value if len(positional) == 2 else None
    axis = isinstance(second, tree.Ref) and site.scope.find(second.name) is None
    if second is None or axis or builtin.name not in (op.MAX, op.MIN, op.SUM, op.MEAN):
        return None
    if builtin.name in (op.SUM, op.MEAN):
        a, b = (p.span.text for p in positional)
        return site.world.fault(
            "E0404",
            f"`{builtin.name}` is of one value, along an axis",
            second.span,
            expected=builtin.usage,
            help=f"the sum of two values is `{a} + {b}`; a weighted sum, `sum({a} * {b}, over t)`",
        )
    word = "larger" if builtin.name == "max" else "smaller"
    a, b = (p.span.text for p in positional)
    written = f"{a} + relu({b} - {a})" if builtin.name == "max" else f"{a} - relu({a} - {b})"
    return site.world.fault(
        "E0404",
        f"`{builtin.name}` is of one value, along an axis",
        second.span,
        expected=builtin.usage,
        help=f"the {word} of two values is `{written}`",
    )
