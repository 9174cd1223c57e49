"""Axes within one body: the model, or one call of a block.

Promises: a static axis is its name and its size, wherever in the body it is made; a name of a block's
signature means the axis that was bound to it, one that only its results have means an axis of the caller's.
"""

from __future__ import annotations

from specc.elaborate.scope import Scope
from specc.elaborate.world import Fault, Site
from specc.report import Label
from specc.source import Span
from specc.types.axis import Axis
from specc.types.kinds import alike, derived, origin, root


def static_axis(site: Site, name: str, size: int, span: Span) -> Axis:
    """Return the static axis of a name and a size, which goes by that name from now on. Raises Fault where a
    signature has the name for another axis."""
    owner, own = home(site.scope, name)
    known = owner.bound.get(own)
    if known is None:
        axis = Axis(("static", own, size, owner.path), own, size, size)
    elif known.size == size:
        axis = known
    else:
        raise _taken(known, name, f"has {size} positions", span, site)
    _named(site.scope, name, axis)
    return axis


def copy_of(old: Axis, name: str, span: Span, site: Site) -> Axis:
    """Return what `rename` makes of an axis: the axis that goes by the new name in this body if it is a copy
    of the same, else a new copy. Raises Fault where a signature has the name for another axis."""
    if old.size is not None:
        return static_axis(site, name, old.size, span)
    if old.kind == "renamed":  # what it is a copy of may be named further down
        site.world.meaning.make_axes(site.scope, name)
    owner, own = home(site.scope, name)
    known = owner.bound.get(own)
    if known is not None and not alike(known, old):
        raise _taken(known, name, f"is a copy of `{root(old).name}`", span, site)
    if known is None:  # such as the axis of which the old one is a copy
        known = next((a for a in owner.axes.get(own, ()) if a.size is None and alike(a, old)), None)
    axis = known or derived("renamed", own, root(old), more=(own, owner.path))
    _named(site.scope, name, axis)
    return axis


def check_free(site: Site, name: str, axis: Axis, span: Span) -> None:
    """Raise Fault where a signature has a name for another axis than this, which is given it."""
    owner, own = home(site.scope, name)
    known = owner.bound.get(own)
    if known is not None and known != axis:
        raise _taken(known, name, f"is {origin(axis)}", span, site)


def home(scope: Scope, name: str) -> tuple[Scope, str]:
    """Return the body that an axis of a name is of, and its name there: the caller's where only the results
    of a block's signature have it."""
    body = scope.body
    while name in body.results:
        body, name = body.results[name]
        body = body.body
    return body, name


def _named(scope: Scope, name: str, axis: Axis) -> None:
    """Give an axis a name in a body, and its origin a name in the bodies of the callers."""
    body = scope.body
    body.name_axis(name, axis)
    while name in body.results:
        body, name = body.results[name]
        body = body.body
        body.name_axis(name, axis)


def _taken(known: Axis, name: str, this: str, span: Span, site: Site) -> Fault:
    return site.world.fault(
        "E0303",
        f"`{name}` stands for another axis already",
        span,
        label=f"the one that is made here {this}",
        found=f"`{known.name}`, {origin(known)}",
        why="in a block a name of the signature means the axis that was bound to it",
        help="give the new axis another name",
    )


def tell_clash(first: Axis, second: Axis, name: str, call: Span, site: Site, label: Label) -> Fault:
    """Report that a block gives an axis under a name that stands for another one where it is called."""
    return site.world.fault(
        "E0303",
        f"this gives an axis `{name}`, and there is another one already",
        call,
        found=f"{origin(first)}, and {origin(second)}",
        secondary=(label,),
        why="an axis that only a block's result has goes by its name where the block is called",
        help=f"give it another name there: `{call.text.split('(')[0]}(…, {name} to other)`",
    )
