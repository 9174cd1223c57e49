"""Calls: which thing a callee is, and its arguments bound to what it declares.

Promises: a misspelt option, an argument too many or too few, and a clause that the callee does not
take are errors at their own place, all of one call together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from specc.graph.blocks import call_block
from specc.graph.builtins.signature import BUILTINS, REQUIRED, Arguments, Builtin, Option
from specc.graph.expressions import all_of, entry_value, layer, value
from specc.graph.ir import Node
from specc.graph.statics import is_static, static
from specc.graph.world import Fault, LayerValue, Site, World
from specc.names.program import KIND_WORDS, Module
from specc.report import Fix, Label
from specc.report.suggest import suggestion
from specc.source import Span
from specc.syntax import tree
from specc.types.static import Symbol, describe, is_number, kind_of

Given = tuple[Node, Span]
_LARGEST = 10**6  # width, or number of parts
_COPIES = 1_000  # of a layer


def known_callable(name: str, site: Site) -> bool:
    return name in BUILTINS or site.world.program.block(site.scope.module, name) is not None


def call(expr: tree.Call, site: Site, first: list[Given] | None) -> Node:
    """The node of a call; `first` holds the inputs that were piped in. Raises Fault.

    Where what is piped in is faulty (None), the call's own mistakes are told and nothing is made.
    """
    world = site.world
    if world.full:
        raise Fault  # said once; what is left to write out may have no end
    callee = expr.callee
    if isinstance(callee, tree.Attribute):
        module, block = _library_block(callee, site)
        return call_block(module, block, expr, site, first)
    found = site.scope.find(callee.name)
    if found is not None:
        scope, entry = found
        statement = entry.statement
        if isinstance(statement, tree.Block):
            return call_block(scope.module, statement, expr, site, first)
        if isinstance(statement, tree.Layer | tree.Param | tree.Static) or (
            entry.state == "done" and isinstance(entry.value, LayerValue | Symbol)
        ):
            target = entry_value(scope, entry, callee.name)
            if isinstance(target, LayerValue):
                inputs = _bare_inputs(expr, site)
                if first is None:
                    raise Fault
                return apply_layer(target, first + inputs, site, expr.span)
            if isinstance(target, Symbol):
                renamed = tree.Call(tree.Ref(target.name, span=callee.span), expr.args, span=expr.span)
                return _global(renamed, target.name, site, first)
            # A number may be called like a built-in: `dropout(dropout)`, `norm` as a param.
            if not known_callable(callee.name, site):
                raise world.fault(
                    "E0211",
                    f"`{callee.name}` is {kind_of(target)}, not a layer",
                    callee.span,
                    found=describe(target),
                )
        elif not known_callable(callee.name, site):
            raise world.fault(
                "E0211",
                f"`{callee.name}` is a {KIND_WORDS.get(type(statement), 'value')}, not a block or layer",
                callee.span,
                secondary=(Label(entry.span, "declared here"),),
                help="only blocks, layers and built-ins are called",
            )
    return _global(expr, callee.name, site, first)


def _global(expr: tree.Call, name: str, site: Site, first: list[Given] | None) -> Node:
    found = site.world.program.block(site.scope.module, name)
    if found is not None and (name not in BUILTINS or found[0] is site.scope.module):
        return call_block(*found, expr, site, first)
    if name in BUILTINS:
        return BUILTINS[name].rule(bind(BUILTINS[name], expr, site, first))
    program = site.world.program
    own = [n for n, e in site.scope.module.named.items() if isinstance(e, tree.Block | tree.Layer)]
    raise site.world.unknown(
        "E0201", "block or layer", name, expr.callee.span, [*BUILTINS, *program.prelude_names, *own]
    )


def _library_block(callee: tree.Attribute, site: Site) -> tuple[Module, tree.Block]:
    library = site.scope.module.uses.get(callee.base.name)
    if library is None:
        raise _no_library(callee, site)
    block = library.named.get(callee.ident.name)
    if not isinstance(block, tree.Block):
        raise site.world.unknown(
            "E0201", "block", callee.ident.name, callee.ident.span, library.named, f"library `{library.name}`"
        )
    return library, block


def _no_library(callee: tree.Attribute, site: Site) -> Fault:
    name = callee.base.name
    found = site.world.program.block(site.scope.module, callee.ident.name)
    if found is not None and found[0].name == name and not site.report.lost(name):
        return site.world.fault(
            "E0201",
            f"library `{name}` is not brought in",
            callee.base.span,
            label="unknown name",
            help=f"write `use {name}` above, or only `{callee.ident.name}`",
            why="blocks of the standard library have their plain names everywhere",
        )
    if site.scope.find(name) is not None:
        return site.world.fault(
            "E0211",
            f"`{callee.span.text}` is no block of a library",
            callee.span,
            help="a value is given to a layer as `f(x)` or `x |> f`",
        )
    return site.world.unknown("E0201", "library", name, callee.base.span, site.scope.module.uses)


def _bare_inputs(expr: tree.Call, site: Site) -> list[Given]:
    inputs: list[Given] = []
    for argument in expr.args:
        if not isinstance(argument, tree.Positional):
            raise site.world.fault(
                "E0404",
                "a declared layer takes only its inputs here",
                argument.span,
                why="its options were given where it is declared",
            )
        inputs.append((value(argument.value, site), argument.span))
    return inputs


def apply_layer(target: LayerValue, inputs: list[Given], site: Site, span: Span) -> Node:
    """Apply a layer to its first input(s). Each use has its own weights unless it was declared."""
    if not inputs:
        raise site.world.fault("E0404", f"the layer `{target}` is given nothing", span)
    counts = site.counts if target.path is None else {}
    path = site.path if target.path is None else target.path
    given = inputs
    if target.path is not None:
        site.world.call_sites.append((target.path, span))
    try:
        for expr, origin in target.calls:
            at = Site(origin.scope, site.frame, path, counts)
            node = call(expr, at, [(site.world.localize(n, site.frame), s) for n, s in given])
            given = [(node, span)]
    finally:
        if target.path is not None:
            site.world.call_sites.pop()
    return given[0][0]


# ------------------------------------------------------------------ binding


def bind(builtin: Builtin, expr: tree.Call, site: Site, first: list[Given] | None) -> Arguments:
    """The arguments of a built-in's call. Raises Fault with all its mistakes reported.

    first: what is piped in; None where that is faulty.
    """
    positional = [a for a in expr.args if isinstance(a, tree.Positional)]
    variadic = bool(builtin.inputs) and builtin.inputs[-1].startswith("*")
    wanted = len(builtin.inputs) - (1 if first is None else len(first))
    values = positional if variadic else positional[: max(wanted, 0)]
    statics = [] if variadic else positional[max(wanted, 0) :]
    failed = first is None
    told = False  # of a mistake in this call itself
    nodes = list(first or ())
    try:
        nodes += [
            (node, argument.span)
            for node, argument in zip(
                all_of(*((lambda a=a: value(a.value, site)) for a in values)), values, strict=True
            )
        ]
    except Fault:
        failed = True
    missing = (1 if variadic else len(builtin.inputs)) - len(nodes)
    if missing > 0 and not failed:
        names = [name.replace("*", "") for name in builtin.inputs]
        site.report.error(
            "E0404",
            f"`{builtin.name}` lacks its input `{names[min(len(nodes), len(names) - 1)]}`",
            expr.span,
            expected=builtin.usage,
            help="pipe a value in, or write it as the first argument",
        )
        failed = told = True
    options: dict[str, Any] = {}
    clauses: dict[str, Any] = {}
    names_left = list(builtin.options)
    free: list[Option] = []
    for argument in expr.args:
        try:
            match argument:
                case tree.Positional() if argument in statics:
                    free = [o for o in names_left if o.name not in options]
                    if not free:
                        raise _too_many(builtin, argument, site, told)
                    options[free[0].name] = None  # whatever comes of it, the next one is for the next
                    options[free[0].name] = option_value(free[0], argument.value, site)
                case tree.Keyword(ident=ident):
                    option = next((o for o in builtin.options if o.name == ident.name), None)
                    if option is None:
                        raise unknown_option(builtin, argument, site.world)
                    if ident.name in options:
                        raise site.world.fault("E0404", f"`{ident.name}` is given twice", ident.span)
                    options[option.name] = option_value(option, argument.value, site)
                case tree.Positional():
                    pass
                case tree.From():
                    raise _no_clause(builtin, "from", argument.span, site)
                case _:
                    _clause(builtin, argument, site, clauses)
        except Fault:
            failed = told = True
            if isinstance(argument, tree.Positional) and free and free[0].kind == "sizes":
                statics = []  # the rest was meant for the list
            if isinstance(argument, tree.Keyword):
                options.setdefault(argument.ident.name, None)
    for option in builtin.options:
        if option.name in options:
            continue
        if option.default is REQUIRED:
            if not told:
                site.report.error(
                    "E0404",
                    f"`{builtin.name}` lacks `{option.name}`",
                    expr.span,
                    expected=builtin.usage,
                )
            failed = told = True
        elif option.kind == "layer?" and isinstance(option.default, str):
            options[option.name] = layer(tree.Ref(option.default, span=expr.callee.span), site)
        else:
            options[option.name] = option.default
    for clause, required in builtin.clauses.items():
        if required and clause not in clauses:
            if not told:
                _missing_clause(builtin, clause, expr, nodes, site)
            failed = told = True
    if failed:
        raise Fault
    return Arguments(
        site, expr.span, expr.callee.span, tuple(nodes), options,
        clauses.get("over"), clauses.get("where"), clauses.get("new"), clauses.get("as"),
        clauses.get("by"), clauses.get("to"),
    )  # fmt: skip


def _missing_clause(builtin: Builtin, clause: str, expr: tree.Call, nodes: list[Given], site: Site) -> None:
    axes = [a.name for a in nodes[0][0].type.axes] if nodes else []
    words = {"over": "over AXIS", "as": "as AXIS", "by": "by SCORE", "to": "OLD to NEW"}
    advice = {
        "over": f"write `over {axes[0]}`" if len(axes) == 1 else "say along which axis",
        "as": "give the new axis a name, such as `as part`",
        "by": "say what they are ranked by: one number at each position, such as `by score`",
        "to": f"write `{axes[0]} to s`" if len(axes) == 1 else "say which axis gets which name: `t to s`",
    }[clause]
    site.report.error(
        "E0305",
        f"`{builtin.name}` lacks `{words[clause]}`",
        expr.span,
        expected=builtin.usage,
        found=str(nodes[0][0].type) if nodes else "",
        help=advice,
    )


def _clause(builtin: Builtin, argument: tree.Argument, site: Site, clauses: dict[str, Any]) -> None:
    match argument:
        case tree.Over(axis=axis, new=new, where=where):
            if "over" not in builtin.clauses:
                raise _no_clause(builtin, "over", argument.span, site)
            clauses["over"] = axis
            if new is not None:
                if "new" not in builtin.clauses:
                    raise _no_clause(builtin, "as", new.span, site)
                clauses["new"] = new
            if where is not None:
                if "where" not in builtin.clauses:
                    raise _no_clause(builtin, "where", where.span, site)
                clauses["where"] = where
        case tree.As(axis=axis):
            if "as" not in builtin.clauses:
                raise _no_clause(builtin, "as", argument.span, site)
            clauses["as"] = axis
        case tree.By(value=score):
            if "by" not in builtin.clauses:
                raise _no_clause(builtin, "by", argument.span, site)
            clauses["by"] = (value(score, site), argument.span)
        case tree.To():
            if "to" not in builtin.clauses:
                raise _no_clause(builtin, "to", argument.span, site)
            clauses["to"] = argument


def _no_clause(builtin: Builtin, clause: str, span: Span, site: Site) -> Fault:
    return site.world.fault("E0404", f"`{builtin.name}` takes no `{clause}`", span, expected=builtin.usage)


def _too_many(builtin: Builtin, argument: tree.Positional, site: Site, told: bool) -> Fault:
    given = argument.value
    clause = next((c for c in ("over", "to", "as") if c in builtin.clauses), None)
    if clause is not None and isinstance(given, tree.Ref) and site.scope.find(given.name) is None:
        if told:
            return Fault(builtin.name)
        written = f"over {given.name}" if clause == "over" else f"as {given.name}"
        return site.world.fault(
            "E0305",
            f"`{builtin.name}` is given its axis without a word",
            argument.span,
            expected=builtin.usage,
            help=f"write `{written}`" if clause != "to" else "write `t to s`: which axis gets which name",
            fix=Fix(argument.span, written, f"write `{written}`") if clause != "to" else None,
        )
    return site.world.fault(
        "E0404",
        f"`{builtin.name}` is given an argument too many",
        argument.span,
        expected=builtin.usage,
    )


def unknown_option(builtin: Builtin, argument: tree.Keyword, world: World) -> Fault:
    """Report an option that a built-in does not have (E0402)."""
    ident, known = argument.ident, [o.name for o in builtin.options]
    if world.report.lost(ident.name):
        return Fault(ident.name)
    help, fix = suggestion(ident.name, ident.span, known)
    if ident.name in ("axis", "axes", "dim", "over") and "over" in builtin.clauses:
        help = "an axis is given as `over AXIS`"
        if isinstance(argument.value, tree.Ref):
            written = f"over {argument.value.name}"
            help, fix = f"write `{written}`", Fix(argument.span, written, f"write `{written}`")
    elif not help:
        help = "it has " + ", ".join(f"`{k}`" for k in known) if known else "it has none"
    return world.fault(
        "E0402",
        f"`{builtin.name}` has no option `{ident.name}`",
        ident.span,
        label="unknown option",
        expected=builtin.usage,
        help=help,
        fix=fix,
    )


_INITIALIZERS = {"normal": 1, "uniform": 1, "constant": 1, "xavier": 0, "he": 0, "zeros": 0, "ones": 0,
                 "identity": 0}  # fmt: skip


def initializer(expr: tree.Expr, site: Site) -> tuple[Any, ...]:
    """`normal(0.01)`, `zeros`, … as a tuple headed by its name. Raises Fault."""
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    name = callee.name if isinstance(callee, tree.Ref) else ""
    if name not in _INITIALIZERS:
        if is_static(expr, site.scope) and is_number(number := static(expr, site)):
            return ("constant", float(number)) if number else ("zeros",)
        raise site.world.unknown("E0402", "initializer", name or expr.span.text, expr.span, _INITIALIZERS)
    given = expr.args if isinstance(expr, tree.Call) else ()
    if len(given) != _INITIALIZERS[name] or not all(isinstance(a, tree.Positional) for a in given):
        count = _INITIALIZERS[name]
        raise site.world.fault(
            "E0404", f"`{name}` takes {'one number' if count else 'no argument'}", expr.span
        )
    numbers = [static(a.value, site) for a in given if isinstance(a, tree.Positional)]
    if not all((is_number(n) and n >= 0) or name == "constant" for n in numbers):
        raise site.world.fault("E0403", f"`{name}` needs a number that is not negative", expr.span)
    return (name, *(float(n) for n in numbers))


def option_value(option: Option, expr: tree.Expr, site: Site) -> Any:
    """The value of an option, of the kind it was declared with. Raises Fault."""
    if option.kind == "axis":
        if isinstance(expr, tree.Ref):
            return tree.Ident(expr.name, span=expr.span)
        raise site.world.fault("E0403", f"`{option.name}` is the name of an axis", expr.span)
    if option.kind in ("layer", "layer?"):
        if option.kind == "layer?" and _is_none(expr, site):
            return None
        return layer(expr, site)
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
        bad = next((v for v in result if not _is_count(v)), None)
        if bad is None:
            return result
        result = bad
    wanted, fits = {
        "count": (f"an integer from 1 to {_LARGEST:,}", _is_count),
        "copies": (
            f"an integer from 1 to {_COPIES:,}",
            lambda v: _is_count(v) and v <= _COPIES,
        ),
        "int": ("an integer", lambda v: isinstance(v, int) and not isinstance(v, bool)),
        "number": ("a number", is_number),
        "rate": ("a number from 0 to below 1", lambda v: is_number(v) and 0 <= v < 1),
        "bool": ("true or false", lambda v: isinstance(v, bool)),
        "sizes": (f"a list of integers from 1 to {_LARGEST:,}, such as [200, 80]", lambda v: False),
    }[option.kind]
    if not fits(result):
        raise site.world.fault(
            "E0403",
            f"`{option.name}` must be {wanted}",
            expr.span,
            found=describe(result),
            help=_about_number(option.kind, result, expr),
        )
    return result


def choice(name: str, expr: tree.Expr, choices: Iterable[str], site: Site) -> str:
    """One of a few words, or a param that has one as its value. Raises Fault."""
    listed = ", ".join(f"`{c}`" for c in choices)
    word = expr.name if isinstance(expr, tree.Ref) else ""
    if word and word not in choices and site.scope.find(word) is None and not site.report.lost(word):
        help, fix = suggestion(word, expr.span, choices)
        raise site.world.fault(
            "E0403", f"`{name}` is one of {listed}", expr.span, found=f"`{word}`", help=help, fix=fix
        )
    result = static(expr, site, choices)
    if not isinstance(result, Symbol) or result.name not in choices:
        raise site.world.fault("E0403", f"`{name}` is one of {listed}", expr.span, found=describe(result))
    return result.name


def _about_number(kind: str, result: object, expr: tree.Expr) -> str:
    if kind in ("count", "sizes") and isinstance(result, float) and not isinstance(expr, tree.Number):
        return "`/` gives a fraction where the one does not divide the other"
    if kind == "sizes" and _is_count(result):
        return f"write a list, even for one layer: `[{describe(result)}]`"
    if kind == "rate" and is_number(result) and 1 < float(str(result)) <= 100:
        return f"a rate is a share: for {describe(result)} %, write {float(str(result)) / 100:g}"
    return ""


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= _LARGEST


def _is_none(expr: tree.Expr, site: Site) -> bool:
    if not isinstance(expr, tree.Ref):
        return False
    if expr.name == "none":
        return True
    found = site.scope.find(expr.name)
    if found is None or not isinstance(found[1].statement, tree.Param | tree.Static):
        return False
    return bool(entry_value(*found, expr.name) == Symbol("none"))
