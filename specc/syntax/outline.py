"""The syntax tree as text: a node a line, children below and further in.

Promises: everything that was read is there, with its place; nothing of what it means. Chains of operators and
pipes are shown one below the other, in the order they were written, so that long ones do not drift away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from specc.source import NOWHERE
from specc.syntax import tree


def outline(file: tree.File) -> str:
    """Return the whole tree: `Param dim # 4:1` and so on."""
    lines = list(_node(file, "", 0))
    width = max((len(text) for text, _ in lines if len(text) <= 60), default=0)
    return "\n".join(f"{text.ljust(width)}  # {place}" if place else text for text, place in lines) + "\n"


def _node(node: tree.Node, label: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield lines with their places, `line:column`."""
    pending: list[tuple[tree.Node, str, int]] = [(node, label, depth)]
    while pending:
        at, label, depth = pending.pop()
        words, inside = [type(at).__name__], list[tuple[tree.Node, str]]()
        for field in fields(at):
            value = getattr(at, field.name)
            if field.name in ("span", "text", "doc", "comments", "lost") or value in (None, ()):
                continue
            match value:
                case tree.Ident(name=name):
                    words.append(name if field.name == "ident" else f"{field.name}={name}")
                case tree.Node():
                    inside.append((value, field.name))
                case tuple():
                    inside += [(item, field.name) for item in value]
                case bool() if not isinstance(at, tree.Bool):
                    words += [field.name] if value else []
                case str() if isinstance(at, tree.Text):
                    words.append(repr(value))
                case _:
                    words.append(str(value))
        place = "" if at.span is NOWHERE else "{}:{}".format(*at.span.source.position(at.span.start))
        yield "  " * depth + (f"{label}: " if label else "") + " ".join(words), place
        pending += [(child, name, depth + 1) for child, name in reversed(inside)]
