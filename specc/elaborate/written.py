"""Names as they are written, looked through without elaborating anything.

Promises: `check_names` reports names that mean nothing in blocks that no call elaborates;
`references` gives every name a file's text makes use of. Leaves types to the elaborator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields as dataclass_fields

from specc.elaborate.binding import bound, unknown_option
from specc.elaborate.builtins.signature import BUILTINS
from specc.elaborate.options import INITIALIZERS
from specc.elaborate.scope import Scope
from specc.elaborate.statics import STATIC_CALLS
from specc.elaborate.world import Site
from specc.ops.plugins import offered
from specc.syntax import tree

# By kind of node its fields that can hold other nodes.
_PARTS: dict[type, tuple[str, ...]] = {}
_HOLDS_NONE = frozenset(["Span", "str", "bool", "int | float", "str | None", "int | None"])


def children(node: tree.Node) -> list[tree.Node]:
    """Return the tree nodes directly inside a tree node."""
    found: list[tree.Node] = []
    kind = type(node)
    names = _PARTS.get(kind)
    if names is None:
        names = _PARTS[kind] = tuple(f.name for f in dataclass_fields(kind) if f.type not in _HOLDS_NONE)
    for name in names:
        item = getattr(node, name)
        if isinstance(item, tree.Node):
            found.append(item)
        elif item.__class__ is tuple:
            found += [i for i in item if isinstance(i, tree.Node)]
    return found


def walk(node: tree.Node, but: type[tree.Node] | None = None) -> Iterator[tree.Node]:
    """Yield a tree node and everything inside it, in the order of the text, but for one kind of node."""
    waiting = [node]
    while waiting:
        at = waiting.pop()
        yield at
        inside = children(at)
        if but is not None:
            inside = [part for part in inside if not isinstance(part, but)]
        inside.reverse()
        waiting += inside


def local_names(block: tree.Block) -> set[str]:
    """Return what a block's own text declares: inputs, statics, variables of its types, bindings, states."""
    names = {i.ident.name for i in block.inputs} | {s.ident.name for s in block.statics}
    for type_ in (*(i.type for i in block.inputs), *block.results):
        names |= {a.name for a in type_.axes}
        if isinstance(type_.width, tree.Ref):
            names.add(type_.width.name)
    names |= _declared(block.body)
    return names


def _declared(body: Iterable[tree.Node]) -> set[str]:
    names: set[str] = set()
    for item in body:
        if isinstance(item, tree.Binding | tree.Layer | tree.Learned):
            names.add(item.ident.name)
        elif isinstance(item, tree.Unpack):
            names |= {ident.name for ident in item.idents}
        elif isinstance(item, tree.Scan):
            names |= {s.ident.name for s in item.states} | _declared(item.body)
    return names


def references(node: tree.Node) -> Iterator[str]:
    """Yield the names that a statement's text makes use of, but for those that are local to a block."""
    hidden = local_names(node) if isinstance(node, tree.Block) else set()
    for part in walk(node):
        if isinstance(part, tree.Ref) and part.name not in hidden:
            yield part.name
        elif isinstance(part, tree.Place):
            yield from (i.name for i in part.names)
            yield part.device.name


def _callees(node: tree.Node) -> Iterator[tree.Ref]:
    """Yield bare names in the place of a callee: `f` of `f(x)` and of `x |> f`."""
    for part in walk(node):
        match part:
            case tree.Call(callee=tree.Ref() as callee) | tree.Pipe(right=tree.Ref() as callee):
                yield callee


def _operands(node: tree.Node) -> Iterator[tree.Ref]:
    """Yield bare names that can only be values: sides of arithmetic, what is piped, what is returned."""
    for part in walk(node, but=tree.Over):  # axis names are values in `where`
        match part:
            case tree.Binary(op="==" | "!="):
                pass  # a side may be a symbol
            case tree.Binary(left=left, right=right):
                yield from (s for s in (left, right) if isinstance(s, tree.Ref))
            case tree.Pipe(left=tree.Ref() as left):
                yield left
            case tree.Return(values=values):
                yield from (value for value in values if isinstance(value, tree.Ref))
            case tree.Binding(value=tree.Ref() as result):
                yield result


def check_names(scope: Scope) -> None:
    """Report E0201 for unknown names in blocks; those of elaborated blocks are reported at the
    same place."""
    world = scope.world
    module = scope.module
    known = set(scope.names()) | set(module.members) | set(module.uses)
    for entry in scope.entries.values():
        block = entry.statement
        if not isinstance(block, tree.Block):
            continue
        names = known | local_names(block)
        for ref in _operands(block):
            if (
                ref.name not in names
                and ref.name not in BUILTINS
                and not world.program.block(module, ref.name)
                and ref.name not in offered()
            ):
                world.unknown("E0201", "value", ref.name, ref.span, names)
        for ref in _callees(block):
            if ref.name in names or ref.name in BUILTINS or ref.name in STATIC_CALLS:
                continue
            if ref.name in ("by_frequency", *INITIALIZERS) or world.program.block(module, ref.name):
                continue
            if ref.name in offered():
                continue
            among = [*BUILTINS, *offered(), *world.program.prelude_names, *names]
            world.unknown("E0201", "block or layer", ref.name, ref.span, among)
        for call in walk(block):
            if isinstance(call, tree.Call) and isinstance(call.callee, tree.Ref):
                _check_options(call, call.callee.name, names, scope)


def _check_options(call: tree.Call, name: str, names: set[str], scope: Scope) -> None:
    """Report E0402 for options that a built-in does not have."""
    if name in names or name not in BUILTINS:
        return
    signature = BUILTINS[name].signature
    for slip in bound(signature, call, 1).slips:
        if slip.kind == "unknown":
            unknown_option(signature, slip, Site(scope, scope.frame, ""))
