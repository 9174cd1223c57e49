"""The grammar for editors knows every keyword, and never loses its way in a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specc import resources
from specc.syntax.table import table

GRAMMAR = json.loads((resources.grammar() / "arec.tmLanguage.json").read_text(encoding="utf-8"))
SHIPPED = sorted(resources.specs().rglob("*.arec"))


def rules(patterns: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for pattern in patterns:
        if "include" in pattern:
            yield from rules([GRAMMAR["repository"][pattern["include"].removeprefix("#")]])
        elif "patterns" in pattern:
            yield from rules(pattern["patterns"])
        else:
            yield pattern


RULES = [(re.compile(rule["match"]), rule) for rule in rules(GRAMMAR["patterns"])]


def scopes(line: str) -> list[tuple[str, str]]:
    """The parts of a line that have a scope, the way an editor finds them: the first match from the left."""
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(line):
        matches = [
            (m.start(), i, m, rule) for i, (p, rule) in enumerate(RULES) if (m := p.search(line, place))
        ]
        if not matches:
            break
        _, _, match, rule = min(matches, key=lambda item: item[:2])
        assert match.end() > match.start()
        if "name" in rule:
            found.append((match[0].strip(), rule["name"]))
        for group, capture in rule.get("captures", {}).items():
            if match[int(group)]:
                found.append((match[int(group)], capture["name"]))
        place = match.end()
    return found


def test_every_keyword_has_a_scope() -> None:
    for word in table().words:
        line = f"{word} name " if word not in ("in", "on", "to") else f"x {word} y"
        if table().words[word] == "UNIT":
            line = f"every = 2 {word})"
        assert any((text == word and "keyword" in scope) or text in ("true", "false")
                   for text, scope in scopes(line)), word  # fmt: skip


def test_what_a_line_is_made_of() -> None:
    assert scopes('  weight = softmax(x, over s where s <= t)  # eq. "3"') == [
        ("weight", "variable.other.arec"),
        ("=", "keyword.operator.arec"),
        ("softmax", "entity.name.function.call.arec"),
        ("over", "keyword.other.axis.arec"),
        ("s", "variable.parameter.axis.arec"),
        ("where", "keyword.control.arec"),
        ("<=", "keyword.operator.arec"),
        ('# eq. "3"', "comment.line.number-sign.arec"),
    ]
    assert scopes("param dim = 1_000 in {4, 1e-3}")[:4] == [
        ("param", "keyword.declaration.arec"),
        ("dim", "entity.name.type.arec"),
        ("=", "keyword.operator.arec"),
        ("1_000", "constant.numeric.arec"),
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_comments_and_texts_of_shipped_specs(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            assert all("comment" in scope for _, scope in scopes(line)), line
