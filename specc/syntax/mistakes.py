"""Words for faults of syntax: from a state of the parser and the token that does not fit to a diagnostic.

Promises: says what stood there, what could have stood there, and how the statement goes on when one change
would mend it. Knows the mistakes that are made often (E0102 to E0113); those that come from other languages
are in `habits`.
"""

from __future__ import annotations

from specc.frozen import dataclass
from specc.report import Fix, Label, Report
from specc.report.suggest import nearest
from specc.source import Source, Span
from specc.syntax.habits import FORMS, WORDS, habit
from specc.syntax.layout import STRAY
from specc.syntax.recover import Place, Repair
from specc.syntax.table import Table, is_token
from specc.syntax.token import Token

_EXPRESSION = frozenset(["NUMBER", "STRING", "TRUTH", "NAME", "(", "[", "-", "if", "not"])
_OPERATORS = frozenset(["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or", "|>"])
_AFTER_A_NAME = frozenset(["(", ".", "="])
_CLAUSES = frozenset(["over", "as", "by", "from", "to", "where"])
_TERMINALS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": 'a text in double quotes, such as `"cpu"`',
    "TRUTH": "`true` or `false`",
    "UNIT": "`epochs` or `steps`",
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
_OPENERS = {")": "(", "]": "[", "}": "{"}
_CLOSERS = {"(": ")", "[": "]", "{": "}"}
# Signs that are forgotten or mistaken for others; a repair with another one is no advice.
_SIGNS = frozenset([",", ")", "]", "}", "=", ":", ";", "(", "[", "{", "->", "|>", "<=", "..", "=="])
_MISTAKEN = frozenset(
    [("<=", "<"), ("<=", "="), ("<=", "=="), ("->", "="), ("->", ":"), ("..", ","), ("..", "-"), (",", ";")]
) | {(one, other) for one in ")]}" for other in ")]}"}  # fmt: skip
_FORGOTTEN_WORDS = frozenset(["over", "from", "on", "then", "else", "in"])
_STATEMENT_WORDS = frozenset(_DECLARATIONS) - {"block", "encoder", "attention"} | {"KIND_OF_BLOCK"}


@dataclass(frozen=True)
class Seen:
    """What the parser sees at a token that does not fit."""

    source: Source
    table: Table
    states: list[int]
    tokens: list[Token]
    index: int
    place: Place
    repair: Repair | None

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def before(self) -> Token:
        return self.tokens[self.index - 1]

    @property
    def first(self) -> Token:
        """The first token of the statement."""
        return self.tokens[self.place.first]

    @property
    def word(self) -> str:
        """The keyword that the statement begins with, or ''."""
        known = self.place.depth is not None and self.first.text in self.table.words
        return self.first.text if known else ""

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.stop)

    def able(self) -> set[str]:
        """The tokens that could come next."""
        row = self.table.states[self.states[-1]]
        return {k for k in row if is_token(k) and self.table.accepts(self.states, k)}


def expected(able: set[str]) -> str:
    """What could come next, in words: `an expression`, `` `from` or `[` ``."""
    able = set(able)
    phrases: list[str] = []
    if able >= {"NUMBER", "NAME", "("} or able & {"+", "|>"}:
        able.discard(";")  # in a call only `cross` has one
    if able >= {"param", "table", "space"}:
        phrases.append("a declaration")
        able -= _STATEMENT_WORDS | {"NAME"}
    elif able >= {"return", "NAME"} or able >= {"next", "NAME"}:
        phrases.append("a statement")
        able -= _STATEMENT_WORDS | {"NAME", "return", "scan", "next"}
    elif able >= {"NUMBER", "NAME", "("}:
        phrases.append("an expression")
        able -= _EXPRESSION
        if able >= {"over", "by"}:
            able -= _CLAUSES
    ends: list[str] = []
    if able & {"+", "|>", "*", "and", "or"}:
        ends.append("an operator")
        able -= _OPERATORS
        able -= _AFTER_A_NAME | {"UNIT"}
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
    other = _CLOSERS[opening.kind]
    here = Span(source, closing.start, closing.start)
    # Certain where the line that opens it ends there: nothing else can be meant.
    end = source.text.find("\n", closing.start)
    rest = source.text[closing.start : end if end >= 0 else None].partition("#")[0]
    alone = "\n" not in source.text[opening.start : closing.start] and not rest.strip()
    report.error(
        "E0102",
        f"`{opening.kind}` is never closed",
        Span(source, opening.start, opening.stop),
        label="opened here",
        secondary=(Label(here, f"`{other}` is missing here at the latest"),),
        why="what follows begins a statement of its own",
        help=f"write the `{other}`",
        fix=Fix(here, other, f"write the `{other}`") if alone else None,
    )


def unexpected(report: Report, seen: Seen) -> Token | None:
    """E0103, or a more telling code: the token that does not fit. Gives back a bracket that is closed by
    another kind of bracket, of which nothing more is to be said."""
    token, first, able = seen.token, seen.first, seen.able()
    wanted = expected(able)
    span = seen.span(token)
    if not seen.index or seen.states == [seen.table.start]:
        report.error("E0108", "the file does not begin with `model NAME`", span, expected=wanted,
                     found=found(token), why="the first line says what the file is: a model or a library",
                     help="begin with `model NAME`, or `library NAME` for a file of blocks")  # fmt: skip
        return None
    if told := habit(seen, able):
        report.error(
            told.code, told.message, told.span, label=told.label, why=told.why, help=told.help, fix=told.fix
        )
        return None
    if token.kind in ("_NL", "$END"):
        report.error("E0107", "the statement ends before it is complete", span, expected=wanted,
                     found=found(token), why=_LINES, help=_unfinished(seen))  # fmt: skip
        return None
    if token.kind == STRAY or (token.kind in _OPENERS and not _opened(seen.tokens, seen.index, token.kind)):
        return _closes_nothing(report, seen, wanted)
    at_start = seen.index == seen.place.first + 1 and seen.place.depth is not None and first.kind == "NAME"
    if at_start and token.kind == "=" and first.text in seen.table.words:
        report.error("E0111", f"`{first.text}` cannot be the name of a binding",
                     seen.span(first), label="begins a declaration of its own",
                     expected="a name", found=f"`{first.text}`", help="choose another name")  # fmt: skip
        return None
    if at_start and first.text not in seen.table.words and token.kind in ("NAME", "{", "("):
        _begins_nothing(report, seen)
        return None
    if seen.repair is not None and seen.repair.insert == "_NL":
        at = seen.before.stop
        gap = Span(seen.source, at, token.start)
        report.error("E0113", f"{found(token)} begins a second statement on one line", span,
                     expected="an operator or the end of the line", found=found(token),
                     why="a statement ends with its line", help="put it on a line of its own",
                     fix=Fix(gap, "\n" + " " * seen.place.indent, "begin a new line"))  # fmt: skip
        return None
    advice, fix = _advice(seen, able)
    inside = f" in this `{seen.word}`" if seen.word else ""
    report.error("E0103", f"unexpected {found(token)}{inside}", span, label="does not fit here",
                 expected=wanted, found=found(token), help=advice or _form(seen), fix=fix)  # fmt: skip
    return None


def _advice(seen: Seen, able: set[str]) -> tuple[str, Fix | None]:
    """How the statement reads after one change, and the change where it is the only one."""
    token, change = seen.token, seen.repair
    span = seen.span(token)
    if change is None:
        return "", None
    here = Span(seen.source, token.start, token.start)
    if change.insert is None:
        # A doubled or stray sign; more than that may have meant something.
        stray = token.kind in (";", ",", ".", ":", "=") or token.kind == seen.before.kind
        return f"remove {found(token)}", Fix(span, "", f"remove {found(token)}") if stray else None
    sign = change.insert
    if sign not in _SIGNS and sign not in _FORGOTTEN_WORDS:
        return "", None
    only = len(able - {"_NL", "$END"}) == 1
    if change.skip and (sign, token.kind) in _MISTAKEN:
        return f"write `{sign}` instead of {found(token)}", Fix(
            span, sign, f"write `{sign}`"
        ) if only else None
    if change.skip:
        return "", None
    space = " " if sign in _FORGOTTEN_WORDS or sign in ("=", "->", "|>", "<=", "..", "==") else ""
    after = " " if sign in (",", ":", ";") else space
    return (
        f"write `{sign}` before {found(token)}",
        Fix(here, f"{sign}{after}", f"write `{sign}`") if only and sign not in _OPENERS else None,
    )


def _form(seen: Seen) -> str:
    form = FORMS.get(seen.word)
    return f"it is written `{form}`" if form else ""


def _unfinished(seen: Seen) -> str:
    """What to do about a statement whose line ends too early."""
    following = seen.tokens[seen.index + 1] if seen.token.kind == "_NL" else None
    if seen.before.kind == "|>":
        return "put `|>` at the start of the next line"
    if following is not None and following.kind not in ("NAME", "}"):
        return "put the whole in `( )`: a line break inside brackets does not end a statement"
    if seen.before.kind in _OPERATORS:
        return f"put the whole in `( )`, or remove `{seen.before.text}`: a statement ends with its line"
    return _form(seen) or "finish the statement on this line"


def _begins_nothing(report: Report, seen: Seen) -> None:
    """E0112: a statement begins with a word that is no keyword."""
    first, token = seen.first, seen.token
    here = seen.span(first)
    known = WORDS.get(first.text.lower())
    close = None if known else nearest(first.text, _DECLARATIONS)
    fix = None
    if known and known.instead is not None and token.kind == "NAME":
        stop = token.start if not known.instead else first.stop
        fix = Fix(Span(seen.source, first.start, stop), known.instead, known.title)
    elif close and token.kind == "NAME":
        fix = Fix(here, close, f"write `{close}`")
    elif not known and token.kind == "NAME" and seen.tokens[seen.index + 1].kind in ("(", "|>"):
        fix = Fix(Span(seen.source, token.start, token.start), "= ", "write `=` between")
    if known:
        advice = known.help
    elif close:
        advice = f"did you mean `{close}`?"
    else:
        advice = "a binding is written `NAME = …`"
    report.error("E0112", f"`{first.text}` begins no declaration", here, label="unknown here",
                 expected="a declaration, or `NAME = …`", found=f"`{first.text}`",
                 why="what is unknown is an error, so that a misspelt word cannot be ignored",
                 help=advice, fix=fix)  # fmt: skip


def _closes_nothing(report: Report, seen: Seen, wanted: str) -> Token | None:
    token = seen.token
    opening = _innermost(seen.tokens, seen.place.first, seen.index)
    if opening is None:
        report.error("E0110", f"`{token.text}` closes nothing", seen.span(token),
                     label="no bracket is open here", expected=wanted, found=found(token),
                     help="remove it, or write the bracket that it should close",
                     fix=Fix(seen.span(token), "", "remove it"))  # fmt: skip
        return None
    right = _CLOSERS[opening.kind]
    report.error("E0110", f"`{token.text}` cannot close `{opening.kind}`", seen.span(token),
                 label=f"`{right}` is expected", expected=f"`{right}`", found=found(token),
                 secondary=(Label(seen.span(opening), "opened here"),),
                 help=f"write `{right}` instead",
                 fix=Fix(seen.span(token), right, f"write `{right}`"))  # fmt: skip
    return opening


def _innermost(tokens: list[Token], start: int, index: int) -> Token | None:
    """The bracket that is open at `index`, of those since `start`."""
    open_: list[Token] = []
    for token in tokens[start:index]:
        if token.kind in _CLOSERS:
            open_.append(token)
        elif token.kind in _OPENERS and open_ and open_[-1].kind == _OPENERS[token.kind]:
            open_.pop()
    return open_[-1] if open_ else None


def _opened(tokens: list[Token], index: int, closer: str) -> bool:
    """Whether some bracket before `index` is open that `closer` could close."""
    opener = _OPENERS[closer]
    depth = 0
    for token in reversed(tokens[max(0, index - 5_000) : index]):
        if token.kind == closer:
            depth += 1
        elif token.kind == opener:
            if depth == 0:
                return True
            depth -= 1
    return False
