"""The colours of a text: what each of its words is, by meaning, and by form where it means nothing."""

from __future__ import annotations

from specc.elaborate.builtins.registry import BUILTINS
from specc.elaborate.encodings import ENCODINGS
from specc.frozen import dataclass
from specc.ide.analysis import Analysis
from specc.report import Report
from specc.syntax.lexer import lex
from specc.syntax.table import table

# As the protocol calls them.
TYPES = (
    "keyword", "comment", "string", "number", "operator", "parameter", "variable", "function", "property",
    "type", "namespace",
)  # fmt: skip
MODIFIERS = ("declaration", "defaultLibrary", "readonly")
_OF_KINDS = {
    "param": "parameter", "static": "parameter", "input": "parameter", "width": "parameter",
    "field": "property", "axis": "type", "library": "namespace", "block": "function", "encoder": "function",
    "attention": "function", "layer": "function",
}  # fmt: skip
# Words that the grammar knows as names.
_WORDS = frozenset(["request", "candidate", "where", "none", "binary", "real", "class", "choice"])


@dataclass(frozen=True)
class Colour:
    """start, stop: offsets. type: of TYPES. modifiers: of MODIFIERS."""

    start: int
    stop: int
    type: str
    modifiers: tuple[str, ...] = ()


def colours(analysis: Analysis) -> list[Colour]:
    """Return the coloured ranges of a text, in its order, none over another."""
    lexed = lex(analysis.source, Report())
    named = {(o.span.start, o.span.stop): o.of for o in analysis.names.occurrences}
    found = [Colour(c.span.start, c.span.stop, "comment") for c in lexed.comments]
    for token in lexed.tokens:
        declared = named.get((token.start, token.stop))
        if declared is not None:
            kind = _OF_KINDS.get(declared.kind, "variable")
            here = declared.span.start == token.start and declared.span.source is analysis.source
            shipped = kind == "function" and declared.span.source is not analysis.source
            marks = ("declaration",) * here + ("defaultLibrary",) * shipped
            found.append(Colour(token.start, token.stop, kind, marks))
        elif token.kind == "NAME" and (token.text in table().words or token.text in _WORDS):
            found.append(Colour(token.start, token.stop, "keyword"))
        elif token.kind == "NAME" and (token.text in BUILTINS or token.text in ENCODINGS):
            found.append(Colour(token.start, token.stop, "function", ("defaultLibrary",)))
        elif token.kind in ("STRING", "NUMBER"):
            found.append(Colour(token.start, token.stop, token.kind.lower()))
        elif token.text in ("|>", "->"):
            found.append(Colour(token.start, token.stop, "operator"))
    return sorted(found, key=lambda c: c.start)
