"""What to do about a token that does not fit.

Promises: `repair` finds one token to put in, leave out or exchange after which the whole statement reads;
`end_of_statement` says where to go on when there is none. Both only look; the parser acts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from specc.frozen import dataclass
from specc.syntax.layout import begins_statement
from specc.syntax.table import BEFORE_A_NAME, Table, is_token
from specc.syntax.token import SAME_LINE, Token

_LISTS = (":_item", ":_statement", ":_step")


@dataclass(frozen=True)
class Place:
    """The statement being read: `depth` is the stack's at its begin (None between statements).

    `first` is its first token, `indent` that of its line, `nested` whether a `{ }` is around it.
    """

    depth: int | None
    symbol: str
    first: int
    indent: int
    nested: bool


@dataclass(frozen=True)
class Repair:
    """Put `insert` in before the token (if not None), and leave `skip` tokens out (0 or 1)."""

    insert: str | None
    skip: int


def place_of(
    table: Table, states: list[int], values: list[Any], firsts: list[int], tokens: list[Token], index: int
) -> Place:
    """Return the innermost statement that the stacks are in, or that the token at `index` should begin."""
    for depth in range(len(states) - 1, -1, -1):
        row = table.states[states[depth]]
        for symbol in _LISTS:
            if symbol in row:
                # A finished statement on top of the stack is not being read any more.
                if depth + 1 < len(states) and states[depth + 1] == row[symbol]:
                    continue
                first = firsts[depth] if depth < len(firsts) else index
                indent = _indent(tokens, first)
                nested = any(isinstance(v, Token) and v.kind == "{" for v in values[:depth])
                return Place(depth, symbol, first, indent, nested)
    first = firsts[-1] if firsts else 0
    return Place(None, "", first, 0, False)


def _indent(tokens: list[Token], index: int) -> int:
    """Return how far in a statement stands. Lines further in that begin none go on with
    what is above them."""
    start = _line_start(tokens, index)
    while start > 1 and tokens[start - 1].kind == "_NL" and not begins_statement(tokens, start):
        above = _line_start(tokens, start - 2)
        if tokens[above].indent >= tokens[start].indent:
            break
        start = above
    return max(tokens[start].indent, 0)


def _line_start(tokens: list[Token], index: int) -> int:
    while index > 0 and tokens[index].indent == SAME_LINE:
        index -= 1
    return index


def end_of_statement(tokens: list[Token], index: int, place: Place) -> int:
    """Return the `_NL`, `}` or `$END` behind the statement, seen from a token in it."""
    depth = 0
    if place.depth is not None:
        for token in tokens[place.first : index]:
            depth += (token.kind == "{") - (token.kind == "}")
    depth = max(depth, 0)
    while True:
        token = tokens[index]
        if token.kind == "$END":
            return index
        if token.kind == "{":
            depth += 1
        elif token.kind == "}":
            if depth == 0 and place.nested:
                return index
            depth = max(depth - 1, 0)
        elif token.kind == "_NL":
            following = tokens[index + 1]
            begun = following.indent < place.indent and begins_statement(tokens, index + 1)
            if begun or (depth == 0 and following.indent <= place.indent and following.kind not in ")]}{"):
                return index
        index += 1


# Tried in this order: what is forgotten most, and hardly changes what is meant, comes first.
_FIRST = (
    ",",
    "_NL",
    ")",
    "]",
    "}",
    "=",
    ":",
    ";",
    "(",
    "[",
    "{",
    "->",
    "over",
    "from",
    "|>",
    "NAME",
    "NUMBER",
)


def repair(
    table: Table, states: list[int], tokens: list[Token], index: int, goal: int, forgotten: Collection[int]
) -> Repair | None:
    """Return the first single change at a token after which everything up to `goal` reads."""
    row = [kind for kind in table.states[states[-1]] if is_token(kind) and kind != "$END"]
    order = {kind: place for place, kind in enumerate(_FIRST)}
    row.sort(key=lambda kind: (order.get(kind, len(_FIRST)), kind))
    if tokens[index].kind == "_NL" and tokens[index + 1].kind == "{" and table.accepts(states, "{"):
        return Repair(None, 1)  # the brace stands on the next line
    if tokens[index].kind == "_NL" and "{" in row and table.accepts(states, "{"):
        return Repair("{", 1)  # the body stands below, and is read as such
    for kind in row:
        if reads(table, states, tokens, index, goal, forgotten, kind):
            return Repair(kind, 0)
    if tokens[index].kind in ("$END", "_NL"):
        return None
    if goal > index and reads(table, states, tokens, index + 1, goal, forgotten, None):
        return Repair(None, 1)
    for kind in row:
        if goal > index and reads(table, states, tokens, index + 1, goal, forgotten, kind):
            return Repair(kind, 1)
    return None


def exchange(
    table: Table, states: list[int], token: Token, following: list[Token], begin: Token
) -> Repair | None:
    """`:` read as `=`, and in a space `=` as `:`: mistaken for each other, and then all over a statement."""
    other = "=" if token.kind == ":" else ":" if token.kind == "=" and begin.text == "space" else None
    if other == "=" and {"=", "from"} & {t.text for t in following[1:2]}:
        return None  # `click: binary = …`, a prediction
    return Repair(other, 1) if other and table.accepts(states, other) else None


def reads(
    table: Table,
    stack: list[int],
    tokens: list[Token],
    index: int,
    goal: int,
    forgotten: Collection[int],
    insert: str | None,
) -> bool:
    """Return whether the tokens up to and with `goal` fit, after one that is put in."""
    states = list(stack)
    if insert is not None and not _shift(table, states, insert):
        return False
    while index <= goal:
        token = tokens[index]
        kind = token.kind
        if kind == "NAME":
            word = table.words.get(token.text)
            if word in BEFORE_A_NAME and tokens[index + 1].kind != "NAME":
                word = None
            if word is not None and word in table.states[states[-1]] and table.accepts(states, word):
                kind = word
        if kind == "$END":
            return table.accepts(states, kind)
        if not _shift(table, states, kind) and index not in forgotten:
            return False
        index += 1
    return True


def _shift(table: Table, states: list[int], kind: str) -> bool:
    """Take one token, changing `states`; False if it does not fit (and `states` is of no more use)."""
    if not table.accepts(states, kind):
        return False
    while (action := table.states[states[-1]][kind]) < 0:
        rule = table.rules[-1 - action]
        if rule.size:
            del states[-rule.size :]
        states.append(table.states[states[-1]][rule.origin])
    states.append(action)
    return True
