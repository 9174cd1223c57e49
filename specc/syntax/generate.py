"""Builds `grammar/arec.json`, the parse table, from `grammar/arec.lark`.

Run as `python -m specc.syntax.generate` after changing it. Promises: the same text for the same inputs
(states are numbered from the start, tokens in order), so that a test can say whether the file is current.
Only this module needs Lark.
"""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any

from lark import Lark
from lark.parsers.lalr_analysis import Shift

from specc import resources
from specc.syntax.table import ABSENT, SPLICE

_RULE = ":"  # before the name of a rule: `layer` is a keyword, `:layer` a rule
_WORD = re.compile(r"[a-z_]+$")
_WORDS = re.compile(r"\(\?:([a-z_|]+)\)$")


def load(grammar: str) -> Lark:
    """Return the grammar in Lark's hands; strict, so that a conflict is an error."""
    return Lark(grammar, parser="lalr", strict=True, maybe_placeholders=True)


def _terminals(lark: Lark) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return names of Lark's terminals in the table; words with their terminals; patterns of the others."""
    names: dict[str, str] = {"$END": "$END"}
    words: dict[str, str] = {}
    patterns: dict[str, str] = {}
    for terminal in lark.terminals:
        value = terminal.pattern.value
        if terminal.pattern.type == "str":
            names[terminal.name] = value
            if _WORD.match(value):
                words[value] = value
            continue
        names[terminal.name] = terminal.name
        if alternatives := _WORDS.match(value):
            words.update(dict.fromkeys(alternatives[1].split("|"), terminal.name))
        else:
            patterns[terminal.name] = value
    return names, words, patterns


def _rule(rule: Any) -> list[Any]:
    """Return one rule as the table stores it: origin, action, size, shape, single."""
    shape: list[int] = []
    empties = rule.options.empty_indices if rule.options.empty_indices else ()
    symbols = iter(enumerate(rule.expansion))
    # Lark marks where an absent optional stood: True for an absent one, False for each symbol present.
    for absent in empties or [False] * len(rule.expansion):
        if absent:
            shape.append(ABSENT)
            continue
        index, symbol = next(symbols)
        if symbol.is_term:
            if rule.options.keep_all_tokens or not symbol.filter_out:
                shape.append(index)
        else:
            shape.append(index + SPLICE if symbol.name.startswith("_") else index)
    origin = str(rule.origin.name)
    action = str(rule.alias) if rule.alias else origin
    return [_RULE + origin, action, len(rule.expansion), shape, bool(rule.options.expand1) and not rule.alias]


def build(grammar: str) -> dict[str, Any]:
    """Return the table as JSON data."""
    lark = load(grammar)
    names, words, patterns = _terminals(lark)
    parse_table = lark.parser.parser._parse_table
    # Lark's own order of rules and states differs from run to run.
    rules = sorted(lark.rules, key=lambda r: (r.origin.name, [s.name for s in r.expansion], str(r.alias)))
    numbers = {rule: number for number, rule in enumerate(rules)}
    start = parse_table.start_states["start"]
    order = {start: 0}
    queue = deque([start])
    while queue:
        actions = parse_table.states[queue.popleft()]
        for symbol in sorted(actions):
            action, target = actions[symbol]
            if action is Shift and target not in order:
                order[target] = len(order)
                queue.append(target)
    states: list[dict[str, int]] = []
    for state in order:
        row = {}
        for symbol, (action, target) in parse_table.states[state].items():
            row[names.get(symbol) or _RULE + symbol] = (
                order[target] if action is Shift else -1 - numbers[target]
            )
        states.append(dict(sorted(row.items())))
    literals = {names[t.name] for t in lark.terminals if t.pattern.type == "str"} - set(words)
    return {
        "start": 0,
        "end": order[parse_table.end_states["start"]],
        "rules": [_rule(rule) for rule in rules],
        "states": states,
        "punctuation": sorted(literals, key=lambda text: (-len(text), text)),
        "words": dict(sorted(words.items())),
        "patterns": patterns,
    }


def render(data: dict[str, Any]) -> str:
    """Return the JSON text, one rule or state a line, so that a change of the grammar reads as one."""
    parts = []
    for key, value in data.items():
        if key in ("rules", "states"):
            rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value)
            parts.append(f'"{key}": [\n{rows}\n]')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    return "{" + ",\n".join(parts) + "}\n"


def generate() -> str:
    """Return the whole text of `arec.json` from the grammar beside it."""
    folder = resources.grammar()
    data = build((folder / "arec.lark").read_text(encoding="utf-8"))
    return render(data)


if __name__ == "__main__":
    (resources.grammar() / "arec.json").write_text(generate(), encoding="utf-8")
