"""A model as one file: its bases merged in, its params as they were set.

Promises: the text means what the program meant with those params, and needs only the libraries it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from specc import resources
from specc.names.program import Module, Program, Taken
from specc.syntax import tree


def standalone(program: Program, params: Mapping[str, Any]) -> tree.File:
    """Return the tree of the file. params: by name, values as JSON has them."""
    main = program.main
    body: list[tree.Declaration] = list(_uses(program))
    for name, item in main.named.items():
        if isinstance(item, tree.Param):
            body.append(replace(item, default=_expr(params[name])) if name in params else item)
    body += main.requires
    unpacked: set[int] = set()
    for item in main.named.values():
        if isinstance(item, Taken):
            if id(item.of) not in unpacked:
                unpacked.add(id(item.of))
                body.append(_unpack(item.of, main))
        elif not isinstance(item, tree.Param):
            body.append(item)
    body += main.places
    entries = {entry.ident.name: entry for train in main.trains for entry in train.entries}
    if entries:
        body.append(tree.Train(tuple(entries.values())))
    return tree.File(main.edition, main.kind, main.ident, tuple(body), doc=main.doc)


def _unpack(item: tree.Unpack, main: Module) -> tree.Unpack:
    """Return `x, y = block(…)` with each name that another declaration has replaced by an unused one."""
    idents = []
    for ident in item.idents:
        name, own = ident.name, main.named.get(ident.name)
        if not (isinstance(own, Taken) and own.of is item):
            while name in main.named:
                name += "_before"
        idents.append(replace(ident, name=name))
    return replace(item, idents=tuple(idents))


def libraries(program: Program) -> dict[str, str]:
    """Return the texts of the libraries beside the spec that it needs, directly or not, by file name."""
    found: dict[str, str] = {}
    shipped = resources.specs().resolve()

    def enter(module: Module) -> None:
        for used in (*module.uses.values(), *(library for library, _ in module.members.values())):
            source = used.ident.span.source
            path = Path(source.name)
            if path.name not in found and shipped not in path.resolve().parents:
                found[path.name] = source.text
                enter(used)

    enter(program.main)
    return found


def _uses(program: Program) -> list[tree.Use]:
    main = program.main
    found = [
        tree.Use(tree.Ident(library.name), None, tree.Ident(local) if local != library.name else None)
        for local, library in main.uses.items()
    ]
    found += [
        tree.Use(tree.Ident(library.name), tree.Ident(member), tree.Ident(local) if local != member else None)
        for local, (library, member) in main.members.items()
    ]
    return found


def _expr(value: Any) -> tree.Expr:
    match value:
        case bool():
            return tree.Bool(value)
        case int() | float() if value < 0:
            return tree.Unary("-", _expr(-value))
        case int() | float():
            return tree.Number(value, repr(value))
        case list() | tuple():
            return tree.List(tuple(_expr(v) for v in value))
    # Words stand for themselves; what cannot be a word is a text.
    return tree.Ref(value) if str(value).isidentifier() else tree.Text(str(value))
