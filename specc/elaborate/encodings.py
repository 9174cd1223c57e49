"""Encodings: how a raw column becomes numbers, as it is written in tables and fields.

Promises: `encoding` gives the checked options of `ids vocab hash bucket time number vector bag cross`,
JSON-able, or raises Fault with every mistake of the call reported. Leaves columns and tables to `spaces`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from specc.elaborate.encoding_call import Call, Encoding, read
from specc.elaborate.encoding_options import OF_FIELDS, OF_TABLES, with_options
from specc.elaborate.options import choice
from specc.elaborate.scope import Entry
from specc.elaborate.statics import static
from specc.elaborate.world import Fault, Site
from specc.packages import ENCODINGS as OF_PACKAGES
from specc.packages import offered
from specc.report import Fix, Label
from specc.report.suggest import nearest
from specc.syntax import tree
from specc.types.static import describe, is_number

__all__ = ["ENCODINGS", "Encoding", "encoding", "table_encoding"]

SCALES = ("none", "standard", "minmax", "log1p")
MODES = ("mean", "sum", "max")
# By part of a time its rows: minute 0-59, hour 0-23, weekday from Monday, day and month from the first, weeks
# as ISO 8601 numbers them.
PARTS = {"minute": 60, "hour": 24, "weekday": 7, "day": 31, "week": 53, "month": 12, "quarter": 4}

# Each reads its positional arguments: options, rows, width.
Reader = Callable[[Call], tuple[dict[str, Any], int, int]]


def _ids(call: Call) -> tuple[dict[str, Any], int, int]:
    n = call.count("n", call.given[0])
    return {"n": n}, n, call.count("width", call.given[1])


def _vocab(call: Call) -> tuple[dict[str, Any], int, int]:
    most = call.count("max", call.given[0])
    return {"max": most}, most, call.count("width", call.given[1])


def _bucket(call: Call) -> tuple[dict[str, Any], int, int]:
    first, site = call.given[0], call.site
    if isinstance(first, tree.Ref) and first.name == "log2":
        if len(call.given) != 3:
            raise call.wrong_number("bucket", ("log2", "n", "width"))
        n = call.count("n", call.given[1])
        return {"log2": n}, n, call.count("width", call.given[2])
    if len(call.given) != 2:
        raise _edges_without_list(call) or call.wrong_number("bucket", ("edges", "width"))
    edges = static(first, site)
    if isinstance(edges, tuple) and "of" in call.options:
        edges = tuple(_moment(e, first, site) if isinstance(e, str) else e for e in edges)
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


def _edges_without_list(call: Call) -> Fault | None:
    """Return the fault of `bucket(18, 25, 35, 8)`."""
    *edges, width = [expr.span.text for expr in call.given] or [""]
    if len(edges) < 2 or not all(isinstance(expr, tree.Number) for expr in call.given[:-1]):
        return None
    written = f"bucket([{', '.join(edges)}], {width})"
    return call.site.world.fault(
        "E0404",
        "the edges of buckets are one list",
        call.given[0].span.to(call.given[-2].span),
        expected="bucket(edges, width)",
        help=f"write `{written}`",
        fix=Fix(call.given[0].span.to(call.given[-2].span), f"[{', '.join(edges)}]", f"write `{written}`"),
    )


def _moment(text: str, expr: tree.Expr, site: Site) -> float:
    """Return the seconds since 1970 of an edge among times."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise site.world.fault(
            "E0403",
            "an edge among times is a date or time of ISO 8601",
            expr.span,
            expected='such as "2025-01-31" or "2025-01-31T12:00:00+08:00"; UTC unless said',
            found=describe(text),
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _time(call: Call) -> tuple[dict[str, Any], int, int]:
    part = choice("part", call.given[0], tuple(PARTS), call.site)
    return {"part": part}, PARTS[part], call.count("width", call.given[1])


def _number(call: Call) -> tuple[dict[str, Any], int, int]:
    scale = choice("scale", call.given[0], SCALES, call.site) if call.given else "none"
    return {"scale": scale}, 0, 1


def _vector(call: Call) -> tuple[dict[str, Any], int, int]:
    n = call.count("n", call.given[0], 10**6)
    return {"n": n}, 0, n


_READERS: dict[str, tuple[Reader, tuple[str, ...], int]] = {
    # name: reader, names of its positional arguments, how many it needs at least
    "ids": (_ids, ("n", "width"), 2),
    "vocab": (_vocab, ("max", "width"), 2),
    "hash": (_ids, ("n", "width"), 2),
    "bucket": (_bucket, ("edges", "n", "width"), 2),
    "time": (_time, ("part", "width"), 2),
    "number": (_number, ("scale",), 0),
    "vector": (_vector, ("n",), 1),
}
ENCODINGS = (*_READERS, "bag", "cross")


# What other libraries call the first value of an encoding, and its second.
_FIRST = frozenset(["size", "n", "num", "count", "vocab_size", "num_embeddings", "cardinality", "buckets"])
_SECOND = frozenset(["dim", "d", "embedding_dim", "embed_dim", "output_dim", "emb_dim"])


def encoding(expr: tree.Expr, site: Site) -> Encoding:
    """Return the encoding that a field's or table's expression says. Raises Fault."""
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    name = callee.name if isinstance(callee, tree.Ref) else ""
    if isinstance(expr, tree.Call) and name not in ENCODINGS and _is_table(name, site):
        call = read(expr, site)
        if call.given:
            raise call.site.world.fault(
                "E0404",
                f"table `{name}` is given an argument",
                call.given[0].span,
                help=f"a field says of a table's column: `{name}(default = …, split = …)`",
            )
        _nothing_into(call, name)
        shared = _shared(callee, site)
        return with_options(call, Encoding(**{**shared.__dict__, "column": call.column}), OF_FIELDS)
    bare = isinstance(expr, tree.Ref) and (expr.name not in ENCODINGS or _is_table(expr.name, site))
    if bare or isinstance(expr, tree.Attribute):
        return _shared(expr, site)
    others = offered(OF_PACKAGES) if name not in ENCODINGS else {}
    if name not in ENCODINGS and name not in others:
        among = (*ENCODINGS, *others)
        raise site.world.unknown("E0201", "encoding", name or expr.span.text, callee.span, among)
    call = read(expr, site)
    if name == "cross":
        return _cross(call)
    _nothing_into(call, name)
    if name == "bag":
        return _bag(call)
    # One of another package has rows and a width, as `ids` has.
    reader, names, least = _READERS.get(name, _READERS["ids"])
    call.name_values(names)
    if not least <= len(call.given) <= len(names):
        for option, (_, ident) in call.options.items():
            meant = nearest(option, names[len(call.given) :])
            if "width" in names and option in _FIRST | _SECOND:
                meant = names[0] if option in _FIRST else "width"
            if option not in (*OF_FIELDS, *OF_TABLES) and meant is not None:
                raise site.world.fault(
                    "E0402",
                    f"`{name}` has no option `{option}`",
                    ident.span,
                    label="unknown option",
                    expected=f"{name}({', '.join(names)})",
                    help=f"did you mean `{meant}`?",
                )
        raise (_edges_without_list(call) if name == "bucket" else None) or call.wrong_number(name, names)
    options, rows, width = reader(call)
    return with_options(call, Encoding(name, options, rows, width, column=call.column))


def _is_table(name: str, site: Site) -> bool:
    found = site.scope.find(name)
    return found is not None and isinstance(found[1].statement, tree.Table)


def _shared(expr: tree.Expr, site: Site) -> Encoding:
    """Return a declared table, by name."""
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
    result: Encoding = found[0].value_of(found[1], name)
    return result


def _nothing_into(call: Call, name: str) -> None:
    if call.into is not None:
        raise call.site.world.fault(
            "E0404",
            f"`{name}` takes nothing behind `;`",
            call.into.span,
            help="only `cross(a, b; hash(…))` does",
        )


def _bag(call: Call) -> Encoding:
    if not 1 <= len(call.given) <= 2:
        raise call.wrong_number("bag", ("table", "mean | sum | max"))
    inner = encoding(call.given[0], call.site)
    if not inner.rows or inner.of is not None:
        raise call.site.world.fault(
            "E0509",
            "a bag is of a table's rows",
            call.given[0].span,
            found=inner.name,
            help="such as `bag(tags, mean)` or `bag(vocab(1000, 8), sum)`",
        )
    if inner.split:
        raise call.site.world.fault(
            "E0402",
            "the separator belongs to the bag",
            call.given[0].span,
            help='write it behind the table: `bag(TABLE, split = "|")`',
        )
    mode = choice("mode", call.given[1], MODES, call.site) if len(call.given) == 2 else "mean"
    _options_of_table(call, "bag", "`bag(vocab(1000, 8, init = …), mean)`")
    options = {"mode": mode, "of": {"encoding": inner.name, **inner.options}}
    whole = Encoding(
        "bag", options, inner.rows, inner.width, column=call.column, shared=inner.shared, of=inner
    )
    return with_options(call, whole)


def _options_of_table(call: Call, name: str, example: str) -> None:
    """Refuse options that belong to the table inside."""
    for option, (_, ident) in call.options.items():
        if option in OF_TABLES:
            raise call.site.world.fault(
                "E0402",
                f"`{name}` has no option `{option}`",
                ident.span,
                help=f"give it to the table: {example}",
            )


def _cross(call: Call) -> Encoding:
    """Return the encoding `cross(a, b; hash(1000, 8))`: the values of several fields as one key."""
    world = call.site.world
    usage = "cross(a, b; hash(100_000, 8))"
    if call.into is None:
        raise world.fault("E0404", "`cross` lacks its table", call.expr.span, expected=usage)
    members = [m for m in call.given if isinstance(m, tree.Ref | tree.Attribute)]
    for wrong in (m for m in call.given if m not in members):
        raise world.fault(
            "E0404", "what is crossed are fields, by name", wrong.span, expected=usage, found=wrong.span.text
        )
    if len(members) < 2:
        raise world.fault("E0404", "`cross` is of two fields or more", call.expr.span, expected=usage)
    for index, member in enumerate(members):
        if member in members[:index]:
            raise world.fault("E0404", f"`{member.span.text}` is crossed with itself", member.span)
    if call.column is not None:
        raise world.fault(
            "E0404",
            "a cross has no column of its own",
            call.column.span,
            why="it is made of what its fields have read",
        )
    inner = encoding(call.into.value, call.site)
    if inner.name != "hash":
        raise world.fault(
            "E0509",
            "a cross goes into a `hash` table",
            call.into.value.span,
            found=inner.name,
            expected=usage,
        )
    _options_of_table(call, "cross", "`cross(a, b; hash(1000, 8, init = …))`")
    whole = Encoding(
        "cross", {"n": inner.options["n"]}, inner.rows, inner.width, shared=inner.shared, of=inner,
        members=tuple(members),
    )  # fmt: skip
    if call.options:
        name, (_, ident) = next(iter(call.options.items()))
        raise world.fault(
            "E0402",
            f"`cross` has no option `{name}`",
            ident.span,
            label="unknown option",
            help="a missing value, or a separator, is the business of the fields that are crossed"
            if name in OF_FIELDS
            else "",
        )
    return whole


def table_encoding(entry: Entry, statement: tree.Table, site: Site) -> Encoding:
    """Return what a declared table is. Raises Fault."""
    result = encoding(statement.encoding, site)
    if not result.rows or result.of is not None or result.shared is not None:
        raise site.world.fault(
            "E0509",
            f"`{statement.ident.name}` is not a table: its encoding has no rows of its own",
            statement.encoding.span,
            found=result.name,
            expected="ids, vocab, hash, bucket or time",
            help="numbers, vectors, bags and crosses are written at the field that has them",
        )
    if result.column is not None:
        raise site.world.fault(
            "E0404",
            "a table has no column of its own",
            result.column.span,
            help="write `from` at the fields that use the table",
        )
    if result.split:
        raise site.world.fault(
            "E0402",
            "a table has no column of its own to split",
            statement.encoding.span,
            help=f'write it at the fields that use the table: `{statement.ident.name}(split = "|")`',
        )
    return Encoding(**{**result.__dict__, "shared": statement.ident.name})
