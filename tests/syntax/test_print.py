"""The formatter: one form, nothing lost, nothing moved away from what it belongs to."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specc import resources
from specc.report import Report
from specc.source import Source
from specc.syntax import tree
from specc.syntax.parse import parse
from specc.syntax.print import Unreadable, format_source, print_file, same
from tests.syntax.layouts import FILES, shaken

SHIPPED = sorted(resources.specs().rglob("*.arec"))
SEEDS = st.integers(0, 10**6)


def read(text: str) -> tree.File:
    report = Report()
    file = parse(Source("<test>", text), report)
    assert not report.has_errors, list(report)
    return file


def comments(text: str) -> list[str]:
    return [comment.text for comment in read(text).comments]


def formatted(body: str) -> str:
    """What a body becomes under a header."""
    return format_source(f"model m\n\n{body}\n").removeprefix("model m\n\n")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_specs_are_in_the_canonical_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_source(text) == text, f"run `specc fmt {path}`"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_layout_does_not_matter(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for seed in range(3):
        assert format_source(shaken(text, random.Random(seed))) == format_source(text)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHIPPED), SEEDS)
def test_comments_anywhere_stay_and_formatting_again_changes_nothing(path: Path, seed: int) -> None:
    text = path.read_text(encoding="utf-8")
    noisy = shaken(text, random.Random(seed), comments=12)
    once = format_source(noisy)
    assert same(read(once), read(text))
    assert sorted(comments(once)) == sorted(comments(noisy))
    assert format_source(once) == once


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES)
def test_a_printed_tree_reads_as_the_same_tree(file: tree.File) -> None:
    text = print_file(file)
    again = read(text)
    assert same(again, file)
    assert docs(again) == docs(file)
    assert max(map(len, text.splitlines())) < 2_000
    assert format_source(text) == format_source(format_source(text))


def docs(file: tree.File) -> list[str | None]:
    def of(items: tuple[object, ...]) -> list[str | None]:
        found: list[str | None] = []
        for item in items:
            if isinstance(item, tree.Statement):
                found += [item.doc, *of(getattr(item, "body", ()))]
        return found

    return [file.doc, *of(file.body)]


def test_a_tree_keeps_its_docs() -> None:
    text = (
        "# What it is.\n#\n#   More.\nmodel m\n\n"
        "# A size.\nparam dim = 8\n\n# Rows.\ntable items = ids(9, dim)\n"
    )
    assert print_file(read(text)) == text


# ------------------------------------------------------------------- the form


def test_the_page_s_alignment() -> None:
    assert formatted(
        "param dim = 16 in {4, 8}\nparam sizes = [200, 80]\nparam dropout = 0.0 in 0.0 .. 0.5"
    ) == (
        "param dim     = 16        in {4, 8}\n"
        "param sizes   = [200, 80]\n"
        "param dropout = 0.0       in 0.0 .. 0.5\n"
    )
    assert formatted('device host="cpu"\ndevice dense="auto" # fast\nplace rest on dense') == (
        'device host  = "cpu"\ndevice dense = "auto"  # fast\nplace rest on dense\n'
    )


def test_blank_lines_comments_and_other_kinds_part_what_is_aligned() -> None:
    text = "a = x\n\nlong_name = x\n# eq. 3\nb = x\nlayer tower = relu\nlong = x\n"
    assert formatted(text) == text


def test_a_name_much_longer_than_its_neighbours_stands_apart() -> None:
    text = "a  = x\nbc = x\nan_exceedingly_long_name = x\nd  = x\n"
    assert formatted(text) == text.replace("d  =", "d =")


def test_what_would_become_too_long_is_not_aligned() -> None:
    long = "concat(" + ", ".join(["interest"] * 8) + ", tail)"
    assert len(f"x = {long}") <= 100 < len(f"a_long_name = {long}") + 10
    wide = "x = " + long + "\n"
    assert formatted(wide) == wide


def test_long_calls_stand_one_argument_a_line() -> None:
    wide = ", ".join(f"something_long_{i}" for i in range(8))
    assert formatted(f"x = concat({wide})") == (
        "x = concat(\n" + "".join(f"  something_long_{i},\n" for i in range(8)) + ")\n"
    )


def test_long_pipes_stand_one_stage_a_line() -> None:
    short = "predict click: binary = joined |> mlp(sizes) |> linear(1)\n"
    assert formatted(short) == short
    assert formatted(
        "predict click: binary = joined |> mlp(sizes, act = dice, dropout = dropout) |> linear(1)"
    ) == ("predict click: binary = joined\n  |> mlp(sizes, act = dice, dropout = dropout)\n  |> linear(1)\n")


def test_long_sums_and_choices_get_brackets() -> None:
    terms = [f"a_term_with_a_long_name_{i}" for i in range(5)]
    assert formatted("x = " + " + ".join(terms)) == (
        f"x = (\n  {terms[0]}\n" + "".join(f"  + {term}\n" for term in terms[1:]) + ")\n"
    )
    call = "concat(" + ", ".join(["gate"] * 9) + ")"
    assert formatted(f"x = if kind == a then {call} else if kind == b then {call} else {call}") == (
        f"x = (\n  if kind == a then {call}\n  else if kind == b then {call}\n  else {call}\n)\n"
    )


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("(a + b) + c", "a + b + c"),
        ("a + (b + c)", "a + (b + c)"),
        ("(a * b) + (c / d)", "a * b + c / d"),
        ("(2 * dim) % heads", "(2 * dim) % heads"),
        ("2 * dim % heads", "(2 * dim) % heads"),
        ("a - (b - c)", "a - (b - c)"),
        ("-(a ^ 2)", "-a ^ 2"),
        ("(-a) ^ 2", "(-a) ^ 2"),
        ("--a", "-(-a)"),
        ("a ^ (b ^ c)", "a ^ b ^ c"),
        ("(a ^ b) ^ c", "(a ^ b) ^ c"),
        ("a + b |> relu", "(a + b) |> relu"),
        ("weight * (x |> linear(1))", "weight * (x |> linear(1))"),
        ("f((x |> g))", "f(x |> g)"),
        ("if a then b else c |> f", "(if a then b else c) |> f"),
        ("if a then b else (c |> f)", "if a then b else (c |> f)"),
        ("not (a == b)", "not a == b"),
        ("(a or b) and c", "(a or b) and c"),
        ('"a \\"quoted\\" \\\\ text"', '"a \\"quoted\\" \\\\ text"'),
        ("1_000_000", "1_000_000"),
    ],
)
def test_brackets_that_are_needed_or_help(written: str, shown: str) -> None:
    assert formatted(f"x = {written}") == f"x = {shown}\n"


def test_fields_stand_on_one_line_unless_they_are_too_long_or_have_comments() -> None:
    assert formatted('space ad from candidate {\n  item: items\n  price: number(log1p) from "cost"\n}') == (
        'space ad from candidate { item: items, price: number(log1p) from "cost" }\n'
    )
    assert formatted("space ad from candidate { item: items, # sold\nprice: number }") == (
        "space ad from candidate {\n  item: items  # sold\n  price: number\n}\n"
    )


def test_comments_stay_where_they_belong() -> None:
    text = """\
# The paper, with a link.
edition 1
# About this model.
model m  # named so

# Apart from everything.

# Doc of the block.
attention unit(
  query[d], key[t, d];  # eq. 1
  heads = 8,
) -> [d] {  # eq. 2
  # The score.
  score  = dot(query, key)  # [t, 1]
  weight = softmax(score, over t)

  return sum(
    # over all behaviours
    weight * key,
    over t,  # the history
    # and nothing else
  )
  # nothing below
}

space user from request {
  # who
  id: ids(9, 4)  # a number

  age: bucket([18, 25], 4)
  # to come: country
}

predict click: binary = user  # everything
  # the tower
  |> mlp([8])  # ReLU
  |> linear(1)

place user on host  # rows
# The end.
"""
    assert format_source(text) == text


def test_blank_lines() -> None:
    assert format_source(
        "\n\nmodel m\na = 1\n\n\n\nb = 2\nblock f(x[d]) -> [d] {\n\nreturn x\n\n}\nc = 3\n\n"
    ) == ("model m\n\na = 1\n\nb = 2\n\nblock f(x[d]) -> [d] {\n  return x\n}\n\nc = 3\n")


def test_line_ends_and_tabs_of_other_editors() -> None:
    assert format_source("\ufeffmodel m\r\n\r\n\ta\t= x\r\n") == "model m\n\na = x\n"


# ----------------------------------------------------------------- limits


def test_what_cannot_be_read_is_refused_with_its_faults() -> None:
    with pytest.raises(Unreadable) as refused:
        format_source("model m\n\nparam = 3\n")
    assert refused.value.report.has_errors


@pytest.mark.parametrize(
    "value",
    [
        "(" * 600 + "x" + ")" * 600,
        "-" * 300 + "x",
        " + ".join(["x"] * 2_000),
        "x" + " |> relu" * 2_000,
        "f(" * 400 + "x" + ")" * 400,
        "if a then b else " * 300 + "c",
    ],
    ids=["brackets", "signs", "sum", "pipe", "calls", "choices"],
)
def test_deep_and_long_expressions(value: str) -> None:
    once = formatted(f"x = {value}")
    assert formatted(once) == once


def test_a_result_among_several_is_broken_within_brackets() -> None:
    """A statement goes on behind a comma, but not before `else`."""
    chosen = "if a() then (if a then a else a_rather_long_name_of_something) else if [] then 0 else gate"
    written = format_source(f"model a\n\nblock b() -> [1], [1] {{\n  return a, ({chosen})\n}}\n")
    assert "return a, (\n" in written
    assert format_source(written) == written
