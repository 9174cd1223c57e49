"""Calls: which thing a callee is, and its arguments bound to what it declares.

Promises: a misspelt option, an argument too many or too few, and a clause that the callee does not
take are errors at their own place, all of one call together.
"""

from __future__ import annotations

from typing import Any

from specc.elaborate.binding import Signature, bound, tell, tell_missing
from specc.elaborate.blame import CallSite
from specc.elaborate.blocks import call_block
from specc.elaborate.builtins.foreign import foreign
from specc.elaborate.builtins.signature import BUILTINS, Arguments, Builtin
from specc.elaborate.elsewhere import other_library, other_shape
from specc.elaborate.options import known_callable, option_value
from specc.elaborate.statics import STATIC_CALLS
from specc.elaborate.world import Fault, Given, LayerValue, Site
from specc.ir.graph import Node
from specc.names.program import KIND_WORDS, Module
from specc.ops.plugins import offered
from specc.report import Label
from specc.source import Span
from specc.syntax import tree
from specc.types.static import Symbol, describe, kind_of


def call(expr: tree.Call, site: Site, first: list[Given] | None) -> Node:
    """Return the node of a call; `first` holds the inputs that were piped in. Raises Fault.

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
                inputs = _bare_inputs(callee.name, entry.span, expr, site)
                if first is None:
                    raise Fault
                return apply_layer(target, first + inputs, site, expr.span)
            if isinstance(target, Symbol):
                renamed = _renamed(expr, target.name)
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
                    if callee.name in STATIC_CALLS
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


def block_of(expr: tree.Call, site: Site) -> tuple[Module, tree.Block] | None:
    """Return the block that a call is of; None where it is of something else."""
    callee = expr.callee
    if isinstance(callee, tree.Attribute):
        return _library_block(callee, site)
    found = site.scope.find(callee.name)
    if found is not None:
        scope, entry = found
        if not isinstance(entry.statement, tree.Block):
            return None
        return scope.module, entry.statement
    return site.world.program.block(site.scope.module, callee.name) if callee.name not in BUILTINS else None


def _renamed(expr: tree.Call, name: str) -> tree.Call:
    """Return a call of what a param names instead."""
    known: tree.Call | None = expr.memo.get(("renamed", name))
    if known is None:
        known = tree.Call(tree.Ref(name, span=expr.callee.span), expr.args, span=expr.span)
        expr.memo["renamed", name] = known
    return known


def _global(expr: tree.Call, name: str, site: Site, first: list[Given] | None) -> Node:
    module, program = site.scope.module, site.world.program
    builtin = BUILTINS.get(name)
    if builtin is not None and not isinstance(module.named.get(name), tree.Block):
        return builtin.rule(bind(builtin, expr, site, first))
    found = program.block(module, name)
    if found is not None:
        return call_block(*found, expr, site, first)
    other = foreign(name, expr.callee.span, site)
    if other is not None:
        return other.rule(bind(other, expr, site, first))
    own = [n for n, e in module.named.items() if isinstance(e, tree.Block | tree.Layer)]
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
        piped = f"{name} |> {callee.ident.name}{_arguments_after(callee.span)}"
        return site.world.fault(
            "E0211",
            f"`{callee.span.text}` is no block of a library",
            callee.span,
            help=f"values have no methods: write `{piped}`"
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


def _arguments_after(span: Span) -> str:
    """Return what stands in brackets behind a callee, in one line."""
    behind = span.source.text[span.stop : span.stop + 80].split("\n")[0]
    return behind[: behind.find(")") + 1] if behind.startswith("(") and behind.find("(", 1) < 0 else ""


def _bare_inputs(name: str, declared: Span, expr: tree.Call, site: Site) -> list[Given]:
    """Return the inputs of a layer's call, which takes nothing else."""
    signature: Signature | None = expr.memo.get("layer")
    if signature is None:
        place = (Label(declared, "its options are given here"),)
        none = frozenset[str]()
        signature = Signature(name, ("*x",), (), none, none, (), f"{name}(x)", place)
        expr.memo["layer"] = signature
    binding = bound(signature, expr, 1)
    for slip in binding.slips:
        tell(signature, slip, binding, site, told=False)
    if binding.slips:
        raise Fault
    return [(site.value(argument.value), argument.span) for _, argument in binding.inputs]


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
    """Return the fault of `layer linear = linear(4)`."""
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
    """Return the arguments of a built-in's call. Raises Fault with all its mistakes reported.

    first: what is piped in; None where that is faulty.
    """
    signature = builtin.signature
    binding = bound(signature, expr, 1 if first is None else len(first))
    if (binding.slips or signature.variadic) and (foreign := other_shape(builtin, expr, site)) is not None:
        raise foreign
    failed = first is None
    nodes = list(first or ())
    value = site.world.meaning.value
    for _, argument in binding.inputs:
        try:
            nodes.append((value(argument.value, site), argument.span))
        except Fault:
            failed = True
    told, slips = False, binding.slips  # told: of a mistake in this call itself
    options: dict[str, Any] = {}
    rest = False  # whether what is given by place was meant for a list
    for name, argument in binding.given:
        option = builtin.by_name[name]
        if rest and isinstance(argument, tree.Positional):
            continue
        try:
            options[name] = option_value(option, argument.value, site)
        except Fault:
            failed = told = True
            if option.kind == "sizes" and isinstance(argument, tree.Positional):
                slips, rest = (), True
    clauses = dict(binding.clauses)
    by: Given | None = None
    if (score := clauses.get("by")) is not None:
        assert isinstance(score, tree.By)
        try:
            by = (site.value(score.value), score.span)
        except Fault:
            failed = told = True
    for slip in slips:
        tell(signature, slip, binding, site, told)
        failed = told = True
    if not told:
        if binding.missing:
            tell_missing(signature, binding.missing, expr, site)
            failed = True
        for clause, required in builtin.clauses.items():
            if required and clause not in clauses and not (clause == "over" and options.get("axis")):
                _missing_clause(builtin, clause, expr, nodes, site)
                failed = True
    if failed:
        raise Fault
    for option in builtin.options:
        if option.name not in options:
            is_layer = option.kind == "layer?" and isinstance(option.default, str)
            options[option.name] = (
                site.layer(tree.Ref(option.default, span=expr.callee.span)) if is_layer else option.default
            )
    return Arguments(
        site, expr.span, expr.callee.span, tuple(nodes), options,
        clauses.get("over"), clauses.get("where"), clauses.get("new"), clauses.get("as"),
        by, clauses.get("to", ()), clauses.get("="),
    )  # fmt: skip


def _missing_clause(builtin: Builtin, clause: str, expr: tree.Call, nodes: list[Given], site: Site) -> None:
    axes = [a.name for a in nodes[0][0].type.axes] if nodes else []
    words = {"over": "over AXIS", "as": "as AXIS", "by": "by SCORE", "to": "OLD to NEW", "=": "= POSITION"}
    advice = {
        "over": f"write `over {axes[0]}`" if len(axes) == 1 else "say along which axis",
        "as": "give the new axis a name, such as `as part`",
        "by": "say what they are ranked by: one number at each position, such as `by score`",
        "to": f"write `{axes[0]} to s`" if len(axes) == 1 else "say which axis gets which name: `t to s`",
        "=": "say which position is read, such as `over t = 0` or `over t = index(t) - 1`",
    }[clause]
    site.report.error(
        "E0305",
        f"`{builtin.name}` lacks `{words[clause]}`",
        expr.span,
        expected=builtin.usage,
        found=str(nodes[0][0].type) if nodes else "",
        help=advice,
    )
