"""Where statements end, and brackets that never do.

Promises: a `_NL` token wherever one statement or entry ends and the next begins, and nowhere else; brackets
are balanced as far as closing ones were forgotten: each is given a `Forgotten` one at the first later line
that begins a statement no further in. Leaves reporting them to the parser, which sees whether they fit.
"""

from __future__ import annotations

from specc.frozen import dataclass
from specc.syntax.token import SAME_LINE, Token

STRAY = "STRAY"  # the kind of a `}` that belongs to nothing
_CLOSE = {"(": ")", "[": "]", "{": "}"}
_OPEN = {close: open for open, close in _CLOSE.items()}
# A line that begins with one of these goes on with the statement above it, or ends it.
_CONTINUES = frozenset(["|>", "}"])
_DECLARES = frozenset(
    [
        "use",
        "extends",
        "drop",
        "param",
        "table",
        "space",
        "learned",
        "fixed",
        "layer",
        "block",
        "encoder",
        "attention",
        "predict",
        "output",
        "loss",
        "device",
        "place",
        "train",
        "scan",
        "next",
        "model",
        "library",
    ]
)
_ANYTHING_FOLLOWS = frozenset(["require", "return"])


@dataclass(frozen=True)
class Laid:
    """Tokens with `_NL` and `$END`; `forgotten` maps indices of added closing brackets to their openings."""

    tokens: list[Token]
    forgotten: dict[int, Token]


def begins_statement(tokens: list[Token], index: int) -> bool:
    """Return whether a line that starts with this token looks like a statement or an entry of its own."""
    token = tokens[index]
    if token.kind != "NAME" or index + 1 >= len(tokens):
        return False
    following = tokens[index + 1]
    if token.text in _ANYTHING_FOLLOWS:
        return following.indent == SAME_LINE
    if token.text in _DECLARES and following.indent == SAME_LINE and following.kind in ("NAME", "{"):
        return True
    while following.kind == "," and index + 3 < len(tokens):  # `x, y = …`
        index += 2
        if tokens[index].kind != "NAME" or tokens[index].indent != SAME_LINE:
            return False
        following = tokens[index + 1]
        if following.kind != ",":
            return following.kind == "="
    return following.kind in ("=", ":")


def _unclosed(tokens: list[Token], stray: frozenset[int]) -> list[tuple[int, int, int]]:
    """Return, for each bracket never closed: its opening, how far that line is indented, where it must have
    ended."""
    open_: list[tuple[int, str, int]] = []
    never: list[tuple[int, int, int]] = []
    indent = 0
    for index, token in enumerate(tokens):
        if token.indent != SAME_LINE:
            indent = token.indent
        if index in stray:
            continue
        if token.kind in _CLOSE:
            open_.append((index, token.kind, indent))
        elif token.kind in _OPEN:
            wanted = _OPEN[token.kind]
            # A `}` that begins a line belongs to the line as far in as it is, if one such is open.
            level = token.indent if wanted == "{" and token.indent != SAME_LINE else None
            if level not in [inner for _, kind, inner in open_ if kind == "{"]:
                level = None
            for depth in range(len(open_) - 1, -1, -1):
                if open_[depth][1] == wanted and level in (None, open_[depth][2]):
                    never += [(at, inner, index) for at, _, inner in open_[depth + 1 :]]
                    del open_[depth:]
                    break
                if open_[depth][1] == "{" and level is None:
                    break
    never += [(at, inner, len(tokens)) for at, _, inner in open_]
    return never


def _matched(tokens: list[Token]) -> bool:
    """Return whether every bracket has its counterpart: then how far in lines are means nothing."""
    open_: list[str] = []
    for token in tokens:
        if token.kind in _CLOSE:
            open_.append(token.kind)
        elif token.kind in _OPEN:
            if not open_ or open_.pop() != _OPEN[token.kind]:
                return False
    return not open_


def _stray(tokens: list[Token]) -> frozenset[int]:
    """Return the closing braces that no opening one on their line explains, in a text that has too many."""
    surplus = 0
    for token in tokens:
        surplus += (token.kind == "}") - (token.kind == "{")
    found: list[int] = []
    here = 0  # how many are open since the line began
    for index, token in enumerate(tokens):
        if surplus <= 0:
            break
        if token.indent != SAME_LINE:
            here = 0
        if token.kind == "{":
            here += 1
        elif token.kind == "}":
            if here == 0 and token.indent == SAME_LINE:
                found.append(index)
                surplus -= 1
            here = max(here - 1, 0)
    return frozenset(found)


def _forgotten(tokens: list[Token], stray: frozenset[int]) -> dict[int, list[Token]]:
    """Return opening brackets, by the index of the token before which each should have been closed."""
    places: dict[int, list[Token]] = {}
    starts = [i for i, token in enumerate(tokens) if token.indent != SAME_LINE]
    for opening, indent, limit in sorted(_unclosed(tokens, stray), reverse=True):
        place = limit
        for index in starts:
            if index >= limit:
                break
            if index > opening and tokens[index].indent <= indent and begins_statement(tokens, index):
                place = index
                break
        places.setdefault(place, []).append(tokens[opening])
    return places


def lay_out(tokens: list[Token], end: int) -> Laid:
    """Return the tokens in the form that the grammar reads; `end` is the length of the text."""
    matched = _matched(tokens)
    stray = frozenset[int]() if matched else _stray(tokens)
    forgotten = {} if matched else _forgotten(tokens, stray)
    out: list[Token] = []
    added: dict[int, Token] = {}
    inside: list[str] = []

    def close(index: int) -> None:
        for opening in forgotten.get(index, ()):
            at = out[-1].stop
            added[len(out)] = opening
            out.append(Token(_CLOSE[opening.kind], "", at, at, SAME_LINE))
            if inside:
                inside.pop()

    previous = ""
    for index, token in enumerate(tokens):
        if index in forgotten:
            close(index)
            previous = out[-1].kind
        if index in stray:
            out.append(token._replace(kind=STRAY))
            previous = STRAY
            continue
        kind = token.kind
        if (
            token.indent != SAME_LINE
            and previous not in ("", "{", ",")
            and kind not in _CONTINUES
            and (not inside or inside[-1] == "{")
        ):
            at = out[-1].stop
            out.append(Token("_NL", "", at, at, SAME_LINE))
        if kind in _CLOSE:
            inside.append(kind)
        elif kind in _OPEN and inside and inside[-1] == _OPEN[kind]:
            inside.pop()
        out.append(token)
        previous = kind
    close(len(tokens))
    out.append(Token("$END", "", end, end, 0))
    return Laid(out, added)
