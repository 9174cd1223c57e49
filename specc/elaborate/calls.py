"""Calls: which thing a callee is, and its arguments bound to what it declares.

Promises: a misspelt option, an argument too many or too few, and a clause that the callee does not
take are errors at their own place, all of one call together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.elaborate.blame import CallSite
from specc.elaborate.blocks import call_block
from specc.elaborate.builtins.foreign import foreign
from specc.elaborate.builtins.signature import BUILTINS, Arguments, Builtin
from specc.elaborate.elsewhere import other_library, other_shape
from specc.elaborate.options import known_callable, option_value, unknown_option
from specc.elaborate.world import Fault, Given, LayerValue, Site, all_of
from specc.ir.graph import Node
from specc.names.program import KIND_WORDS, Module
from specc.ops.definition import REQUIRED, Option
from specc.ops.plugins import offered
from specc.report import Fix, Label
from specc.source import Span
from specc.syntax import tree
from specc.types.static import Symbol, describe, kind_of


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
            target = scope.value_of(entry, callee.name)
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
                    secondary=(Label(entry.span, "declared here"),),
                    help=f"it hides the built-in `{callee.name}(x)`: give it another name"
                    if callee.name in ("width", "bound")
                    else "",
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
    other = foreign(name, expr.callee.span, site)
    if other is not None:
        return other.rule(bind(other, expr, site, first))
    program = site.world.program
    own = [n for n, e in site.scope.module.named.items() if isinstance(e, tree.Block | tree.Layer)]
    raise site.world.unknown(
        "E0201",
        "block or layer",
        name,
        expr.callee.span,
        [*BUILTINS, *program.prelude_names, *own, *offered()],
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
    if (foreign := other_library(callee, site)) is not None:
        return foreign
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
            help=f"values have no methods: write `{name} |> {callee.ident.name}`"
            if known_callable(callee.ident.name, site)
            else "a value is given to a layer as `f(x)` or `x |> f`",
        )
    if name in site.world.program.libraries() and not site.report.lost(name):
        return site.world.fault(
            "E0201",
            f"library `{name}` is not brought in",
            callee.base.span,
            label="unknown name",
            help=f"write `use {name}` at the top of the file",
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
        inputs.append((site.value(argument.value), argument.span))
    return inputs


def apply_layer(target: LayerValue, inputs: list[Given], site: Site, span: Span) -> Node:
    """Apply a layer to its first input(s). Each use has its own weights unless it was declared."""
    if not inputs:
        raise site.world.fault("E0404", f"the layer `{target}` is given nothing", span)
    counts = site.counts if target.path is None else {}
    path = site.path if target.path is None else target.path
    given = inputs
    if target.path is not None:
        if any(s.name == target.path for s in site.world.call_sites):
            raise _of_itself(target, site, span)
        site.world.applied.add(target.path)
        site.world.call_sites.append(CallSite(target.path, span, {}))
    try:
        for expr, origin in target.calls:
            at = Site(origin.scope, site.frame, path, counts)
            node = call(expr, at, [(site.world.localize(n, site.frame), s) for n, s in given])
            given = [(node, span)]
    finally:
        if target.path is not None:
            site.world.call_sites.pop()
    return given[0][0]


def _of_itself(target: LayerValue, site: Site, span: Span) -> Fault:
    """The fault of `layer linear = linear(4)`."""
    hides = "" if target.path not in BUILTINS else f", not the built-in `{target.path}`"
    return site.world.fault(
        "E0210",
        f"the layer `{target.path}` is made of itself",
        target.calls[0][0].span,
        why=f"inside of it `{target.path}` is the layer that is being declared{hides}",
        help="give the layer another name" if hides else "name the layers that it is made of",
    )


# ------------------------------------------------------------------ binding


def bind(builtin: Builtin, expr: tree.Call, site: Site, first: list[Given] | None) -> Arguments:
    """The arguments of a built-in's call. Raises Fault with all its mistakes reported.

    first: what is piped in; None where that is faulty.
    """
    if (foreign := other_shape(builtin, expr, site)) is not None:
        raise foreign
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
                all_of(*((lambda a=a: site.value(a.value)) for a in values)), values, strict=True
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
            options[option.name] = site.layer(tree.Ref(option.default, span=expr.callee.span))
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
            if "over" in clauses:
                raise site.world.fault(
                    "E0404",
                    f"`{builtin.name}` is given two axes",
                    argument.span,
                    secondary=(Label(clauses["over"].span, "the first one"),),
                    why="a layer works along one axis at a time",
                    help=f"one after the other, the inner one first: `… |> {builtin.name}(over {axis.name})`",
                )
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
            _once(builtin, "as", argument.span, clauses, site)
            clauses["as"] = axis
        case tree.By(value=score):
            if "by" not in builtin.clauses:
                raise _no_clause(builtin, "by", argument.span, site)
            _once(builtin, "by", argument.span, clauses, site)
            clauses["by"] = (site.value(score), argument.span)
        case tree.To():
            if "to" not in builtin.clauses:
                raise _no_clause(builtin, "to", argument.span, site)
            _once(builtin, "to", argument.span, clauses, site)
            clauses["to"] = argument


def _once(builtin: Builtin, clause: str, span: Span, clauses: Mapping[str, Any], site: Site) -> None:
    if clause in clauses:
        raise site.world.fault(
            "E0404", f"`{builtin.name}` is given `{clause}` twice", span, help="keep one of them"
        )


def _no_clause(builtin: Builtin, clause: str, span: Span, site: Site) -> Fault:
    advice = ""
    if clause == "over" and builtin.inputs:
        advice = (
            f"it works at each position; reduce what it gives, such as `sum({builtin.name}(…), {span.text})`"
        )
    return site.world.fault(
        "E0404", f"`{builtin.name}` takes no `{clause}`", span, expected=builtin.usage, help=advice
    )


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
        help=_if_one_number(given),
    )


def _if_one_number(given: tree.Expr) -> str:
    """What to say of `50,128`: two numbers, and perhaps meant as one."""
    if not isinstance(given, tree.Number) or len(given.text) != 3:
        return ""
    before = given.span.source.line(given.span.line)[: given.span.column - 1]
    if not before.endswith(",") or not before[:-1][-1:].isdigit():
        return ""
    head = before[:-1][len(before[:-1].rstrip("0123456789")) :]
    return f"if one number is meant, write `{head}_{given.text}`"
