"""Which statements of a body make which axes, found in the text: the order of statements never matters.

Promises: `make_axes` has every axis of a name made that a body makes, but for those that need what asks for
it; the statements that depend on nothing busy are elaborated, and sizes that are static are all it takes of
`split`, `fan` and `learned`. Leaves what an axis is to `bodies`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from specc.elaborate.binding import bound
from specc.elaborate.bodies import static_axis
from specc.elaborate.builtins.signature import BUILTINS
from specc.elaborate.options import is_count
from specc.elaborate.results import result_axes
from specc.elaborate.scope import Entry, Scope
from specc.elaborate.statics import is_static, static
from specc.elaborate.world import Fault, Site
from specc.elaborate.written import children, references, walk
from specc.frozen import dataclass
from specc.ops import OPS, Effect, op
from specc.syntax import tree

_OF_COUNT = {op.SPLIT: "n", "fan": "n", op.WINDOWS: "n"}  # by built-in the option that is its axis's size
_PAIRS = (op.PAIRS, op.FIRSTS, op.SECONDS)


@dataclass(frozen=True)
class _Made:
    """A place in the text that makes an axis: a call, or an axis of a `learned`.

    guards: conditions that it stands behind, and what each has to be. whole: a call with what is piped into
    it.
    """

    name: str
    node: tree.Call | tree.LearnedAxis
    guards: tuple[tuple[tree.Expr, bool], ...]
    whole: tree.Expr | None = None


def make_axes(scope: Scope, name: str) -> bool:
    """Have the axes of a name made that the body around a scope makes; whether its text makes one."""
    body, any_made = scope.body, False
    for key, entry, statement in _statements(body):
        for made in _made(statement, body):
            if made.name != name or not _stands(made, body):
                continue
            any_made = True
            if _size_alone(made, body):
                continue
            if isinstance(statement, tree.Layer) or (entry is not None and entry.state == "done"):
                continue
            if entry is None or entry.state == "busy":
                if not isinstance(statement, tree.Scan):
                    _make_alone(made, body)
                continue
            if entry.state != "waiting":
                continue
            if not _needs_busy(key, body, set()):
                try:
                    body.value_of(entry, key)
                except Fault:
                    continue
    return any_made


def made_names(statement: tree.Node, scope: Scope) -> set[str]:
    """Return the names of the axes that a statement makes."""
    return {made.name for made in _made(statement, scope)}


def _statements(body: Scope) -> Iterator[tuple[str, Entry | None, tree.Node]]:
    for key, entry in list(body.entries.items()):
        if isinstance(entry.statement, tree.Binding | tree.Learned | tree.Layer | tree.Scan | tree.Predict
                      | tree.Output | tree.Loss):  # fmt: skip
            yield key, entry, entry.statement
    for expr in body.returned:
        yield "", None, expr


def _stands(made: _Made, body: Scope) -> bool:
    """Return whether the branches that a place is in are taken."""
    site = Site(body, body.frame, body.path)
    try:
        return all(not is_static(c, body) or static(c, site) == wanted for c, wanted in made.guards)
    except Fault:
        return False


def _size_alone(made: _Made, body: Scope) -> bool:
    """Make a static axis whose size the text says; whether it is one."""
    node = made.node
    if isinstance(node, tree.LearnedAxis):
        size = node.size
    else:
        size = _count(node, body)
    if size is None or not is_static(size, body):
        return False
    if made.name in set(references(size)):
        return True  # as long as another of its name is, as in `split(bound(expert), as expert)`
    site = Site(body, body.frame, body.path)
    try:
        known = static(size, site)
        if is_count(known):
            static_axis(site, made.name, known, size.span)
    except Fault:
        pass
    return True


def _make_alone(made: _Made, body: Scope) -> None:
    """Make an axis of the very statement that asks for it: by the call that makes it, where that needs
    nothing else of the statement and has no weights, which would be made twice."""
    whole, making = made.whole, body.world.making
    if whole is None or body.axes.get(made.name) or id(whole) in making or not _is_light(whole, body):
        return
    names = set(references(whole))
    if made.name in names or any(_needs_busy(name, body, set()) for name in names):
        return
    making.add(id(whole))
    try:
        with suppress(Fault):
            body.world.meaning.value(whole, Site(body, body.frame, body.path))
    finally:
        making.discard(id(whole))


def _is_light(expr: tree.Expr, body: Scope) -> bool:
    """Return whether an expression calls nothing but operations without weights and draws."""
    for part in walk(expr):
        call: tree.Node = part.target if isinstance(part, tree.Pipe) else part
        if isinstance(call, tree.Call):
            callee = call.callee
            known = OPS.get(callee.name) if isinstance(callee, tree.Ref) else None
            if known is None or known.weights or known.traits.effect is not Effect.PURE:
                return False
            if isinstance(callee, tree.Ref) and body.find(callee.name) is not None:
                return False
    return True


def _count(call: tree.Call, body: Scope) -> tree.Expr | None:
    """Return what a built-in's axis is as long as, where that is an argument."""
    name = call.callee.name if isinstance(call.callee, tree.Ref) else ""
    if name not in _OF_COUNT or body.find(name) is not None:
        return None
    if name == op.SPLIT and any(isinstance(argument, tree.Over) for argument in call.args):
        return None
    signature = BUILTINS[name].signature
    for piped in (1, 0):
        binding = bound(signature, call, piped)
        if not binding.slips and not binding.missing:
            return next((a.value for option, a in binding.given if option == _OF_COUNT[name]), None)
    return None


# ------------------------------------------------------------------------- the text


def _made(statement: tree.Node, scope: Scope) -> tuple[_Made, ...]:
    """Return the places of a statement that make an axis."""
    key = ("makes", id(scope.module))
    known: tuple[_Made, ...] | None = statement.memo.get(key)
    if known is None:
        known = statement.memo[key] = tuple(_places(statement, scope, ()))
    return known


def _places(node: tree.Node, scope: Scope, guards: tuple[tuple[tree.Expr, bool], ...]) -> Iterator[_Made]:
    match node:
        case tree.If(condition=condition, then=then, other=other):
            yield from _places(then, scope, (*guards, (condition, True)))
            yield from _places(other, scope, (*guards, (condition, False)))
            return
        case tree.Pipe():
            for name in _names(node.target, scope):
                yield _Made(name, node.target, guards, node)
            for inner in (node.left, *node.target.args):
                yield from _places(inner, scope, guards)
            return
        case tree.Call():
            for name in _names(node, scope):
                yield _Made(name, node, guards, node)
        case tree.LearnedAxis(size=size) if size is not None:
            yield _Made(node.ident.name, node, guards)
    for part in children(node):
        yield from _places(part, scope, guards)


def _names(call: tree.Call, scope: Scope) -> Iterable[str]:
    """Return the names of the axes that a call makes."""
    renamed: dict[str, str] = {}
    names: list[str] = []
    for argument in call.args:
        match argument:
            case tree.As(axis=ident):
                names.append(ident.name)
            case tree.Over(new=tree.Ident() as ident):
                names.append(ident.name)
            case tree.To(old=old, new=new):
                renamed[old.name] = new.name
    callee = call.callee
    block: tree.Block | None = None
    if isinstance(callee, tree.Ref):
        found = scope.find(callee.name)
        if found is not None:
            block = found[1].statement if isinstance(found[1].statement, tree.Block) else None
        elif callee.name in BUILTINS:
            if callee.name in _PAIRS and not names:
                names.append("pair")
        else:
            known = scope.world.program.block(scope.module, callee.name)
            block = known[1] if known is not None else None
    elif callee.base.name in scope.module.uses:
        member = scope.module.uses[callee.base.name].named.get(callee.ident.name)
        block = member if isinstance(member, tree.Block) else None
    if block is None:
        return [*names, *renamed.values()]
    return [*names, *(renamed.get(name, name) for name in result_axes(block))]


def _needs_busy(name: str, body: Scope, seen: set[int]) -> bool:
    """Return whether what a name stands for depends on what is being elaborated."""
    found = body.find(name)
    if found is None or id(found[1]) in seen:
        return False
    scope, entry = found
    seen.add(id(entry))
    if entry.state == "busy":
        return True
    if entry.state != "waiting" or entry.statement is None or isinstance(entry.statement, tree.Block):
        return False
    names: set[str] | None = entry.statement.memo.get("references")
    if names is None:
        names = entry.statement.memo["references"] = set(references(entry.statement))
    return any(_needs_busy(other, scope, seen) for other in names)
