"""Old forms of the language, rewritten as they are written now.

Promises: a tree that means the same; one without old forms is given back as it is.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

from specc.syntax import tree

T = TypeVar("T", bound=tree.Node)


def renewed(file: tree.File) -> tree.File:
    """Return a file in the forms of today: `join(x, head)` is `join(x, over head)`."""
    names = {getattr(part, "ident", tree.Ident("")).name for part in file.body}
    names |= {
        (part.alias or part.member or part.library).name for part in file.body if isinstance(part, tree.Use)
    }
    return file if "join" in names else _inside(file)


def _inside(node: T) -> T:
    """Return a node with what is in it renewed."""
    changed: dict[str, Any] = {}
    for name in (f.name for f in fields(node) if f.name != "span"):
        value = getattr(node, name)
        if isinstance(value, tree.Node):
            new: Any = _inside(value)
        elif isinstance(value, tuple):
            new = tuple(_inside(v) if isinstance(v, tree.Node) else v for v in value)
            new = value if all(a is b for a, b in zip(new, value, strict=True)) else new
        else:
            continue
        if new is not value:
            changed[name] = new
    if changed:
        node = replace(node, **changed)
    return _joined(node) if isinstance(node, tree.Call) else node  # type: ignore[return-value]


def _joined(call: tree.Call) -> tree.Call:
    """Return `join` with its axis after `over`."""
    if not (isinstance(call.callee, tree.Ref) and call.callee.name == "join" and 1 <= len(call.args) <= 2):
        return call
    *before, last = call.args
    named = isinstance(last, tree.Keyword) and last.ident.name == "axis"
    if not (named or isinstance(last, tree.Positional)) or not all(
        isinstance(a, tree.Positional) for a in before
    ):
        return call
    assert isinstance(last, tree.Keyword | tree.Positional)
    if not isinstance(last.value, tree.Ref):
        return call
    over = tree.Over(tree.Ident(last.value.name, span=last.value.span), span=last.span)
    return replace(call, args=(*before, over))
