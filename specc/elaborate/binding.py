"""The binding of arguments: which argument of a call is for which input, option or clause of what is called.

Promises: `bound` looks at the form of a call alone, so that it is done once a call, however often the call is
elaborated; `tell` reports a slip of form where it stands. A positional argument is for the first input or
option that is not given by name. Leaves values to those who ask: built-ins, blocks and declared layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from specc.elaborate.world import Fault, Site
from specc.frozen import dataclass
from specc.report import Fix, Label
from specc.report.suggest import suggestion
from specc.source import Span
from specc.syntax import tree


@dataclass(frozen=True, eq=False)
class Signature:
    """What can be called takes.

    inputs: its values by name; a last one that begins with `*` takes any number.
    options: its statics by name; needed: those without a default.
    clauses: those it takes (over, new, where, =, as, by, to). named: what may be given by name.
    usage: the call as a reader would write it. declared: where it is declared, of what the spec declares.
    """

    name: str
    inputs: tuple[str, ...]
    options: tuple[str, ...]
    needed: frozenset[str]
    clauses: frozenset[str]
    named: tuple[str, ...]
    usage: str
    declared: tuple[Label, ...] = ()

    @cached_property
    def variadic(self) -> bool:
        return self.inputs[-1:] != () and self.inputs[-1].startswith("*")


@dataclass(frozen=True)
class Slip:
    """A mistake in the form of a call. kind: "piped" (into what takes no more values), "many", "unknown",
    "twice", "clause" (one that is not taken) or "again" (a clause that is there already); `name` is of the
    option or clause, `node` the argument, or the call."""

    kind: str
    node: tree.Node
    span: Span
    name: str = ""


@dataclass(frozen=True, eq=False)
class Bound:
    """The arguments of a call by what they are for, in the order of the text.

    given: the options with their arguments. clauses: by name what stands there. missing: inputs and options
    that are not there, though they must be.
    """

    inputs: tuple[tuple[str, tree.Positional | tree.Keyword], ...]
    given: tuple[tuple[str, tree.Positional | tree.Keyword], ...]
    clauses: Mapping[str, Any]
    missing: tuple[str, ...]
    slips: tuple[Slip, ...]


def bound(signature: Signature, call: tree.Call, piped: int) -> Bound:
    """Return the arguments of a call that `piped` values go into beside those it writes."""
    key = (id(signature), piped)
    known: tuple[Signature, Bound] | None = call.memo.get(key)
    if known is None:  # the signature stays, so that its identity stays its own
        known = call.memo[key] = (signature, _bound(signature, call, piped))
    return known[1]


def _bound(signature: Signature, call: tree.Call, piped: int) -> Bound:
    variadic = signature.variadic
    by_name = {a.ident.name for a in call.args if isinstance(a, tree.Keyword)}
    order = [*(() if variadic else signature.inputs[piped:]), *signature.options]
    by_place = not variadic
    seen = set(signature.inputs[:piped])
    inputs: list[tuple[str, tree.Positional | tree.Keyword]] = []
    given: list[tuple[str, tree.Positional | tree.Keyword]] = []
    clauses: dict[str, Any] = {}
    slips: list[Slip] = []
    if piped > len(signature.inputs) and not variadic:
        slips.append(Slip("piped", call, call.span))
    for argument in call.args:
        match argument:
            case tree.Positional(value=value) if not by_place and not (
                isinstance(value, tree.Number) and signature.options
            ):
                inputs.append((signature.inputs[-1], argument))
            case tree.Positional():
                by_place = True  # behind any number of values, a number is for the first option
                name = next((n for n in order if n not in seen and n not in by_name), None)
                if name is None:
                    slips.append(Slip("many", argument, argument.span))
                    continue
                seen.add(name)
                (given if name in signature.options else inputs).append((name, argument))
            case tree.Keyword(ident=ident):
                name = ident.name
                if name not in signature.named:
                    slips.append(Slip("unknown", argument, ident.span, name))
                elif name in seen:
                    slips.append(Slip("twice", argument, ident.span, name))
                else:
                    seen.add(name)
                    (given if name in signature.options else inputs).append((name, argument))
            case _:
                slips += _clause(signature, argument, clauses)
    wanted = [
        *(() if variadic else signature.inputs),
        *(o for o in signature.options if o in signature.needed),
    ]
    missing = [name for name in wanted if name not in seen]
    if variadic and not piped and not inputs:
        missing.insert(0, signature.inputs[-1][1:])
    return Bound(tuple(inputs), tuple(given), clauses, tuple(missing), tuple(slips))


def _clause(signature: Signature, argument: tree.Argument, clauses: dict[str, Any]) -> list[Slip]:
    """Take a clause with what hangs on it, or say what is wrong with it."""
    parts: dict[str, tree.Node | None] = {}
    match argument:
        case tree.Over(axis=axis, new=new, where=where, at=at):
            parts = {"over": axis, "new": new, "where": where, "=": at}
        case tree.As(axis=axis):
            parts = {"as": axis}
        case tree.By() | tree.To() | tree.From() | tree.Into():
            parts = {_WORDS[type(argument)]: argument}
    slips: list[Slip] = []
    for name, part in parts.items():
        if part is None:
            continue
        place = part.span if name in ("new", "where", "=") else argument.span
        if name not in signature.clauses:
            return [*slips, Slip("clause", argument, place, {"new": "as"}.get(name, name))]
        if name == "to":  # there may be several
            clauses["to"] = (*clauses.get("to", ()), part)
            continue
        if name in clauses:
            return [*slips, Slip("again", argument, place, name)]
        clauses[name] = part
    return slips


_WORDS: Mapping[type, str] = {tree.By: "by", tree.To: "to", tree.From: "from", tree.Into: ";"}


# ---------------------------------------------------------------------- what is said of slips


def tell(signature: Signature, slip: Slip, bound: Bound, site: Site, told: bool) -> None:
    """Report a slip. told: whether another of this call has been."""
    name = signature.name
    match slip.kind:
        case "piped":
            site.world.fault(
                "E0404",
                f"`{name}` takes no " + ("further " if signature.inputs else "") + "input",
                slip.span,
                expected=signature.usage,
                secondary=signature.declared,
            )
        case "many":
            _too_many(signature, slip, site, told)
        case "unknown":
            unknown_option(signature, slip, site)
        case "twice":
            site.world.fault("E0404", f"`{slip.name}` is given twice", slip.span, help="keep one of them")
        case "again" if slip.name == "over":
            axis, first = slip.node, bound.clauses["over"]
            assert isinstance(axis, tree.Over)
            site.world.fault(
                "E0404",
                f"`{name}` is given two axes",
                slip.span,
                secondary=(Label(first.span, "the first one"),),
                why="a layer works along one axis at a time",
                help=f"one after the other, the inner one first: `… |> {name}(over {axis.axis.name})`",
            )
        case "again":
            site.world.fault(
                "E0404", f"`{name}` is given `{slip.name}` twice", slip.span, help="keep one of them"
            )
        case _:
            over = slip.name == "over" and bool(signature.inputs)
            reduced = f"sum({name}(…), {slip.span.text})"
            advice = f"it works at each position; reduce what it gives, such as `{reduced}`"
            if slip.name == "=" and isinstance(slip.node, tree.Over):
                over, along = True, slip.node.axis.name
                advice = f"one position is read by `at(x, over {along} = …)`"
                if "where" in signature.clauses:
                    advice += f", and several are chosen by `over {along} where …`"
            site.world.fault(
                "E0404",
                f"`{name}` takes no `{slip.name}`",
                slip.span,
                expected=signature.usage,
                help=advice if over else "",
                secondary=signature.declared,
            )


def tell_missing(signature: Signature, missing: tuple[str, ...], call: tree.Call, site: Site) -> None:
    """Report what a call lacks."""
    span = call.span
    values = [a.value for a in call.args if isinstance(a, tree.Positional)]
    for_value = len(values) == 1 and isinstance(values[0], tree.Number | tree.List) and signature.inputs
    input = next((name for name in missing if name not in signature.options), None)
    site.world.fault(
        "E0404",
        f"`{signature.name}` lacks "
        + ("its input " if input == missing[0] and len(missing) == 1 else "")
        + " and ".join(f"`{name}`" for name in missing),
        span,
        expected=signature.usage,
        secondary=signature.declared,
        help="pipe a value in, or write it as the first argument"
        if input is not None
        else f"its first argument is the value: write `x |> {span.text}`, or `{signature.name}(x, …)`"
        if for_value
        else "",
    )


def unknown_option(signature: Signature, slip: Slip, site: Site) -> Fault:
    """Report an option that is not there (E0402)."""
    ident, known = slip.name, signature.named
    argument = slip.node
    if site.report.lost(ident):
        return Fault(ident)
    help, fix = suggestion(ident, slip.span, known)
    if ident in ("act", "activation") and "act" not in known:
        word = argument.value.span.text if isinstance(argument, tree.Keyword) else "relu"
        help, fix = f"an activation is a layer of its own: `{signature.name}(…) |> {word}`", None
    elif ident in ("axis", "axes", "dim") and not signature.clauses and not signature.declared:
        help, fix = "leave it out: it works on channels, at each position", None
    elif ident in ("axis", "axes", "dim", "over") and "over" in signature.clauses:
        help = "an axis is given as `over AXIS`"
        if isinstance(argument, tree.Keyword) and isinstance(argument.value, tree.Ref):
            written = f"over {argument.value.name}"
            help, fix = f"write `{written}`", Fix(argument.span, written, f"write `{written}`")
    elif not help:
        help = "it has " + ", ".join(f"`{k}`" for k in known) if known else "it has none"
    return site.world.fault(
        "E0402",
        f"`{signature.name}` has no option `{ident}`",
        slip.span,
        label="unknown option",
        expected=signature.usage,
        help=help,
        secondary=signature.declared,
        fix=fix,
    )


def _too_many(signature: Signature, slip: Slip, site: Site, told: bool) -> None:
    assert isinstance(slip.node, tree.Positional)
    given, name = slip.node.value, signature.name
    clause = next((c for c in ("over", "to", "as") if c in signature.clauses), None)
    if clause is not None and isinstance(given, tree.Ref) and site.scope.find(given.name) is None:
        if told:
            return
        written = f"over {given.name}" if clause == "over" else f"as {given.name}"
        site.world.fault(
            "E0305",
            f"`{name}` is given its axis without a word",
            slip.span,
            expected=signature.usage,
            help=f"write `{written}`" if clause != "to" else "write `t to s`: which axis gets which name",
            fix=Fix(slip.span, written, f"write `{written}`") if clause != "to" else None,
        )
        return
    site.world.fault(
        "E0404",
        f"`{name}` is given an argument too many",
        slip.span,
        expected=signature.usage,
        help=_if_one_number(given),
        secondary=signature.declared,
    )


def _if_one_number(given: tree.Expr) -> str:
    """Return what to say of `50,128`: two numbers, and perhaps meant as one."""
    if not isinstance(given, tree.Number) or len(given.text) != 3:
        return ""
    before = given.span.source.line(given.span.line)[: given.span.column - 1]
    if not before.endswith(",") or not before[:-1][-1:].isdigit():
        return ""
    head = before[:-1][len(before[:-1].rstrip("0123456789")) :]
    return f"if one number is meant, write `{head}_{given.text}`"
