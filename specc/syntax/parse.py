"""From a text to its tree, whatever the text is.

Promises: always a `tree.File`, with every item that could be read; every fault once (E01xx), and the names
that are lost with what could not be read known to the report. A fault is first
met with the smallest repair after which the rest of its statement reads (`recover`), otherwise the
statement is given up; either way the statement is left out of the tree and the next one is read as if
nothing had been. Time grows with the length of the text, and no nesting is too deep for it.

The walk is plain LALR(1) over `table`: a stack of states beside one of values. Chains of rules that only hand
a value on (`number` is a `power` is a `product` …) are walked once and remembered.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from specc.frozen import dataclass
from specc.report import Report
from specc.source import Source, Span
from specc.syntax import tree
from specc.syntax.beside import notice_comments
from specc.syntax.build import Builder
from specc.syntax.layout import Laid, begins_statement, lay_out
from specc.syntax.lexer import Lexed, lex
from specc.syntax.table import ABSENT, BEFORE_A_NAME, SPLICE, Table, table
from specc.syntax.token import SAME_LINE, Token

# What tells of faults and repairs them is read when there is one: it is as much as the rest.
if TYPE_CHECKING:
    from specc.syntax.recover import Place, Repair

# Faults after these are not repaired but skipped, so that a file of nothing but faults is still read at once.
_REPAIRS = 40
_LONGEST_REPAIR = 3_000
_PATIENCE = 8
_MADE_UP = {
    "KIND_OF_FILE": "model",
    "KIND_OF_BLOCK": "block",
    "NAME": "_",
    "NUMBER": "1",
    "STRING": '""',
    "TRUTH": "true",
    "UNIT": "steps",
}
# Right-nested expressions (brackets, `-`, `^`, `if`) beyond this are refused: later stages walk by recursion.
_DEEPEST = 2_000
# Statements that declare no name right after their keyword, and those that declare several.
_NAMELESS = frozenset(["return", "require", "place", "train"])
_HOLDS_NAMES = frozenset(["space", "scan", "use", "learned", "fixed"])
_BRINGS_IN = frozenset(["from", "import", "include", "using", "require_"])
_STATEMENTS = frozenset(
    [
        "use",
        "extends",
        "drop",
        "param",
        "require",
        "table",
        "space",
        "learned",
        "fixed",
        "layer",
        "block",
        "binding",
        "unpack",
        "predict",
        "output",
        "loss",
        "device",
        "place",
        "train",
        "return",
        "scan",
        "next",
    ]
)


def parse(source: Source, report: Report) -> tree.File:
    """Return the tree of a text; faults go to the report, and what they touch is left out of the tree."""
    lexed = lex(source, report)
    file = _Parser(source, report, lexed, lay_out(lexed.tokens, len(source.text))).file()
    notice_comments(file, report)
    return file


@dataclass
class _Stacks:
    """`states` has one entry more than the others; `firsts` is where each symbol's tokens begin."""

    states: list[int]
    values: list[Any] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)


class _Parser:
    def __init__(self, source: Source, report: Report, lexed: Lexed, laid: Laid) -> None:
        self.source = source
        self.report = report
        self.lexed = lexed
        self.tokens = laid.tokens
        self.forgotten = laid.forgotten
        self.table: Table = table()
        self.builder = Builder(source, report)
        self.faults: list[int] = []  # token indices, ascending, of faults whose statement is not left out yet
        self.inserted: Token | None = None  # a repair: read before the next token
        self.has_header = False
        self.met = 0
        self.mismatched: set[int] = set()  # offsets of brackets that are closed by others
        self.last_fault = -1  # the offset of the last fault
        self.stays, self.stays_at = 0, -1  # how often in a row the token at an index did not fit

    def file(self) -> tree.File:
        edition, (kind, ident), *body = self.walk()
        first = self.tokens[0].start
        return tree.File(
            None if edition is None else 1,
            kind,
            ident,
            tuple(item for item in body if item is not None),
            doc=self.lexed.docs.get(first),
            comments=tuple(self.lexed.comments),
            span=Span(self.source, 0, len(self.source.text)),
        )

    # ----------------------------------------------------------------- walk

    def walk(self) -> list[Any]:
        """Return the children of the grammar's start rule."""
        known = self.table
        all_states, rules, words = known.states, known.rules, known.words
        tokens = self.tokens
        stacks = _Stacks([known.start])
        states, values, firsts = stacks.states, stacks.values, stacks.firsts
        index = 0
        while True:
            token = self.inserted or tokens[index]
            kind = token.kind
            row = all_states[states[-1]]
            if kind == "NAME":
                word = words.get(token.text)
                if (
                    word is not None
                    and word in row
                    and known.accepts(states, word)
                    and (word not in BEFORE_A_NAME or tokens[index + 1].kind == "NAME")
                ):
                    kind = word
            action = row.get(kind)
            if action is None or (index in self.forgotten and not known.accepts(states, kind)):
                index = self.fault(stacks, index)
                continue
            if action >= 0:
                if index in self.forgotten and not self.inserted:
                    if self.forgotten[index].start not in self.mismatched:
                        self.never_closed(self.forgotten[index], index)
                    self.note(index)
                states.append(action)
                values.append(token)
                firsts.append(index)
                if self.inserted:
                    self.inserted = None
                else:
                    index += 1
                if len(states) > _DEEPEST:
                    index = self.too_deep(stacks, index)
                continue
            rule = rules[-1 - action]
            if rule.hands_on:
                states[-1] = known.hand_on(states[-2], states[-1], kind)
                continue
            size = rule.size
            if rule.origin == ":start":
                return self.children(rule.shape, values, len(values) - size)
            first = firsts[-size] if size else index
            value = self.reduce(rule, values, first, index)
            if size:
                del states[-size:]
                del values[-size:]
                del firsts[-size:]
            states.append(all_states[states[-1]][rule.origin])
            values.append(value)
            firsts.append(first)

    def children(self, shape: tuple[int, ...], values: list[Any], base: int) -> list[Any]:
        if shape and shape[0] == SPLICE:
            kids = values[base]  # grown in place: nobody else has it
            rest = shape[1:]
        else:
            kids, rest = [], shape
        for place in rest:
            if place == ABSENT:
                kids.append(None)
            elif place >= SPLICE:
                kids.extend(values[base + place - SPLICE])
            else:
                kids.append(values[base + place])
        return kids  # type: ignore[no-any-return]

    def reduce(self, rule: Any, values: list[Any], first: int, index: int) -> Any:
        kids = self.children(rule.shape, values, len(values) - rule.size)
        if rule.splices:
            return kids
        if rule.single and len(kids) == 1:
            return kids[0]
        start = self.tokens[first].start
        stop = max(start, self.tokens[index - 1].stop) if index > first else start
        span = Span(self.source, start, stop)
        if rule.action == "header":
            self.has_header = True
        if rule.action not in _STATEMENTS:
            return self.builder.rules[rule.action](kids, span)
        build: Callable[..., Any] = self.builder.rules[rule.action]
        built = build(kids, span, self.lexed.docs.get(start))
        if self.faults and self.faults[-1] >= first:
            self.forget(first, index)
            return None
        return built

    # --------------------------------------------------------------- faults

    def forget(self, first: int, stop: int) -> None:
        """Leave out the statement of these tokens: its faults are dealt with, its name is lost."""
        from specc.report.elsewhere import TYPES

        while self.faults and self.faults[-1] >= first:
            self.faults.pop()
        begun = self.tokens[first]
        ends = max(stop, first + 1)
        words = [t for t in self.tokens[first:ends] if t.kind == "NAME"]
        if begun.text in _BRINGS_IN and len(words) > 1 and self.tokens[first + 1].kind == "NAME":
            lost = self.line(first)
        elif begun.text in _HOLDS_NAMES:
            # Its axes, states or members are lost with it.
            lost = words[1:]
        elif begun.text in self.table.words and begun.text not in _NAMELESS:
            lost = words[:2]
            if len(words) > 2 and (words[1].text in TYPES or words[1].text == begun.text):
                lost = words[:3]  # `param int n`, `param param n`
        elif len(words) > 1 and self.tokens[first + 1].kind == "NAME":
            lost = words[:2]  # `let x = …`: whichever was meant to be the name
        else:
            lost = words[:1]
        place = Span(self.source, begun.start, self.tokens[ends - 1].stop)
        if not any(t.kind == "=" for t in self.tokens[first:ends]):
            self.report.lose(["return"], place)
        if begun.text == "place":
            self.report.lose(["place"], place)
        for before, word in pairwise(words):
            if before.text in ("as", "to"):
                lost.append(word)  # an axis that is made here
        self.report.lose((t.text for t in lost), place)

    def line(self, first: int) -> list[Token]:
        """Return the names of a line, from a token on."""
        stop = first + 1
        while self.tokens[stop].indent == SAME_LINE and self.tokens[stop].kind not in ("_NL", "$END"):
            stop += 1
        return [token for token in self.tokens[first:stop] if token.kind == "NAME"]

    def note(self, index: int) -> None:
        """A fault was reported at a token: the statement around it will be left out."""
        self.faults.append(index)
        self.met += 1
        token = self.tokens[index]
        self.last_fault = token.start
        if token.text == "return":
            self.report.lose(["return"], Span(self.source, token.start, token.stop))

    def fault(self, stacks: _Stacks, index: int) -> int:
        """Report the token that does not fit, repair or give up its statement; where to read on."""
        from specc.syntax.misplaced import misplaced
        from specc.syntax.mistakes import not_here
        from specc.syntax.recover import end_of_statement, exchange, place_of, repair

        self.inserted = None
        tokens, token = self.tokens, self.tokens[index]
        self.stays = self.stays + 1 if index == self.stays_at else 0
        self.stays_at = index
        if self.stays > _PATIENCE:
            return self.move_on(stacks, index)
        place = place_of(self.table, stacks.states, stacks.values, stacks.firsts, tokens, index)
        goal = end_of_statement(tokens, index, place)
        if self.has_header and place.depth is not None and index == place.first + 1:
            wrong = misplaced(tokens, place.first, place.symbol)
            if wrong is not None:
                not_here(self.report, self.source, wrong)
                self.note(index)
                return self.give_up(stacks, place, index, goal)
        if index in self.forgotten:
            opening = self.forgotten[index]
            if self.last_fault >= opening.start:
                return index + 1  # the bracket was missed where it should have been
            self.never_closed(opening, index)
        found = None
        if self.met < _REPAIRS and goal - index < _LONGEST_REPAIR:
            found = repair(self.table, stacks.states, tokens, index, goal, self.forgotten.keys())
            found = found or exchange(
                self.table, stacks.states, token, tokens[index + 1 : index + 3], tokens[place.first]
            )
        if found is not None and index == place.first and found.insert in self.table.words:
            found = None  # what begins no statement is not made one by a word before it
        if index not in self.forgotten and not self.bracket_forgotten(index, goal):
            respelt = self.unexpected(stacks, index, place, found)
            if respelt is not None and place.depth is not None:
                return self.respell(stacks, place, *respelt)
        self.note(index)
        if found is not None:
            if found.insert == "_NL":
                self.faults.pop()  # both statements are whole
            if found.insert is not None:
                at = token.start
                self.inserted = Token(found.insert, _MADE_UP.get(found.insert, found.insert), at, at, -1)
            return index + found.skip
        return self.give_up(stacks, place, index, goal)

    def never_closed(self, opening: Token, index: int) -> None:
        """Report a bracket for which a closing one was made up, or is missing, at a token."""
        from specc.syntax.mistakes import never_closed

        never_closed(self.report, self.source, self.tokens, opening, index)

    def bracket_forgotten(self, index: int, goal: int) -> bool:
        """Report a `(` or `[` that is open at the token and never closed: that is why it does not fit."""
        token = self.tokens[index]
        if token.text in (")", "]", "}"):
            return False  # closed by a bracket of another kind
        for closing, opening in self.forgotten.items():
            if index < closing <= goal and opening.kind in "([" and opening.start < token.start:
                if opening.start not in self.mismatched:
                    self.mismatched.add(opening.start)
                    self.never_closed(opening, index)
                return True
        return False

    def unexpected(
        self, stacks: _Stacks, index: int, place: Place, found: Repair | None
    ) -> tuple[int, str] | None:
        """Report a token that does not fit, unless what stands before it has been reported.

        Gives a token of the statement, by index, that can be read as another word.
        """
        from specc.syntax.mistakes import unexpected
        from specc.syntax.told import Seen

        begin = self.tokens[index - 1].stop if index else 0
        after_skipped = bisect_left(self.lexed.skipped, begin) < bisect_right(
            self.lexed.skipped, self.tokens[index].start
        )
        if not after_skipped:
            prior = None
            if index and stacks.values and stacks.values[-1] is self.tokens[index - 1]:
                prior = stacks.states[:-1]
            seen = Seen(self.source, self.table, stacks.states, self.tokens, index, place, found, prior)
            outcome = unexpected(self.report, seen)
            if outcome.mismatched is not None:
                self.mismatched.add(outcome.mismatched.start)
            return outcome.respelt
        return None

    def respell(self, stacks: _Stacks, place: Place, index: int, word: str) -> int:
        """Read a statement again, with one of its words as it was meant."""
        assert place.depth is not None
        self.tokens[index] = self.tokens[index]._replace(text=word)
        self.met += 1
        self.unwind(stacks, place.depth)
        return place.first

    def give_up(self, stacks: _Stacks, place: Place, index: int, goal: int) -> int:
        """Unwind to where the statement began, as if it had been read, and go on at its end."""
        if not self.has_header:
            self.faults.clear()
            if self.tokens[goal].kind == "_NL" and self.tokens[goal + 1].text in ("model", "library"):
                self.report.lose(t.text for t in self.tokens[:goal] if t.kind == "NAME")
                self.unwind(stacks, 0)
                return goal + 1
            if index == 0 and begins_statement(self.tokens, 0):
                goal = 0
                at = self.tokens[0].start
                self.inserted = Token("_NL", "", at, at, -1)
            self.unwind(stacks, 0)
            self.push(stacks, ":header", ("model", tree.Ident("unnamed")), goal)
            self.has_header = True
            return goal
        if place.depth is not None:
            self.forget(place.first, index + 1)
            self.unwind(stacks, place.depth)
            self.push(stacks, place.symbol, [], goal)
        else:
            self.faults.clear()
        return goal

    def move_on(self, stacks: _Stacks, index: int) -> int:
        """Leave out a token that no way of giving up gets past, so that every text has an end."""
        if self.tokens[index].kind != "$END":
            return index + 1
        self.unwind(stacks, 0)
        self.push(stacks, ":header", ("model", tree.Ident("unnamed")), index)
        return index

    def unwind(self, stacks: _Stacks, depth: int) -> None:
        del stacks.states[depth + 1 :]
        del stacks.values[depth:]
        del stacks.firsts[depth:]

    def push(self, stacks: _Stacks, symbol: str, value: Any, first: int) -> None:
        stacks.states.append(self.table.states[stacks.states[-1]][symbol])
        stacks.values.append(value)
        stacks.firsts.append(first)

    def too_deep(self, stacks: _Stacks, index: int) -> int:
        from specc.syntax.recover import end_of_statement, place_of

        token = self.tokens[index - 1]
        self.report.error(
            "E0109",
            "this is nested too deeply",
            self.builder.span(token),
            label=f"more than {_DEEPEST} symbols are open here",
            help="name parts of it in bindings of their own",
        )
        self.note(index - 1)
        self.inserted = None
        place = place_of(self.table, stacks.states, stacks.values, stacks.firsts, self.tokens, index)
        return self.give_up(stacks, place, index, end_of_statement(self.tokens, index, place))
