"""Options of encodings and of fields: defaults, separators, penalties, starting values.

Promises: `with_options` gives an encoding with every option of its call, or raises Fault with all that is
wrong with them reported.
"""

from __future__ import annotations

from typing import Any

from specc.elaborate.encoding_call import Call, Encoding
from specc.elaborate.options import initializer
from specc.elaborate.statics import static
from specc.elaborate.world import Fault
from specc.report.elsewhere import SAME
from specc.report.suggest import suggestion
from specc.syntax import tree
from specc.types.static import describe, is_number, real, whole_between

OF_FIELDS = ("default", "split")
OF_TABLES = ("init", "l2", "pretrained", "frozen")
_OWN = {
    "vocab": ("min_count",),
    "time": ("offset",),
    "number": ("of",),
    "bucket": ("of",),
    "bag": ("weight",),
}
_NUMBERS = ("ids", "bucket", "time", "number", "vector")  # whose columns hold no texts


def with_options(call: Call, plain: Encoding, known: tuple[str, ...] | None = None) -> Encoding:
    """Return the encoding with what the call says by name. known: the options there are, if not all of its
    own."""
    world, changes, failed = call.site.world, dict[str, Any](), False
    if known is None:
        tables = OF_TABLES if plain.rows and plain.name not in ("bag", "cross") else ()
        known = (*OF_FIELDS, *_OWN.get(plain.name, ()), *tables)
    options = dict(plain.options)
    said = plain.shared or plain.name
    for name, (expr, ident) in call.options.items():
        try:
            if name not in known:
                if call.site.report.lost(name):
                    raise Fault
                help, fix = suggestion(name, ident.span, known)
                raise world.fault(
                    "E0402",
                    f"`{said}` has no option `{name}`",
                    ident.span,
                    label="unknown option",
                    help=help or "it has " + ", ".join(f"`{k}`" for k in known),
                    fix=fix,
                )
            if name == "frozen":
                changes["frozen"] = expr is None or _truth(call, expr)
                continue
            assert expr is not None
            match name:
                case "default":
                    options["default"] = _default(call, plain, expr)
                case "split":
                    changes["split"] = _split(call, expr)
                case "min_count":
                    options["min_count"] = call.count("min_count", expr)
                case "offset":
                    options["offset"] = _offset(call, expr)
                case "of":
                    options["time"] = _of_time(call, expr)
                case "weight":
                    options["weight"] = _weight(call, plain, expr, ident)
                case "init":
                    changes["init"] = initializer(expr, call.site)
                case "l2":
                    changes["l2"], changes["l2_by_frequency"] = _l2(call, expr)
                case "pretrained":
                    if not isinstance(expr, tree.Text):
                        raise world.fault(
                            "E0403", "`pretrained` is the name of a file, in quotes", ident.span
                        )
                    changes["pretrained"] = expr.value
        except Fault:
            failed = True
    if failed:
        raise Fault
    values = {**plain.__dict__, **changes, "options": options}
    return Encoding(**values)


def _truth(call: Call, expr: tree.Expr) -> bool:
    result = static(expr, call.site)
    if not isinstance(result, bool):
        raise call.site.world.fault("E0403", "`frozen` is true or false", expr.span, found=describe(result))
    return result


def _default(call: Call, plain: Encoding, expr: tree.Expr) -> Any:
    """Return what stands for a missing raw value: of the kind that the column has."""
    texts = plain.name not in _NUMBERS
    if isinstance(expr, tree.Ref) and SAME.get(expr.name, expr.name) == "none":
        raise call.site.world.fault(
            "E0403",
            f"the default of `{plain.name}` is a {'number or a text' if texts else 'number'}",
            expr.span,
            found=f"`{expr.name}`",
            why="a default stands for a missing value, so it is one of the values that the column has",
            help="leave `default` out where nothing is missing, else give the value that is read instead",
        )
    result = static(expr, call.site)
    if not (is_number(result) or (texts and isinstance(result, str))):
        raise call.site.world.fault(
            "E0403",
            f"the default of `{plain.shared or plain.name}` is a {'number or a text' if texts else 'number'}",
            expr.span,
            found=describe(result),
            help="write the value that is read where one is missing, such as `default = 0`, or leave it out",
        )
    rows = {"ids": "one of the ids", "time": f"a row of `time({plain.options.get('part')})`"}
    if plain.name in rows and not (isinstance(result, int) and 0 <= result < plain.rows):
        raise call.site.world.fault(
            "E0403",
            f"the default is not {rows[plain.name]}",
            expr.span,
            expected=f"an integer from 0 to {plain.rows - 1}",
            found=describe(result),
            help=whole_between(result, 0, plain.rows - 1),
        )
    return result


def _split(call: Call, expr: tree.Expr) -> tuple[str, ...]:
    """Return the separators of a text that holds a list, outermost first."""
    found = static(expr, call.site)
    separators = found if isinstance(found, tuple) else (found,)
    if not separators or not all(isinstance(s, str) and s for s in separators):
        raise call.site.world.fault(
            "E0403",
            "`split` is a separator in quotes, or a list of them",
            expr.span,
            expected='such as "|", or ["|", ","] for a list of lists, the outer one first',
            found=describe(found),
        )
    if len(set(separators)) < len(separators):
        raise call.site.world.fault(
            "E0403", "each level of lists has a separator of its own", expr.span, found=describe(found)
        )
    return tuple(str(s) for s in separators)


def _offset(call: Call, expr: tree.Expr) -> float:
    """Return the hours east of UTC."""
    result = static(expr, call.site)
    if not is_number(result) or not -14 <= result <= 14:
        raise call.site.world.fault(
            "E0403",
            "`offset` is a number of hours from UTC, from -14 to 14",
            expr.span,
            expected="such as 8 for UTC+8, or -3.5",
            found=describe(result),
        )
    return real(result)


def _of_time(call: Call, expr: tree.Expr) -> bool:
    if expr != tree.Ref("time"):
        raise call.site.world.fault(
            "E0403",
            "numbers are `of = time`, or plain numbers without `of`",
            expr.span,
            found=expr.span.text,
            why="a time is the number of seconds since 1970, in UTC",
        )
    return True


def _weight(call: Call, plain: Encoding, expr: tree.Expr, ident: tree.Ident) -> str:
    """Return the column that has a weight for each value of a bag."""
    if not isinstance(expr, tree.Text) or not expr.value:
        raise call.site.world.fault(
            "E0403", "`weight` is the name of a column, in quotes", expr.span, found=expr.span.text
        )
    if plain.options["mode"] != "sum":
        raise call.site.world.fault(
            "E0402",
            f"a bag that gives the {plain.options['mode']} has no weights",
            ident.span,
            why="weighted rows add up: there is one meaning of their sum, and several of their mean",
            help="write `bag(TABLE, sum, weight = …)`",
        )
    return expr.value


def _l2(call: Call, expr: tree.Expr) -> tuple[float, bool]:
    """Return the weight of the penalty, and whether it is `by_frequency(…)`: a row's penalty divided by its
    count in training (DIN, eq. 6)."""
    by_frequency = isinstance(expr, tree.Call) and expr.callee == tree.Ref("by_frequency")
    given = expr
    if by_frequency:
        assert isinstance(expr, tree.Call)
        if len(expr.args) != 1 or not isinstance(expr.args[0], tree.Positional):
            raise call.site.world.fault("E0404", "`by_frequency` takes one number", expr.span)
        given = expr.args[0].value
    result = static(given, call.site)
    if not is_number(result) or result < 0:
        raise call.site.world.fault(
            "E0403", "`l2` is a number that is not negative", given.span, found=describe(result)
        )
    return real(result), by_frequency
