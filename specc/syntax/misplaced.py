"""Statements where they may not stand: a `loss` in a block, a `return` at the top of a file.

Promises: says where the statement stands, and where it belongs; never offers to take it apart. Leaves the
statement to be given up whole by the parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specc.frozen import dataclass
from specc.syntax.token import SAME_LINE, Token

_AT_TOP = frozenset(
    ["use", "extends", "drop", "param", "require", "table", "space", "learned", "fixed", "layer", "block",
    "encoder",
     "attention", "predict", "output", "loss", "device", "place", "train"]
)  # fmt: skip
_IN_BLOCK = frozenset(["return", "scan", "layer", "learned", "fixed", "require"])
_IN_SCAN = frozenset(["next", "layer"])
# What may begin a statement, by the list of the grammar that statements stand in.
HERE: Mapping[str, frozenset[str]] = {":_item": _AT_TOP, ":_statement": _IN_BLOCK, ":_step": _IN_SCAN}
_EVERYWHERE = _AT_TOP | _IN_BLOCK | _IN_SCAN | {"model", "library", "edition"}
_PLACES = {":_item": "at the top of a file", ":_statement": "inside a block", ":_step": "inside a scan"}
_OUT_OF_BLOCK = "it stands at the top of the file: move it out of the block"
_HELP: Mapping[str, str] = {
    "param": "a block's own settings are statics: `block f(x[d]; k = 3)`; "
    "a `param` stands at the top of the file",
    "loss": "it stands at the top of the file: let the block return the value; write `loss NAME = …` there",
    "predict": "it stands at the top of the file: let the block return the value; write `predict NAME: …` "
    "there",
    "output": "it stands at the top of the file: let the block return the value; write `output NAME = …` "
    "there",
    "return": "`return` ends a block; at the top of a file name the value, `NAME = …`, or predict it, "
    "`predict NAME: binary = …`",
    "next": "it gives a state of a `scan` its next value: `scan h[n] over t { next h = … }`",
    "scan": "it stands in a block: `encoder f(x[t, d]; n = d) -> [t, n] { scan h[n] over t { … } return h }`",
    "block": "blocks do not nest: declare it at the top of the file, and call it here",
    "encoder": "blocks do not nest: declare it at the top of the file, and call it here",
    "attention": "blocks do not nest: declare it at the top of the file, and call it here",
    "model": "a file holds one model, named in its first line; put the other into a file of its own",
    "library": "a file is one library, named in its first line; put the other into a file of its own",
    "edition": "it stands in the first line, above `model NAME`",
    "drop": "it stands in `extends BASE { drop NAME … }`",
}
_IN_A_SCAN: Mapping[str, str] = {
    "return": "return the states behind the scan: `scan h[n] over t { … }`, then `return h`",
    "learned": "declare it in the block, above the scan",
    "fixed": "declare it in the block, above the scan",
    "require": "write it in the block, above the scan",
    "scan": "scans do not nest: work along the other axis before this one, or in a block that is called here",
}


@dataclass(frozen=True)
class Misplaced:
    """A statement at the wrong place: its first word, where it stands, and where it belongs."""

    word: Token
    where: str
    help: str


def misplaced(tokens: Sequence[Token], first: int, symbol: str) -> Misplaced | None:
    """Return whether a statement that begins at a token may not stand in a list of that kind."""
    word = tokens[first]
    here = HERE.get(symbol)
    if here is None or word.text not in _EVERYWHERE or word.text in here or first + 1 >= len(tokens):
        return None
    following = tokens[first + 1]
    begins = following.kind in ("NAME", "{", "NUMBER") and following.indent == SAME_LINE
    if word.text == "return":
        begins = following.indent == SAME_LINE and following.kind not in ("=", ":", "_NL", "$END")
    if not begins:
        return None
    advice = _IN_A_SCAN.get(word.text) if symbol == ":_step" else None
    return Misplaced(word, _PLACES[symbol], advice or _HELP.get(word.text, _OUT_OF_BLOCK))
