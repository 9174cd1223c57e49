"""What `--fix` does is a law: a fix removes its fault, adds none, changes nothing else, and never gives a
sound spec that means something else than every repair of one token would.

Held over the faulty specs of `tests/bad`, and over mutants of the shipped specs: one token of a sound spec
deleted, doubled, exchanged with its neighbour, misspelt, or replaced. `AREC_LONG=1` tries 20,000 mutants, in
parts that workers share (`pytest -n 2`); `AREC_FIX_SHARD=2/5` tries the second fifth of them. `pytest -rP`
shows the figures of each part.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

import pytest

from specc import resources
from specc.driver import check_source, load_source
from specc.ir.graph import Graph
from specc.remedy import applied, meaning
from specc.report import Diagnostic, Fix, Report, Severity
from specc.source import Source
from specc.syntax.lexer import Token, lex

BAD = Path(__file__).parents[1] / "bad"
SHIPPED = resources.specs()
FAULTY = sorted(path for path in BAD.glob("*.arec") if not path.name.startswith("_"))
SOUND = [SHIPPED / f"{name}.arec" for name in ("afm", "din", "dien", "bst", "dsin", "dstn", "fm")]
COUNT = 20_000 if os.environ.get("AREC_LONG") else 60
SEED = int(os.environ.get("AREC_FIX_SEED", "1"))
SHARD, SHARDS = map(int, os.environ.get("AREC_FIX_SHARD", "1/1").split("/"))
PARTS = 200 if COUNT > 1000 else 20


def said(text: str, folder: Path) -> Report:
    report = Report()
    check_source(Source("x.arec", text), folder, {}, report)
    return report


def graph_of(text: str, folder: Path) -> Graph | None:
    report = Report()
    graph = load_source(Source("x.arec", text), folder, {}, report)
    return None if report.has_errors else graph


def moved(diagnostic: Diagnostic, fix: Fix) -> tuple[str, str, int]:
    """A diagnostic of the mended text, at the place that it had before."""
    grown = len(fix.text) - (fix.span.stop - fix.span.start)
    start = diagnostic.span.start
    inside = diagnostic.span.source.name == "x.arec" and start >= fix.span.stop + grown
    return diagnostic.code, diagnostic.message, start - grown if inside else start


def breaks(text: str, before: Report, folder: Path) -> Iterator[str]:
    """How the law is broken by a text's fixes. before: what is said of it."""
    for diagnostic in before:
        fix = diagnostic.fix
        if fix is None:
            continue
        mended = applied(text, [fix])
        if mended[: fix.span.start] != text[: fix.span.start] or not mended.endswith(text[fix.span.stop :]):
            yield f"{fix} changes more than its place"
        after = said(mended, folder)
        sound = not after.has_errors
        left = Counter((d.code, d.message, d.span.start) for d in before if d is not diagnostic)
        for other in after:
            if sound and other.severity is Severity.WARNING:
                continue  # lints are given for sound specs only
            key = moved(other, fix)
            if not left[key]:
                yield f"{fix.title} at {fix.span} of {diagnostic.message!r}: then {other.message}"
                break
            left[key] -= 1


# ------------------------------------------------------------------- faulty specs


@pytest.mark.parametrize("path", FAULTY, ids=lambda path: path.stem)
def test_fixes_of_faulty_specs_keep_the_law(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not list(breaks(text, said(text, BAD), BAD))


# ------------------------------------------------------------------------ mutants


@cache
def tokens_of(path: Path) -> tuple[str, list[Token]]:
    text = path.read_text(encoding="utf-8")
    return text, lex(Source(path.name, text), Report()).tokens


def mutant(text: str, tokens: list[Token], chance: random.Random) -> str:
    """A text with one token deleted, doubled, exchanged, misspelt or replaced by another of the text."""
    index = chance.randrange(len(tokens) - 1)
    token, after = tokens[index], tokens[index + 1]
    match chance.randrange(6):
        case 0:
            return text[: token.start] + text[token.stop :]
        case 1:
            return text[: token.stop] + " " + token.text + text[token.stop :]
        case 2:
            between = text[token.stop : after.start]
            return text[: token.start] + after.text + between + token.text + text[after.stop :]
        case 3 | 4 if token.kind == "NAME" and len(token.text) > 1:
            return text[: token.start] + misspelt(token.text, chance) + text[token.stop :]
        case _:
            return text[: token.start] + chance.choice(tokens).text + text[token.stop :]


def misspelt(word: str, chance: random.Random) -> str:
    """A word with two letters exchanged, or one left out, doubled or replaced."""
    at = chance.randrange(len(word) - 1)
    head, rest = word[:at], word[at + 1 :]
    slips = [head + rest[0] + word[at] + rest[1:], head + rest, head + word[at] * 2 + rest,
             head + chance.choice("aeiourst") + rest]  # fmt: skip
    return chance.choice(slips)


@lru_cache(maxsize=32)
def meant(text: str, folder: Path) -> object | None:
    graph = graph_of(text, folder)
    return None if graph is None else meaning(graph)


def case(number: int) -> tuple[str, str]:
    """A mutant by its number, and the spec that it was made of."""
    chance = random.Random(f"{SEED}:{number}")
    text, tokens = tokens_of(chance.choice(SOUND))
    return mutant(text, tokens, chance), text


@pytest.mark.parametrize("part", range(PARTS)[SHARD - 1 :: SHARDS])
def test_fixes_of_mutants_keep_the_law(part: int) -> None:
    numbers = range(part * COUNT // PARTS, (part + 1) * COUNT // PARTS)
    broken: list[str] = []
    faulty = fixes = 0
    for number in numbers:
        text, original = case(number)
        report = said(text, SHIPPED)
        faulty += report.has_errors
        fixes += sum(d.fix is not None for d in report)
        broken += [f"mutant {number}: {why}" for why in breaks(text, report, SHIPPED)]
        broken += [f"mutant {number}: {why}" for why in other_meanings(text, report, original)]
    print(f"{len(numbers)} mutants, {faulty} of them faulty, {fixes} fixes, {len(broken)} break the law")
    assert not broken, "\n".join(broken[:20])


def other_meanings(text: str, report: Report, original: str) -> Iterator[str]:
    """Fixes that give a sound spec which means neither what it was made of, nor what one more token means.

    Every fix is itself a repair of one place; where it is of one token it means what that repair means. So
    only those of more than one token are compared with the spec that the mutant was made of.
    """
    fixes = [d.fix for d in report if d.fix is not None]
    if len(fixes) != 1 or sum(d.severity is Severity.ERROR for d in report) != 1:
        return
    fix = fixes[0]
    if tokens_in(fix.text) + tokens_in(fix.span.text) <= 2:
        return
    found = meant(applied(text, fixes), SHIPPED)
    if found is not None and found != meant(original, SHIPPED):
        yield f"{fix.title} at {fix.span} means something else"


def tokens_in(text: str) -> int:
    return len(lex(Source("x", text), Report()).tokens)
