"""Words for faults of syntax: from a state of the parser and the token that does not fit to a diagnostic.

Promises: says what stood there, what could have stood there, and how the statement goes on when one change
would mend it. Knows the mistakes that are made often (E0102 to E0115).
"""

from __future__ import annotations

from specc.report import Fix, Label, Report
from specc.report.suggest import nearest
from specc.source import Source, Span
from specc.syntax.lexer import Token
from specc.syntax.recover import Place, Repair
from specc.syntax.table import Table

_EXPRESSION = frozenset(["NUMBER", "STRING", "TRUTH", "NAME", "(", "[", "-", "if", "not"])
_OPERATORS = frozenset(["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or", "|>"])
_TERMINALS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": 'a text in double quotes, such as `"cpu"`',
    "TRUTH": "`true` or `false`",
    "_NL": "the end of the line",
    "$END": "the end of the file",
    "KIND_OF_FILE": "`model` or `library`",
    "KIND_OF_BLOCK": "`block`, `encoder` or `attention`",
}
_DECLARATIONS = (
    "use", "extends", "drop", "param", "require", "table", "space", "learned", "layer", "block", "encoder",
    "attention", "predict", "loss", "device", "place", "train",
)  # fmt: skip
_LINES = (
    "a statement ends at the end of its line, except inside `( )` or `[ ]`, "
    "or when the next line starts with `|>`"
)
_CLOSERS = frozenset([")", "]", "}"])
# `kinds` of places in a grammar that go together, as one phrase.
_STATEMENT_WORDS = frozenset(_DECLARATIONS) - {"block", "encoder", "attention"} | {"KIND_OF_BLOCK"}


def expected(table: Table, states: list[int]) -> str:
    """What could come next, in words: `an expression`, `` `from` or `[` ``."""
    able = {k for k in table.states[states[-1]] if not k.startswith(":") and table.accepts(states, k)}
    phrases: list[str] = []
    if able >= {"param", "table", "space"}:
        phrases.append("a declaration")
        able -= _STATEMENT_WORDS | {"NAME"}
    elif able >= {"return", "NAME"} or able >= {"next", "NAME"}:
        phrases.append("a statement")
        able -= _STATEMENT_WORDS | {"NAME", "return", "scan", "next"}
    elif able >= {"NUMBER", "NAME", "("}:
        phrases.append("an expression")
        able -= _EXPRESSION
    ends: list[str] = []
    if able & {"+", "|>", "*", "and", "or"}:
        ends.append("an operator")
        able -= _OPERATORS
    words = sorted(_TERMINALS.get(k) or f"`{k}`" for k in able if k not in ("_NL", "$END"))
    if "_NL" in able or "$END" in able:
        ends.append("the end of the line")
    everything = phrases + words + ends
    if len(everything) > 6:
        everything = [*everything[:5], "…"]
    if not everything:
        return "nothing more"
    return everything[0] if len(everything) == 1 else ", ".join(everything[:-1]) + " or " + everything[-1]


def found(token: Token) -> str:
    if token.kind == "_NL":
        return "the end of the line"
    if token.kind == "$END":
        return "the end of the file"
    return f"`{token.text}`" if len(token.text) <= 40 else f"`{token.text[:37]}…`"


def never_closed(report: Report, source: Source, opening: Token, closing: Token) -> None:
    """E0102: a bracket for which a closing one was made up at `closing`."""
    other = {"(": ")", "[": "]", "{": "}"}[opening.kind]
    report.error(
        "E0102",
        f"`{opening.kind}` is never closed",
        Span(source, opening.start, opening.stop),
        label="opened here",
        secondary=(
            Label(Span(source, closing.start, closing.start), f"`{other}` is missing here at the latest"),
        ),
        why="what follows begins a statement of its own",
        help=f"write the `{other}`",
    )


def unexpected(
    report: Report,
    source: Source,
    table: Table,
    states: list[int],
    tokens: list[Token],
    index: int,
    place: Place,
    repair: Repair | None,
) -> None:
    """E0103, or a more telling code: the token at `index` does not fit."""
    token = tokens[index]
    before = tokens[index - 1] if index else None
    span = Span(source, token.start, token.stop)
    wanted = expected(table, states)
    if not index or (before is not None and states == [table.start]):
        report.error("E0108", "the file does not begin with `model NAME`", span, expected=wanted,
                     found=found(token), why="the first line says what the file is: a model or a library",
                     help="begin with `model NAME`, or `library NAME` for a file of blocks")  # fmt: skip
        return
    assert before is not None
    if token.kind in ("_NL", "$END"):
        following = tokens[index + 1] if token.kind == "_NL" else None
        advice = "finish the statement on this line"
        if following is not None and following.kind not in ("NAME", "}"):
            advice = "put the whole in `( )`: a line break inside brackets does not end a statement"
        elif before.kind in _OPERATORS:
            advice = f"put the whole in `( )`, or remove `{before.text}`: a statement ends with its line"
        report.error("E0107", "the statement ends before it is complete", span, expected=wanted,
                     found=found(token), why=_LINES, help=advice)  # fmt: skip
        return
    first = tokens[place.first]
    at_start = index == place.first + 1 and place.depth is not None and first.kind == "NAME"
    if token.kind in _CLOSERS and not _opened(tokens, index, token.kind):
        report.error("E0110", f"`{token.text}` closes nothing", span, label="no bracket is open here",
                     expected=wanted, found=found(token),
                     help="remove it, or write the bracket that it should close")  # fmt: skip
        return
    if at_start and token.kind == "=" and first.text in table.words:
        report.error("E0111", f"`{first.text}` cannot be the name of a binding",
                     Span(source, first.start, first.stop), label="begins a declaration of its own",
                     expected="a name", found=f"`{first.text}`", help="choose another name")  # fmt: skip
        return
    if at_start and first.text not in table.words and token.kind in ("NAME", "{", "("):
        close = nearest(first.text, _DECLARATIONS)
        here = Span(source, first.start, first.stop)
        report.error("E0112", f"`{first.text}` begins no declaration", here, label="unknown here",
                     expected="a declaration, or `NAME = …`", found=f"`{first.text}`",
                     why="what is unknown is an error, so that a misspelt word cannot be ignored",
                     help=f"did you mean `{close}`?" if close else "a binding is written `NAME = …`",
                     fix=Fix(here, close, f"write `{close}`")
                     if close and token.kind == "NAME" else None)  # fmt: skip
        return
    if repair is not None and repair.insert == "_NL":
        report.error("E0113", f"{found(token)} begins a second statement on one line", span,
                     expected="an operator or the end of the line", found=found(token),
                     why="a statement ends with its line", help="put it on a line of its own")  # fmt: skip
        return
    advice, fix = "", None
    if (
        repair is not None
        and repair.insert is not None
        and not repair.skip
        and repair.insert not in _TERMINALS
    ):
        advice = f"write `{repair.insert}` before {found(token)}"
        fix = None
    elif repair is not None and repair.insert is None:
        advice = f"remove {found(token)}"
    elif token.kind == "{" and before.kind in ("=", "(", ","):
        advice = "lists are written with `[ ]`"
    elif token.kind == "/" and before.kind == "/":
        advice = "a comment starts with `#`"
    elif token.kind == "=" and "==" in table.states[states[-1]]:
        advice = "to compare, write `==`"
    word = first.text if place.depth is not None and first.text in table.words else ""
    inside = f" in this `{word}`" if word else ""
    report.error("E0103", f"unexpected {found(token)}{inside}", span, label="does not fit here",
                 expected=wanted, found=found(token), help=advice, fix=fix)  # fmt: skip


def _opened(tokens: list[Token], index: int, closer: str) -> bool:
    """Whether some bracket before `index` is open that `closer` could close."""
    opener = {")": "(", "]": "[", "}": "{"}[closer]
    depth = 0
    for token in reversed(tokens[max(0, index - 5_000) : index]):
        if token.kind == closer:
            depth += 1
        elif token.kind == opener:
            if depth == 0:
                return True
            depth -= 1
    return False
