"""Templates: texts with names in braces, to be filled in."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from specc.emit.code import ATOM, Expr


def filled(text: str, given: Mapping[str, Expr]) -> Expr:
    """Return a template with expressions for its names, in parentheses where precedence needs them."""
    pieces = list(Formatter().parse(text))
    found = ""
    for number, (before, name, _, _) in enumerate(pieces):
        found += before
        if name is None:
            continue
        after = pieces[number + 1][0] if number + 1 < len(pieces) else ""
        alone = before.endswith(("(", ", ", "[", "=")) and after.startswith((")", ",", "]"))
        found += given[name].text if alone else given[name].at(ATOM)
    return Expr(found, ATOM if _is_call(text) else 0)


def _is_call(text: str) -> bool:
    """Return whether a text is a call of a function, or of a method of its first name."""
    head, bracket, _ = text.partition("(")
    if not bracket:
        return text.endswith(("]", "}"))
    return text.endswith(")") and head.replace("{", "").replace("}", "").replace(".", "").isidentifier()
