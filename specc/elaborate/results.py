"""The axes of what a block gives, and their names where it is called.

Promises: an axis that only a result of the signature has is the caller's: of the name that the call gives it,
or of its own. Leaves what an axis is to `bodies`.
"""

from __future__ import annotations

from collections.abc import Mapping

from specc.elaborate.bodies import tell_clash
from specc.elaborate.scope import Scope
from specc.elaborate.world import Site
from specc.ir.graph import Node
from specc.report import Label
from specc.source import Span
from specc.syntax import tree


def axis_variables(block: tree.Block) -> list[str]:
    """Return the axes of a block's inputs, by name, in order."""
    return list(dict.fromkeys(a.name for i in block.inputs for a in i.type.axes))


def bind_results(block: tree.Block, to: tuple[tree.To, ...], scope: Scope, site: Site) -> dict[str, str]:
    """Bind the axes that only the block's results have to those of the caller; by name the one there."""
    names = result_axes(block)
    outside = {name: name for name in names}
    renamed: set[str] = set()
    for item in to:
        name = item.old.name
        if name not in names:
            raise site.world.unknown(
                "E0201", "new axis", name, item.old.span, names, f"the result of `{block.ident.name}`"
            )
        if name in renamed:
            raise site.world.fault("E0404", f"`{name}` is renamed twice", item.span, help="keep one of them")
        renamed.add(name)
        outside[name] = item.new.name
    for name in names:
        scope.results[name] = (site.scope, outside[name])
    return outside


def result_axes(block: tree.Block) -> tuple[str, ...]:
    """Return the axes of a block's result that none of its inputs has."""
    known: tuple[str, ...] | None = block.memo.get("result axes")
    if known is None:
        inputs = axis_variables(block)
        names = (a.name for type_ in block.results for a in type_.axes)
        known = tuple(dict.fromkeys(name for name in names if name not in inputs))
        block.memo["result axes"] = known
    return known


def name_axes(
    block: tree.Block, result: Node, outside: Mapping[str, str], scope: Scope, site: Site, call: Span
) -> None:
    """Have the axes of a block's result go by their names where it is called."""
    caller = site.scope.body
    for axis in result.type.axes:
        if axis in scope.passing:
            continue  # it keeps whatever name it has there, if any: its own may mean another axis there
        own = next((name for name in outside if axis in scope.axes_named(name)), None)
        if own is None:
            if not site.scope.knows_axis(axis):
                caller.name_axis(axis.name, axis)
            continue
        name = outside[own]
        here = site.scope.axes_named(name)
        others = [a for a in result.type.axes if a in here or a.name == name]
        others += [a for a in here if a.kind == "space" or a == caller.bound.get(name)]
        others = [a for a in others if a != axis]
        if others:
            label = Label(block.result.span, f"`{own}` is a new axis of the result")
            raise tell_clash(axis, others[0], name, call, site, label)
        caller.name_axis(name, axis)
