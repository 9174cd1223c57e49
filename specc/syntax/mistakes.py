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
from specc.syntax.imports import IMPORTS, brings_in
from specc.syntax.layout import STRAY
from specc.syntax.misplaced import HERE, Misplaced
from specc.syntax.recover import end_of_statement, reads
from specc.syntax.table import is_token
from specc.syntax.token import SAME_LINE, Token
from specc.syntax.told import Seen

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
    "use", "extends", "drop", "param", "require", "table", "space", "learned", "fixed", "layer", "block",
    "encoder",
    "attention", "predict", "output", "loss", "device", "place", "train",
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
_MOST_ENDS = 24  # places at which a lost bracket is tried
_FORGOTTEN_WORDS = frozenset(["over", "from", "on", "then", "else", "in"])
_STATEMENT_WORDS = frozenset(_DECLARATIONS) - {"block", "encoder", "attention"} | {"KIND_OF_BLOCK"}


def expected(able: set[str]) -> str:
    """Return what could come next, in words: `an expression`, `` `from` or `[` ``."""
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


def never_closed(report: Report, source: Source, tokens: list[Token], opening: Token, index: int) -> None:
    """Report E0102: a bracket whose closing one is missing, or was made up, at a token."""
    other = _CLOSERS[opening.kind]
    closing = tokens[index]
    here = Span(source, closing.start, closing.start)
    tried = [Fix(Span(source, at, at), written, f"write the `{other}`")
             for at, written in _ends(source, tokens, opening, index, other)]  # fmt: skip
    report.error(
        "E0102",
        f"`{opening.kind}` is never closed",
        Span(source, opening.start, opening.stop),
        label="opened here",
        secondary=(Label(here, f"`{other}` is missing here at the latest"),),
        why="what follows begins a statement of its own" if not closing.text else "",
        help=f"write the `{other}`",
        fix=tried[0] if tried else None,
        others=tuple(tried[1:]),
    )


def _ends(
    source: Source, tokens: list[Token], opening: Token, index: int, other: str
) -> list[tuple[int, str]]:
    """Return where a bracket could be closed: after each token from its opening up to where it must be."""
    start = index
    while start > 0 and tokens[start].start > opening.start:
        start -= 1
    stop = index
    while (
        stop + 1 < len(tokens)
        and tokens[stop].kind not in ("_NL", "$END")
        and tokens[stop].indent == SAME_LINE
    ):
        stop += 1
    between = [t for t in tokens[start + 1 : stop] if t.text]
    if other == "}":
        last = tokens[index - 1].stop
        lines = "\n" in source.text[opening.start : last]
        return [(last, "\n}" if lines else " }")]
    ends = [t.stop for t in between if t.kind in ("NAME", "NUMBER", "STRING", "TRUTH", ")", "]")]
    return [(at, other) for at in dict.fromkeys(reversed(ends))][:_MOST_ENDS]


def not_here(report: Report, source: Source, wrong: Misplaced) -> None:
    """Report E0115: a statement where it may not stand."""
    report.error(
        "E0115",
        f"`{wrong.word.text}` cannot stand {wrong.where}",
        Span(source, wrong.word.start, wrong.word.stop),
        label="not here",
        why="each kind of statement has its place, so that nothing is declared where nobody looks for it",
        help=wrong.help,
    )


@dataclass(frozen=True)
class Outcome:
    """What is to be done after a report: `mismatched` is a bracket that another kind closes, of which nothing
    more is to be said; `respelt` a token, by index, that can be read as the word it was meant to be."""

    mismatched: Token | None = None
    respelt: tuple[int, str] | None = None


def unexpected(report: Report, seen: Seen) -> Outcome:
    """E0103, or a more telling code: the token that does not fit."""
    token, first, able = seen.token, seen.first, seen.able()
    wanted = expected(able)
    span = seen.span(token)
    if not seen.index or seen.states == [seen.table.start]:
        report.error("E0108", "the file does not begin with `model NAME`", span, expected=wanted,
                     found=found(token), why="the first line says what the file is: a model or a library",
                     help="begin with `model NAME`, or `library NAME` for a file of blocks")  # fmt: skip
        return Outcome()
    if told := habit(seen, able):
        report.error(
            told.code, told.message, told.span, label=told.label, why=told.why, help=told.help, fix=told.fix
        )
        return Outcome(respelt=told.respelt)
    if token.kind in ("_NL", "$END"):
        report.error("E0107", "the statement ends before it is complete", span, expected=wanted,
                     found=found(token), why=_LINES, help=_unfinished(seen))  # fmt: skip
        return Outcome()
    if token.kind == STRAY or (token.kind in _OPENERS and not _opened(seen.tokens, seen.index, token.kind)):
        return Outcome(mismatched=_closes_nothing(report, seen, wanted))
    at_start = seen.index == seen.place.first + 1 and seen.place.depth is not None and first.kind == "NAME"
    if at_start and token.kind == "=" and first.text in seen.table.words:
        report.error("E0111", f"`{first.text}` cannot be the name of a binding",
                     seen.span(first), label="begins a declaration of its own",
                     expected="a name", found=f"`{first.text}`",
                     help=f"choose another name, or write `{FORMS[first.text]}`" if first.text in FORMS
                     else "choose another name")  # fmt: skip
        return Outcome()
    if at_start and first.text in IMPORTS and token.kind == "NAME":
        told = brings_in(seen)
        report.error(
            "E0112", told.message, told.span, label=told.label, why=told.why, help=told.help, fix=told.fix
        )
        return Outcome()
    if at_start and first.text not in seen.table.words and token.kind not in ("_NL", "$END"):
        if token.kind in ("NAME", "{", "(") or nearest(first.text, _begin_here(seen)):
            return Outcome(respelt=_begins_nothing(report, seen))
    if seen.repair is not None and seen.repair.insert == "_NL":
        at = seen.before.stop
        gap = Span(seen.source, at, token.start)
        report.error("E0113", f"{found(token)} begins a second statement on one line", span,
                     expected="an operator or the end of the line", found=found(token),
                     why="a statement ends with its line", help="put it on a line of its own",
                     fix=Fix(gap, "\n" + " " * seen.place.indent, "begin a new line"))  # fmt: skip
        return Outcome()
    advice, fix = _advice(seen, able)
    others = _other_insertions(seen, fix) if fix is not None and not fix.span.text else ()
    inside = f" in this `{seen.word}`" if seen.word else ""
    report.error(
        "E0103",
        f"unexpected {found(token)}{inside}",
        span,
        label="does not fit here",
        expected=wanted,
        found=found(token),
        help=advice or _form(seen),
        fix=fix,
        others=others,
    )
    return Outcome()


def _advice(seen: Seen, able: set[str]) -> tuple[str, Fix | None]:
    """Return how the statement reads after one change, and the change where it is the only one."""
    token, change = seen.token, seen.repair
    span = seen.span(token)
    if change is None:
        return "", None
    here = Span(seen.source, token.start, token.start)
    if change.insert is None:
        # A doubled or stray sign; more than that may have meant something.
        stray = token.kind in (";", ",", ".", ":", "=") or token.text == seen.before.text
        stray = stray and seen.index != seen.place.first and not _gap(seen)
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
        Fix(here, f"{sign}{after}", f"write `{sign}`") if only or sign not in _OPENERS else None,
    )


def _gap(seen: Seen) -> bool:
    """Return whether a sign stands twice with a gap between, in which something may be missing."""
    return seen.token.text == seen.before.text and seen.token.start != seen.before.stop


def _other_insertions(seen: Seen, fix: Fix) -> tuple[Fix, ...]:
    """Other signs and words in the place of the one that a fix puts in, with which the statement reads
    as well; and the statement without the token."""
    goal = end_of_statement(seen.tokens, seen.index, seen.place)
    row = seen.table.states[seen.states[-1]]
    taken = fix.text.strip()
    found = []
    for kind in sorted(row):
        if not is_token(kind) or kind in _TERMINALS or kind == taken:
            continue
        if reads(seen.table, seen.states, seen.tokens, seen.index, goal, (), kind):
            found.append(Fix(fix.span, f" {kind} ", f"write `{kind}`"))
    if reads(seen.table, seen.states, seen.tokens, seen.index + 1, goal, (), None):
        found.append(Fix(seen.span(seen.token), "", f"remove `{seen.token.text}`"))
    return tuple(found)


def _form(seen: Seen) -> str:
    form = FORMS.get(seen.word)
    return f"it is written `{form}`" if form else ""


def _unfinished(seen: Seen) -> str:
    """Return what to do about a statement whose line ends too early."""
    following = seen.tokens[seen.index + 1] if seen.token.kind == "_NL" else None
    if seen.before.kind == "|>":
        return "put `|>` at the start of the next line"
    if following is not None and following.kind not in ("NAME", "}"):
        return "put the whole in `( )`: a line break inside brackets does not end a statement"
    if seen.before.kind in _OPERATORS:
        return f"put the whole in `( )`, or remove `{seen.before.text}`: a statement ends with its line"
    return _form(seen) or "finish the statement on this line"


def _begin_here(seen: Seen) -> tuple[str, ...]:
    """Return the words that may begin a statement here. Some are close to names that people use: they are
    meant only where the statement goes on as theirs does."""
    first = max(seen.place.first, 0)
    behind = seen.tokens[min(first + 2, len(seen.tokens) - 1)].kind
    unlike = {word for word, sign in (("fixed", "["), ("output", "=")) if behind != sign}
    return tuple(sorted(set(HERE.get(seen.place.symbol, _DECLARATIONS)) - unlike))


def _begins_nothing(report: Report, seen: Seen) -> tuple[int, str] | None:
    """Report E0112: a statement that begins with a word that is no keyword."""
    first, token = seen.first, seen.token
    here = seen.span(first)
    known = WORDS.get(first.text.lower())
    space = token.text == "from" and seen.tokens[seen.index + 1].text in ("request", "candidate")
    close = None if known or space else nearest(first.text, _begin_here(seen))
    fix = None
    if space:
        fix = Fix(Span(seen.source, first.start, first.start), "space ", "write `space` before it")
    elif known and known.instead is not None and token.kind == "NAME":
        stop = token.start if not known.instead else first.stop
        fix = Fix(Span(seen.source, first.start, stop), known.instead, known.title)
    elif close and (token.kind == "NAME" or close == "return"):
        fix = Fix(here, close, f"write `{close}`")
    elif not known and token.kind == "NAME" and seen.tokens[seen.index + 1].kind in ("(", "|>"):
        fix = Fix(Span(seen.source, token.start, token.start), "= ", "write `=` between")
    if space:
        advice = (
            f"what comes in is a space: `space {first.text} from {seen.tokens[seen.index + 1].text} {{ … }}`"
        )
    elif known:
        advice = known.help
    elif close:
        advice = f"did you mean `{close}`?"
    else:
        advice = "a binding is written `NAME = …`"
    report.error("E0112", f"`{first.text}` begins no declaration", here, label="unknown here",
                 expected=f"a {'statement' if seen.place.nested else 'declaration'}, or `NAME = …`",
                 found=f"`{first.text}`",
                 why="what is unknown is an error, so that a misspelt word cannot be ignored",
                 help=advice, fix=fix)  # fmt: skip
    return (seen.place.first, close) if close and fix is not None else None


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
    """Return the bracket that is open at `index`, of those since `start`."""
    open_: list[Token] = []
    for token in tokens[start:index]:
        if token.kind in _CLOSERS:
            open_.append(token)
        elif token.kind in _OPENERS and open_ and open_[-1].kind == _OPENERS[token.kind]:
            open_.pop()
    return open_[-1] if open_ else None


def _opened(tokens: list[Token], index: int, closer: str) -> bool:
    """Return whether some bracket before `index` is open that `closer` could close."""
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
