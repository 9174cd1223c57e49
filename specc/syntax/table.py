"""The parse table: what `grammar/arec.json` holds, ready to be walked.

Promises: every state of the grammar's automaton with what each token does in it, and every rule with the
shape of the values it hands on. Leaves to others: making the file (`generate`), walking it (`machine`).

Lark builds this table from `arec.lark` in about 0.7 s, and importing Lark takes another 0.1 s: more than a
whole `specc check` may take. So the table is built once, kept as plain JSON (2 ms to read), and a test
builds it anew and compares.
"""

from __future__ import annotations

import json
from dataclasses import field
from functools import cache, cached_property

from specc import resources
from specc.frozen import dataclass

# How a rule's shape names its children: an index as it is, an index to splice, or an absent one.
SPLICE = 100
ABSENT = -1
# Words that came later: keywords only before a name, so that a binding may be called so.
BEFORE_A_NAME = frozenset(["output", "fixed"])


def is_token(symbol: str) -> bool:
    """Return whether a symbol of a state is a token; rules are written `:name`."""
    return symbol == ":" or not symbol.startswith(":")


@dataclass(frozen=True)
class Rule:
    """`origin` takes the top `size` values; `shape` says which of them are kept.

    Origins are written `:name`, apart from keywords. One that begins with `:_` makes a plain list,
    spliced into the rule that takes it.
    `single` rules hand on an only child as it is.
    """

    origin: str
    action: str
    size: int
    shape: tuple[int, ...]
    single: bool

    @cached_property
    def hands_on(self) -> bool:
        """Whether it does nothing but give its only child another name."""
        return self.single and self.size == 1 and self.shape[0] == 0

    @cached_property
    def splices(self) -> bool:
        return self.origin.startswith(":_")


@dataclass(frozen=True)
class Table:
    """`states[s][token]` is a state to go to (0 or more) or, as `-1 - r`, a rule to reduce by."""

    start: int
    end: int
    rules: tuple[Rule, ...]
    states: tuple[dict[str, int], ...]
    punctuation: tuple[str, ...]
    words: dict[str, str]
    patterns: dict[str, str]
    _chains: dict[tuple[int, int, str], int] = field(default_factory=dict, compare=False, repr=False)

    def hand_on(self, below: int, top: int, token: str) -> int:
        """Return the state in place of `top` after all rules that only hand its value on, before `token`."""
        key = (below, top, token)
        state = self._chains.get(key)
        if state is None:
            state = top
            while (action := self.states[state].get(token, 0)) < 0:
                rule = self.rules[-1 - action]
                if not rule.hands_on:
                    break
                state = self.states[below][rule.origin]
            self._chains[key] = state
        return state

    def accepts(self, stack: list[int], token: str) -> bool:
        """Return whether a token can come next when the automaton stands as `stack` says."""
        stack = list(stack)
        while True:
            action = self.states[stack[-1]].get(token)
            if action is None:
                return False
            if action >= 0:
                return True
            rule = self.rules[-1 - action]
            if rule.size:
                del stack[-rule.size :]
            goto = self.states[stack[-1]].get(rule.origin)
            if goto is None:
                return False
            stack.append(goto)
            if token == "$END" and stack[-1] == self.end:
                return True


def from_json(text: str) -> Table:
    """Read what `generate` wrote."""
    data = json.loads(text)
    return Table(
        data["start"],
        data["end"],
        tuple(Rule(r[0], r[1], r[2], tuple(r[3]), r[4]) for r in data["rules"]),
        tuple(data["states"]),
        tuple(data["punctuation"]),
        data["words"],
        data["patterns"],
    )


@cache
def table() -> Table:
    """Return the table of the grammar that this installation carries."""
    return from_json((resources.grammar() / "arec.json").read_text(encoding="utf-8"))
