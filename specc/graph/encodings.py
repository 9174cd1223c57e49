"""Encodings: how a raw column becomes numbers, as it is written in tables and fields.

Promises: `encoding` gives the checked options of `ids vocab hash bucket number vector bag`, JSON-able,
or raises Fault with every mistake of the call reported. Leaves columns and tables to `spaces`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from specc.frozen import dataclass
from specc.graph.calls import choice, initializer
from specc.graph.statics import static
from specc.graph.world import Entry, Fault, Site
from specc.report import Label
from specc.report.suggest import suggestion
from specc.syntax import tree
from specc.types.static import describe, is_number

SCALES = ("none", "standard", "minmax", "log1p")
MODES = ("mean", "sum", "max")
LARGEST_TABLE = 10**10


@dataclass(frozen=True)
class Encoding:
    """A checked encoding. `rows` and `width` are of its table; `rows` is 0 where it has none.

    `shared` is the declared table it reads, if it names one; `of` is a bag's inner encoding.
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
    shared: str | None = None
    of: Encoding | None = None


@dataclass
class _Call:
    """One call of an encoding while it is read: positional values in order, then options."""

    expr: tree.Expr
    site: Site
    given: list[tree.Expr] = field(default_factory=list)
    options: dict[str, tuple[tree.Expr | None, tree.Ident]] = field(default_factory=dict)
    column: tree.Text | None = None

    def count(self, name: str, expr: tree.Expr, most: int = LARGEST_TABLE) -> int:
        result = static(expr, self.site)
        if not isinstance(result, int) or isinstance(result, bool) or not 1 <= result <= most:
            raise self.site.world.fault(
                "E0403",
                f"`{name}` must be an integer from 1 to {most:,}",
                expr.span,
                found=describe(result),
            )
        return result


# Each reads its positional arguments; the number of them, by name, stands beside it.
Reader = Callable[[_Call], tuple[dict[str, Any], int, int]]


def _ids(call: _Call) -> tuple[dict[str, Any], int, int]:
    n = call.count("n", call.given[0])
    return {"n": n}, n, call.count("width", call.given[1])


def _vocab(call: _Call) -> tuple[dict[str, Any], int, int]:
    most = call.count("max", call.given[0])
    return {"max": most}, most, call.count("width", call.given[1])


def _bucket(call: _Call) -> tuple[dict[str, Any], int, int]:
    first, site = call.given[0], call.site
    if isinstance(first, tree.Ref) and first.name == "log2":
        if len(call.given) != 3:
            raise _arguments(call, "bucket", ("log2", "n", "width"))
        n = call.count("n", call.given[1])
        return {"log2": n}, n, call.count("width", call.given[2])
    if len(call.given) != 2:
        raise _arguments(call, "bucket", ("edges", "width"))
    edges = static(first, site)
    if not isinstance(edges, tuple) or not edges or not all(is_number(e) for e in edges):
        raise site.world.fault(
            "E0403",
            "the edges of buckets are a list of numbers, or `log2`",
            first.span,
            expected="such as [18, 25, 35, 50], or log2 and the number of buckets",
            found=describe(edges),
        )
    if any(b <= a for a, b in itertools.pairwise(edges)):
        raise site.world.fault("E0403", "the edges of buckets must grow", first.span, found=describe(edges))
    return {"edges": list(edges)}, len(edges) + 1, call.count("width", call.given[1])


def _number(call: _Call) -> tuple[dict[str, Any], int, int]:
    scale = choice("scale", call.given[0], SCALES, call.site) if call.given else "none"
    return {"scale": scale}, 0, 1


def _vector(call: _Call) -> tuple[dict[str, Any], int, int]:
    n = call.count("n", call.given[0], 10**6)
    return {"n": n}, 0, n


_READERS: dict[str, tuple[Reader, tuple[str, ...], int]] = {
    # name: reader, names of its positional arguments, how many it needs at least
    "ids": (_ids, ("n", "width"), 2),
    "vocab": (_vocab, ("max", "width"), 2),
    "hash": (_ids, ("n", "width"), 2),
    "bucket": (_bucket, ("edges", "n", "width"), 2),
    "number": (_number, ("scale",), 0),
    "vector": (_vector, ("n",), 1),
}
ENCODINGS = (*_READERS, "bag")
_COMMON = ("default",)
_OF_TABLES = ("init", "l2", "pretrained", "frozen")


def encoding(expr: tree.Expr, site: Site) -> Encoding:
    """The encoding that a field's or table's expression says. Raises Fault."""
    if (isinstance(expr, tree.Ref) and expr.name not in ENCODINGS) or isinstance(expr, tree.Attribute):
        return _shared(expr, site)
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    name = callee.name if isinstance(callee, tree.Ref) else ""
    if name not in ENCODINGS:
        raise site.world.unknown("E0201", "encoding", name or expr.span.text, callee.span, ENCODINGS)
    call = _read(expr, site)
    if name == "bag":
        return _bag(call)
    reader, names, least = _READERS[name]
    _named(call, names)
    if not least <= len(call.given) <= len(names):
        raise _arguments(call, name, names)
    options, rows, width = reader(call)
    return _with_options(call, Encoding(name, options, rows, width, column=call.column))


def _shared(expr: tree.Ref | tree.Attribute, site: Site) -> Encoding:
    """A declared table, by name."""
    from specc.graph.expressions import entry_value

    world = site.world
    name = expr.name if isinstance(expr, tree.Ref) else ""
    found = site.scope.find(name)
    if found is None:
        tables = [n for n, e in site.scope.entries.items() if isinstance(e.statement, tree.Table)]
        raise world.unknown(
            "E0201", "table or encoding", name or expr.span.text, expr.span, [*tables, *ENCODINGS]
        )
    if not isinstance(found[1].statement, tree.Table):
        raise world.fault(
            "E0509",
            f"`{name}` is not a table",
            expr.span,
            secondary=(Label(found[1].span, "declared here"),),
            help="a field is read by a table or an encoding, such as `vocab(1000, 8)`",
        )
    result: Encoding = entry_value(*found, name)
    return result


def _read(expr: tree.Expr, site: Site) -> _Call:
    call = _Call(expr, site)
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
            case _:
                site.report.error("E0404", "an encoding takes no axis", argument.span)
                failed = True
    if failed:
        raise Fault
    return call


def _named(call: _Call, names: tuple[str, ...]) -> None:
    """Arguments that are given by name take their places among the others."""
    if call.given and isinstance(call.given[0], tree.Ref) and call.given[0].name == "log2":
        names = ("log2", "n", "width")
    elif "edges" in names:
        names = ("edges", "width")
    for place in range(len(call.given), len(names)):
        option = call.options.pop(names[place], None)
        if option is None or option[0] is None:
            break
        call.given.append(option[0])


def _arguments(call: _Call, name: str, names: tuple[str, ...]) -> Fault:
    listed, count = ", ".join(names), len(call.given)
    if count < len(names):
        message = f"`{name}` lacks " + " and ".join(f"`{n}`" for n in names[count:])
    else:
        message = f"`{name}` is given an argument too many"
    place = call.expr.span if count <= len(names) else call.given[len(names)].span
    return call.site.world.fault("E0404", message, place, expected=f"{name}({listed})")


def _bag(call: _Call) -> Encoding:
    if not 1 <= len(call.given) <= 2:
        raise _arguments(call, "bag", ("table", "mean | sum | max"))
    inner = encoding(call.given[0], call.site)
    if not inner.rows or inner.of is not None:
        raise call.site.world.fault(
            "E0509",
            "a bag is of a table's rows",
            call.given[0].span,
            found=inner.name,
            help="such as `bag(tags, mean)` or `bag(vocab(1000, 8), sum)`",
        )
    mode = choice("mode", call.given[1], MODES, call.site) if len(call.given) == 2 else "mean"
    for name, (_, ident) in call.options.items():
        if name in _OF_TABLES:
            raise call.site.world.fault(
                "E0402",
                f"`bag` has no option `{name}`",
                ident.span,
                help="give it to the table: `bag(vocab(1000, 8, init = …), mean)`",
            )
    options = {"mode": mode, "of": {"encoding": inner.name, **inner.options}}
    whole = Encoding(
        "bag", options, inner.rows, inner.width, column=call.column, shared=inner.shared, of=inner
    )
    return _with_options(call, whole)


def _with_options(call: _Call, plain: Encoding) -> Encoding:
    world, changes, failed = call.site.world, dict[str, Any](), False
    known = [*_COMMON, *(_OF_TABLES if plain.rows and plain.name != "bag" else ())]
    options = dict(plain.options)
    for name, (expr, ident) in call.options.items():
        try:
            if name not in known:
                if call.site.report.lost(name):
                    raise Fault
                help, fix = suggestion(name, ident.span, known)
                raise world.fault(
                    "E0402",
                    f"`{plain.name}` has no option `{name}`",
                    ident.span,
                    label="unknown option",
                    help=help or "it has " + ", ".join(f"`{k}`" for k in known),
                    fix=fix,
                )
            match name:
                case "default":
                    assert expr is not None
                    options["default"] = _default(call, plain, expr)
                case "init":
                    assert expr is not None
                    changes["init"] = initializer(expr, call.site)
                case "l2":
                    assert expr is not None
                    changes["l2"], changes["l2_by_frequency"] = _l2(call, expr)
                case "pretrained":
                    if not isinstance(expr, tree.Text):
                        raise world.fault(
                            "E0403", "`pretrained` is the name of a file, in quotes", ident.span
                        )
                    changes["pretrained"] = expr.value
                case "frozen":
                    changes["frozen"] = expr is None or _truth(call, expr)
        except Fault:
            failed = True
    if failed:
        raise Fault
    values = {**plain.__dict__, **changes, "options": options}
    return Encoding(**values)


def _truth(call: _Call, expr: tree.Expr) -> bool:
    result = static(expr, call.site)
    if not isinstance(result, bool):
        raise call.site.world.fault("E0403", "`frozen` is true or false", expr.span, found=describe(result))
    return result


def _default(call: _Call, plain: Encoding, expr: tree.Expr) -> Any:
    """What stands for a missing raw value: of the kind that the column has."""
    result = static(expr, call.site)
    texts = plain.name in ("vocab", "hash", "bag")
    if not (is_number(result) or (texts and isinstance(result, str))):
        raise call.site.world.fault(
            "E0403",
            f"the default of `{plain.name}` is a {'number or a text' if texts else 'number'}",
            expr.span,
            found=describe(result),
        )
    if plain.name == "ids" and not (isinstance(result, int) and 0 <= result < plain.options["n"]):
        raise call.site.world.fault(
            "E0403",
            "the default is not one of the ids",
            expr.span,
            expected=f"an integer from 0 to {plain.options['n'] - 1}",
            found=describe(result),
        )
    return result


def _l2(call: _Call, expr: tree.Expr) -> tuple[float, bool]:
    """`0.01`, or `by_frequency(0.01)`: a row's penalty divided by its count in training (DIN, eq. 6)."""
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
    return float(result), by_frequency


def table_encoding(entry: Entry, statement: tree.Table, site: Site) -> Encoding:
    """What a declared table is. Raises Fault."""
    result = encoding(statement.encoding, site)
    if not result.rows or result.of is not None or result.shared is not None:
        raise site.world.fault(
            "E0509",
            f"`{statement.ident.name}` is not a table: its encoding has no rows of its own",
            statement.encoding.span,
            found=result.name,
            expected="ids, vocab, hash or bucket",
            help="numbers, vectors and bags are written at the field that has them",
        )
    if result.column is not None:
        raise site.world.fault(
            "E0404",
            "a table has no column of its own",
            result.column.span,
            help="write `from` at the fields that use the table",
        )
    return Encoding(**{**result.__dict__, "shared": statement.ident.name})
