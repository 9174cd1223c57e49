"""Laws of the parser: the table is the grammar's, what is whole is read, and one fault is one fault."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from specc import resources
from specc.report import Report
from specc.report.render import render
from specc.source import Source
from specc.syntax import generate, tree
from specc.syntax.lexer import Token, lex
from specc.syntax.parse import parse

SHIPPED = sorted(resources.specs().rglob("*.arec"))
DELETIONS = int(os.environ.get("AREC_DELETIONS", "20"))  # of each file


def test_the_table_is_the_grammars() -> None:
    """`python -m specc.syntax.generate` after a change of the grammar. Lark is strict: no conflicts."""
    assert (resources.grammar() / "arec.json").read_text(encoding="utf-8") == generate.generate()


def read(text: str) -> tuple[tree.File, Report]:
    report = Report()
    return parse(Source("x.arec", text), report), report


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_shipped_is_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    file, report = read(text)
    assert not len(report), render(report)
    assert [item.span.text for item in file.body] == [text[i.span.start : i.span.stop] for i in file.body]


def statement_at(file: tree.File, token: Token) -> int | None:
    """The index of the outermost statement that a token is in; None for the first line's."""
    for index, item in enumerate(file.body):
        if item.span.start <= token.start < item.span.stop:
            return index
    return None


def without(text: str, token: Token) -> str:
    """The text as someone leaves it who deletes a token."""
    rest = text[token.stop :]
    return text[: token.start] + (rest if rest.startswith("\n") else rest.lstrip(" "))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_one_token_less_is_one_fault_at_most(path: Path) -> None:
    """And every other statement is read as if nothing had been."""
    text = path.read_text(encoding="utf-8")
    whole, _ = read(text)
    tokens = lex(Source("x.arec", text), Report()).tokens
    chance = random.Random(path.stem)
    for token in chance.sample(tokens, min(DELETIONS, len(tokens))):
        file, report = read(without(text, token))
        place = f"{path.name}:{Source('', text).position(token.start)} without `{token.text}`"
        assert len(report) <= 1, f"{place}\n{render(report)}"
        if not len(report):
            continue  # what is left is another spec, and whole
        hit = statement_at(whole, token)
        others = [item for index, item in enumerate(whole.body) if index != hit]
        kept = list(file.body)
        missing = [item for item in others if item not in kept]
        assert not missing, f"{place}: lost `{missing[0].span.text[:60]}`\n{render(report)}"


def test_five_mistakes_are_five_faults() -> None:
    file, report = read(
        "model shop\n"
        "param dim == 8\n"
        "table items = vocab(1_000 dim)\n"
        "space ad from candidate { item items }\n"
        "good = ad\n"
        "pooled = mean(history, over t\n"
        "predict click binary = pooled\n"
        "predict buy: binary = good\n"
    )
    assert [d.span.line for d in report] == [2, 3, 4, 6, 7]
    assert [type(item) for item in file.body] == [tree.Binding, tree.Predict]


def test_comments_and_docs_are_kept() -> None:
    file, report = read(
        "# what it is\nmodel shop  # the shop\n\n# about a\n# and more\na = 1\n\n"
        "# not about b\n\nb = a  # trailing\n"
    )
    assert not len(report)
    assert file.doc == "what it is"
    assert [item.doc for item in file.body] == ["about a\nand more", None]
    assert [c.text for c in file.comments if c.trailing] == ["# the shop", "# trailing"]


@pytest.mark.parametrize(
    "text",
    [
        "a = concat(\n  user,\n  ad\n)",
        "a = user\n  |> relu\n  |> linear(1)",
        "a = [\n1,\n2,\n]",
        "train {\n  batch = 1\n}",
    ],
)
def test_statements_go_on_inside_brackets_and_before_pipes(text: str) -> None:
    file, report = read(f"model shop\n{text}\nb = 1\n")
    assert not len(report), render(report)
    assert len(file.body) == 2


@pytest.mark.parametrize("word", ["over", "as", "by", "to", "from", "model", "binary", "rest", "backward"])
def test_words_are_keywords_only_where_they_could_be(word: str) -> None:
    _, report = read(f"model {word}\nspace s from request {{ {word}: vocab(1, 1) }}\n{word} = 2 * {word}\n")
    assert not len(report), render(report)
