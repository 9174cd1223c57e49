"""Misspelt words inside a statement: `ovre t`, `[lik t]`, `8 iin {4, 8}`.

Promises: a word is called misspelt only where the statement reads once it is spelt right.
"""

from __future__ import annotations

from specc.report import Fix
from specc.report.suggest import distance
from specc.syntax.recover import end_of_statement, reads
from specc.syntax.table import is_token
from specc.syntax.told import Seen, Told


def misspelt_word(seen: Seen, able: set[str]) -> Told | None:
    """Return the word that does not fit, or the one before it, as a misspelt keyword of this place."""
    goal = _near(seen, end_of_statement(seen.tokens, seen.index, seen.place))
    places = [(seen.index, seen.states)]
    if seen.prior is not None and seen.before.kind == "NAME" and seen.index - 1 > seen.place.first:
        places.insert(0, (seen.index - 1, seen.prior))
    for index, states in places:
        word = seen.tokens[index]
        if word.kind != "NAME" or len(word.text) < 3 or word.text in seen.table.words:
            continue
        row = seen.table.states[states[-1]]
        known = [text for text, kind in seen.table.words.items() if is_token(kind) and kind in row]
        near = sorted(
            (slips, text) for text in known if (slips := distance(word.text.lower(), text)) <= _most(text)
        )
        for slips, text in near:
            if reads(seen.table, states, seen.tokens, index + 1, goal, (), seen.table.words[text]):
                span = seen.span(word)
                sure = slips == 1 or word.text.lower() == text
                return Told("E0103", f"unexpected `{word.text}`", span, f"did you mean `{text}`?",
                            "a misspelt word is never passed over", "unknown here",
                            Fix(span, text, f"write `{text}`") if sure else None, (index, text))  # fmt: skip
    return None


def _near(seen: Seen, end: int) -> int:
    """Return how far a word is tried: to where a bracket opens or closes behind it, or the
    statement ends."""
    for at in range(seen.index + 1, end):
        if seen.tokens[at].kind in ("{", ")", "]", "}"):
            return at
    return end


def _most(text: str) -> int:
    return 1 if len(text) < 5 else 2
