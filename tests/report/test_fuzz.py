"""Specs broken at random: the answer is diagnostics or a model, whatever stands in a file, and at once.

Fast as it is; `AREC_FUZZ=5000` breaks that many specs (and `AREC_FUZZ_SEED` starts elsewhere).
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from specc import resources
from specc.driver import check_source, load_source
from specc.ir.graph import Graph
from specc.report import Report, Severity
from specc.report.codes import CODES
from specc.report.render import render
from specc.source import Source
from specc.syntax import tree
from specc.syntax.lexer import Token, lex
from specc.syntax.parse import parse

COUNT = int(os.environ.get("AREC_FUZZ", "60"))
SEED = int(os.environ.get("AREC_FUZZ_SEED", "1"))
ACCEPTED = max(2, COUNT // 30)  # of those that are still sound, how many are compiled
# Seconds of the processor: a library with five faults, for which 22 fixes are tried, takes 2.4.
SLOWEST = 4.0
SHIPPED = sorted(resources.specs().rglob("*.arec"))

Edit = Callable[[str, list[Token], random.Random], str]


def _span(text: str, token: Token, instead: str) -> str:
    return text[: token.start] + instead + text[token.stop :]


def delete(text: str, tokens: list[Token], chance: random.Random) -> str:
    return _span(text, chance.choice(tokens), "")


def double(text: str, tokens: list[Token], chance: random.Random) -> str:
    token = chance.choice(tokens)
    return _span(text, token, f"{token.text} {token.text}")


def swap(text: str, tokens: list[Token], chance: random.Random) -> str:
    index = chance.randrange(len(tokens) - 1)
    first, second = tokens[index], tokens[index + 1]
    between = text[first.stop : second.start]
    return text[: first.start] + second.text + between + first.text + text[second.stop :]


def rename(text: str, tokens: list[Token], chance: random.Random) -> str:
    """A name becomes another name of the file, or is misspelt."""
    names = [t for t in tokens if t.kind == "NAME"]
    token = chance.choice(names)
    other = chance.choice(names).text if chance.random() < 0.5 else token.text[:-1] + "q"
    return _span(text, token, other)


def renumber(text: str, tokens: list[Token], chance: random.Random) -> str:
    """A width, bound or share becomes another number."""
    numbers = [t for t in tokens if t.kind == "NUMBER"]
    if not numbers:
        return delete(text, tokens, chance)
    other = chance.choice(["0", "1", "2", "3", "7", "64", "0.5", "1e9", "999999999999999999999", "1e400"])
    return _span(text, chance.choice(numbers), other)


def resize(text: str, tokens: list[Token], chance: random.Random) -> str:
    """An axis or width in brackets becomes another: `[t, d]` to `[d]`, `[t, t, d]`, `[s, d]`."""
    opening = [i for i, t in enumerate(tokens) if t.kind == "["]
    if not opening:
        return delete(text, tokens, chance)
    index = chance.choice(opening) + 1
    token = tokens[index]
    return _span(text, token, chance.choice(["", "s", "t, t", f"s, {token.text}", "2 * d", "0"]))


def operate(text: str, tokens: list[Token], chance: random.Random) -> str:
    signs = [t for t in tokens if t.kind in ("+", "*", "-", "/", "|>", "==", "=", "<=", ",", ":")]
    return _span(text, chance.choice(signs), chance.choice(["+", "*", "/", "%", "^", "|>", "==", "=", ","]))


def scramble(text: str, tokens: list[Token], chance: random.Random) -> str:
    at = chance.randrange(len(text))
    stop = min(len(text), at + chance.choice([0, 1, 3, 40]))
    return (
        text[:at]
        + chance.choice(["\x00", "é", "\t", "“", "{{{", ")))", '"', "#", "\r", "|", ""])
        + text[stop:]
    )


def lose_line(text: str, tokens: list[Token], chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return "".join(lines)


EDITS: tuple[Edit, ...] = (
    delete, double, swap, rename, rename, renumber, resize, operate, scramble, lose_line
)  # fmt: skip


def broken(count: int, seed: int) -> Iterator[tuple[int, Path, str]]:
    for number in range(count):
        chance = random.Random(seed * 1_000_003 + number)
        path = chance.choice(SHIPPED)
        text = path.read_text(encoding="utf-8")
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            tokens = lex(Source("fuzz", text), Report()).tokens
            if len(tokens) > 1:
                text = chance.choice(EDITS)(text, tokens, chance)
        yield number, path, text


def examine(path: Path, text: str, name: str = "fuzz.arec") -> Report:
    """Check a text and hold the answer to what is promised of every answer."""
    report = Report()
    source = Source(name, text)
    start = time.process_time()
    check_source(source, path.parent, {}, report)
    spent = time.process_time() - start
    assert spent < SLOWEST, f"{spent:.2f} s"
    for d in report:
        assert d.code in CODES, d.code
        assert d.message
        for span in (d.span, *(label.span for label in d.secondary)):
            assert 0 <= span.start <= span.stop <= len(span.source.text)
    shown = render(report)
    assert shown.count("\n") < 60 * (len(report) + 1)
    return report


def test_whatever_is_broken_is_answered() -> None:
    faulty = 0
    for number, path, text in broken(COUNT, SEED):
        try:
            report = examine(path, text)
        except BaseException as fault:
            pytest.fail(
                f"case {number} of seed {SEED}, from {path.name}: {type(fault).__name__}: {fault}\n{text}"
            )
        faulty += any(d.severity is Severity.ERROR for d in report)
    assert faulty > COUNT / 3


# ------------------------------------------------------------------ accepted


def least(text: str) -> dict[str, object]:
    """Of each whole-number param with choices the least, so that what is accepted is small."""
    params: dict[str, object] = {}
    for item in parse(Source("fuzz", text), Report()).body:
        if isinstance(item, tree.Param) and isinstance(item.domain, tree.Choices):
            numbers = [v.value for v in item.domain.items if isinstance(v, tree.Number)]
            if numbers and isinstance(item.default, tree.Number):
                params[item.ident.name] = min(numbers)
    return params


def accepted(path: Path, text: str) -> Graph | None:
    """The graph of a text that is sound, and small enough to be evaluated one example after another."""
    for params in (least(text), {}):
        report = Report()
        graph = load_source(Source("fuzz.arec", text), path.parent, params, report)
        if graph is not None:
            break
    if graph is None or any(axis.bound > 200 for n in graph.nodes for axis in n.type.axes):
        return None
    size = sum(math.prod(w.shape) for w in graph.weights.values() if w.kind != "table")
    return graph if size < 200_000 else None


def test_what_is_accepted_means_something() -> None:
    """A broken spec that is still sound compiles to what the definition of the language says it means."""
    from specc.ir.verify import verify
    from specc.testing.batches import random_batch
    from specc.testing.laws import LAWS, Case
    from specc.testing.subject import Subject

    met = 0
    for number, path, text in broken(COUNT, SEED + 1):
        graph = accepted(path, text)
        if graph is None:
            continue
        met += 1
        if met > ACCEPTED:
            break
        try:
            verify(graph)
            subject = Subject.of(graph, number)
            case = Case(
                subject,
                random_batch(subject.manifest, 2, number, empty=0.25),
                random_batch(subject.manifest, 2, number, empty=0.25, candidates=True),
            )
            for law in ("interpret", "gradient"):
                check = LAWS[law].of_case
                assert check is not None
                broken_law = check(case)
                assert broken_law is None, f"{law}: {broken_law}"
        except BaseException as fault:
            pytest.fail(
                f"case {number} of seed {SEED + 1}, from {path.name}: {type(fault).__name__}: {fault}\n{text}"
            )
