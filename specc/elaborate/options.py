"""The values of options: numbers, words, layers and initializers, each of the kind it was declared with.

Promises: what does not fit is told at the option's own place, with what would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from specc.elaborate.builtins.signature import BUILTINS
from specc.elaborate.statics import is_static, static, symbols_of
from specc.elaborate.world import Site
from specc.ops.definition import Option
from specc.ops.plugins import offered
from specc.report import Fix
from specc.report.suggest import suggestion
from specc.syntax import tree
from specc.types.static import Symbol, describe, is_number, real, whole_between

_LARGEST = 10**6  # width, or number of parts
COUNT = f"an integer from 1 to {_LARGEST:,}"
_COPIES = 1_000  # of a layer


# How a weight may start, by name, and how many numbers that takes.
INITIALIZERS = {"normal": 1, "uniform": 1, "constant": 1, "xavier": 0, "he": 0, "zeros": 0, "ones": 0,
                 "identity": 0}  # fmt: skip


def initializer(expr: tree.Expr, site: Site, among: Iterable[str] = tuple(INITIALIZERS)) -> tuple[Any, ...]:
    """Return `normal(0.01)`, `zeros`, … as a tuple headed by its name. Raises Fault."""
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    name = callee.name if isinstance(callee, tree.Ref) else ""
    if name not in INITIALIZERS:
        if is_static(expr, site.scope) and is_number(number := static(expr, site)):
            return ("constant", real(number)) if number else ("zeros",)
        raise site.world.unknown("E0402", "initializer", name or expr.span.text, expr.span, among)
    given = expr.args if isinstance(expr, tree.Call) else ()
    if len(given) != INITIALIZERS[name] or not all(isinstance(a, tree.Positional) for a in given):
        count = INITIALIZERS[name]
        raise site.world.fault(
            "E0404", f"`{name}` takes {'one number' if count else 'no argument'}", expr.span
        )
    numbers = [static(a.value, site) for a in given if isinstance(a, tree.Positional)]
    if not all((is_number(n) and n >= 0) or name == "constant" for n in numbers):
        raise site.world.fault("E0403", f"`{name}` needs a number that is not negative", expr.span)
    return (name, *(real(n) for n in numbers))


def values(expr: tree.Expr, shape: tuple[int, ...], site: Site) -> tuple[Any, ...]:
    """Return what a tensor of a shape starts from: an initializer, `sinusoid`, or a list of its numbers, of
    lists for each axis. Raises Fault."""
    if isinstance(expr, tree.Ref) and expr.name == "sinusoid" and site.scope.find("sinusoid") is None:
        if len(shape) < 2:
            raise site.world.fault(
                "E0403",
                "`sinusoid` is of the positions along an axis, and this is one vector",
                expr.span,
                help="give it an axis: `fixed place[t, 8] = sinusoid`",
            )
        return ("sinusoid",)
    if not (is_static(expr, site.scope) and isinstance(found := static(expr, site), tuple)):
        return initializer(expr, site, (*INITIALIZERS, "sinusoid"))
    flat: list[float] = []
    if not _flattened(found, shape, flat):
        raise site.world.fault(
            "E0403",
            "the list does not have the numbers of this shape",
            expr.span,
            expected=" lists of ".join(map(str, shape)) + " numbers",
            found=describe(found),
        )
    return ("values", *flat)


def _flattened(found: Any, shape: tuple[int, ...], flat: list[float]) -> bool:
    """Return whether nested lists have this shape, and append their numbers in order."""
    if not shape:
        flat += [real(found)] if is_number(found) else []
        return is_number(found)
    whole = isinstance(found, tuple) and len(found) == shape[0]
    return whole and all(_flattened(part, shape[1:], flat) for part in found)


# By kind of option what it must be, in words, and whether a value is.
_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "count": (COUNT, lambda v: is_count(v)),
    "copies": (f"an integer from 1 to {_COPIES:,}", lambda v: is_count(v) and v <= _COPIES),
    "int": ("an integer", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "number": ("a number", is_number),
    "rate": ("a number from 0 to below 1", lambda v: is_number(v) and 0 <= v < 1),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "sizes": (f"a list of integers from 1 to {_LARGEST:,}, such as [200, 80]", lambda v: False),
}


def option_value(option: Option, expr: tree.Expr, site: Site) -> Any:
    """Return the value of an option, of the kind it was declared with. Raises Fault."""
    if option.kind == "axis":
        if isinstance(expr, tree.Ref):
            return tree.Ident(expr.name, span=expr.span)
        raise site.world.fault("E0403", f"`{option.name}` is the name of an axis", expr.span)
    if option.kind == "prediction":
        return _prediction(expr, site)
    if option.kind == "table":
        return _table(expr, site)
    if option.kind in ("layer", "layer?"):
        if option.kind == "layer?" and _is_none(expr, site):
            return None
        return site.layer(expr)
    if option.kind == "init":
        return initializer(expr, site)
    if option.kind == "text?":
        if isinstance(expr, tree.Text) or _is_none(expr, site):
            return expr.value if isinstance(expr, tree.Text) else None
        raise site.world.fault("E0403", f"`{option.name}` is a text in quotes", expr.span)
    if option.kind == "choice":
        return choice(option.name, expr, option.choices, site)
    result = static(expr, site)
    if option.kind == "sizes" and isinstance(result, tuple):
        bad = next((v for v in result if not is_count(v)), None)
        if bad is None:
            return result
        result = bad
    wanted, fits = _KINDS[option.kind]
    if not fits(result):
        raise site.world.fault(
            "E0403",
            f"`{option.name}` must be {wanted}",
            expr.span,
            found=describe(result),
            help=_about_number(option.kind, result, expr),
        )
    return result


def _prediction(expr: tree.Expr, site: Site) -> str:
    """Return the name of a prediction. Raises Fault."""
    found = site.scope.find(expr.name) if isinstance(expr, tree.Ref) else None
    if found is not None and isinstance(found[1].statement, tree.Predict):
        return found[1].statement.ident.name
    module = site.world.program.main
    known = [name for name, item in module.named.items() if isinstance(item, tree.Predict)]
    if isinstance(expr, tree.Ref) and found is None:
        raise site.world.unknown("E0201", "prediction", expr.name, expr.span, known)
    raise site.world.fault(
        "E0403",
        "the name of a prediction is needed here",
        expr.span,
        found=f"`{expr.span.text}`",
        help="there is " + ", ".join(f"`{name}`" for name in known) if known else "",
    )


def _table(expr: tree.Expr, site: Site) -> tuple[str, Any]:
    """Return the name and the encoding of a declared table. Raises Fault."""
    found = site.scope.find(expr.name) if isinstance(expr, tree.Ref) else None
    if found is not None and isinstance(expr, tree.Ref) and isinstance(found[1].statement, tree.Table):
        return found[1].statement.ident.name, found[0].value_of(found[1], expr.name)
    module = site.world.program.main
    known = [name for name, item in module.named.items() if isinstance(item, tree.Table)]
    if isinstance(expr, tree.Ref) and found is None:
        raise site.world.unknown("E0201", "table", expr.name, expr.span, known)
    listed = ", ".join(f"`{name}`" for name in known)
    raise site.world.fault(
        "E0403",
        "the name of a declared table is needed here",
        expr.span,
        found=f"`{expr.span.text}`",
        help=f"there is {listed}; a field's own table is declared so: `table items = vocab(1_000, 8)`"
        if known
        else "declare one, such as `table items = vocab(1_000, 8)`, and let fields name it",
    )


def choice(name: str, expr: tree.Expr, choices: Iterable[str], site: Site) -> str:
    """Return one of a few words, or the value of a param that has one. Raises Fault."""
    listed = ", ".join(f"`{c}`" for c in choices)
    word = expr.name if isinstance(expr, tree.Ref) else ""
    if word and word not in choices and site.scope.find(word) is None and not site.report.lost(word):
        help, fix = suggestion(word, expr.span, choices)
        raise site.world.fault(
            "E0403", f"`{name}` is one of {listed}", expr.span, found=f"`{word}`", help=help, fix=fix
        )
    if isinstance(expr, tree.Text) and expr.value in choices:
        raise site.world.fault(
            "E0403", f"`{name}` is one of {listed}", expr.span, found=expr.span.text,
            help=f"write `{expr.value}`", fix=Fix(expr.span, expr.value, f"write `{expr.value}`"),
        )  # fmt: skip
    result = static(expr, site, choices)
    if not isinstance(result, Symbol) or result.name not in choices:
        raise site.world.fault("E0403", f"`{name}` is one of {listed}", expr.span, found=describe(result))
    return result.name


def _about_number(kind: str, result: Any, expr: tree.Expr) -> str:
    if kind == "bool" and result in (0, 1):
        return f"write `{'true' if result else 'false'}`"
    if kind in ("count", "sizes") and isinstance(result, float) and not isinstance(expr, tree.Number):
        return "`/` gives a fraction where the one does not divide the other"
    if kind == "sizes" and is_count(result):
        return f"write a list, even for one layer: `[{describe(result)}]`"
    if kind in ("count", "copies"):
        return whole_between(result, 1, _LARGEST if kind == "count" else _COPIES)
    if kind == "sizes" and is_number(result):
        return f"write a list of numbers from 1 to {_LARGEST:,}"
    if kind == "rate" and is_number(result) and result in (0, 1):
        return "at a rate of 1 nothing is left: write less, such as 0.5"
    if kind == "rate" and is_number(result) and result < 0:
        return "write a share of what is dropped, such as 0.5; 0 drops nothing"
    if kind == "rate" and is_number(result) and 1 < float(str(result)) <= 100:
        return f"a rate is a share: for {describe(result)} %, write {float(str(result)) / 100:g}"
    return ""


def is_count(number: object) -> bool:
    """Return whether a value can be a width, or a number of parts."""
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= _LARGEST


def _is_none(expr: tree.Expr, site: Site) -> bool:
    if not isinstance(expr, tree.Ref):
        return False
    if expr.name == "none":
        return True
    found = site.scope.find(expr.name)
    if found is None or not isinstance(found[1].statement, tree.Param | tree.Static):
        return False
    return bool(found[0].value_of(found[1], expr.name) == Symbol("none"))


def known_callable(name: str, site: Site) -> bool:
    """Return whether the language, the spec, or an installed package has a layer or block of this name."""
    known = name in BUILTINS or site.world.program.block(site.scope.module, name) is not None
    return known or name in offered()


def static_or_layer(expr: tree.Expr, site: Site, domain: tree.Domain | None) -> Any:
    """Return an argument for a block's static: a compile-time value, a symbol of its domain, or a layer."""
    symbols = symbols_of(domain)
    if isinstance(expr, tree.Ref) and expr.name in symbols:
        return Symbol(expr.name)
    if isinstance(expr, tree.Pipe):
        return site.layer(expr)
    if isinstance(expr, tree.Call | tree.Ref | tree.Attribute) and not is_static(expr, site.scope):
        found = site.scope.find(expr.name) if isinstance(expr, tree.Ref) else None
        if found is None or isinstance(found[1].statement, tree.Block | tree.Layer | tree.Static | None):
            if isinstance(expr, tree.Ref) and found is None and symbols:
                raise site.world.unknown("E0201", "choice", expr.name, expr.span, sorted(symbols))
            if isinstance(expr, tree.Ref):
                if not known_callable(expr.name, site):
                    raise site.world.unknown(
                        "E0201", "param or layer", expr.name, expr.span, site.scope.names()
                    )
            return site.layer(expr)
    return static(expr, site, symbols)
