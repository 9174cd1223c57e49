"""Choices looked at together say what each of them says alone."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc.driver import check
from specc.report import Report, Severity
from specc.types.many import Chosen, Variants
from specc.types.static import StaticFault, binary

OPS = ("+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=")
NUMBERS = st.one_of(st.integers(-6, 40), st.sampled_from([0.0, 0.5, 2.0, 1e300]))


def tree_of(depth: int) -> st.SearchStrategy[Any]:
    leaf = st.one_of(st.just("x"), st.just("y"), NUMBERS)
    if not depth:
        return leaf
    inner = tree_of(depth - 1)
    return st.one_of(leaf, st.tuples(st.sampled_from(OPS), inner, inner))


def computed(tree: Any, names: dict[str, Any]) -> Any:
    """What a tree comes to; "fault" where static arithmetic has no value for it."""
    if isinstance(tree, str):
        return names[tree]
    if not isinstance(tree, tuple):
        return tree
    op, left, right = tree
    try:
        return binary(op, computed(left, names), computed(right, names))
    except StaticFault:
        return "fault"


def lanes(value: Any, count: int) -> list[Any]:
    """A number's values, variant by variant, as questions show them."""
    return list(getattr(value, "_values", [value] * count))


@settings(max_examples=300, deadline=None)
@given(tree_of(3), st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=5))
def test_a_variant_not_told_apart_has_its_own_value(tree: Any, pairs: list[tuple[Any, Any]]) -> None:
    variants = Variants(len(pairs))
    many = {
        "x": variants.number([x for x, _ in pairs]),
        "y": variants.number([y for _, y in pairs]),
    }
    found = lanes(computed(tree, many), len(pairs))
    assert 0 not in variants.apart
    for index, (x, y) in enumerate(pairs):
        if index not in variants.apart:
            alone = computed(tree, {"x": x, "y": y})
            assert found[index] == alone
            assert type(found[index]) is type(alone)


@pytest.mark.parametrize(
    "question", [bool, int, str, repr, hash, float, range, operator.index, "{:g}".format]
)
def test_every_question_tells_apart(question: Any) -> None:
    variants = Variants(3)
    many = variants.number([4, 4, 0])
    assert question(many) == question(4)
    assert variants.apart == {2}


def test_a_number_where_not_chosen_is_its_default() -> None:
    variants = Variants(3)
    chosen = Chosen(variants, {1: 8})
    assert lanes(chosen.over(variants.number([1, 2, 3])), 3) == [1, 8, 3]


SPEC = """model m
param a = {a} in {{{choices}}}
param b = 2 in 1 .. {most}
param c = a * {factor} in 1 .. 100
require c <= {limit}
space user from request {{ id: vocab(100, {width}) }}
space past[t <= 10 * b] from request {{ item: vocab(100, a * 2) }}
block pick(x[t, d]; n) -> [{result}] {{
  h = x |> linear({inner})
  return {body}
}}
s = pick(past, {given})
z = {side}
predict click: binary = concat(user, s) |> mlp([c, 4], dropout = 0.0) |> linear(1)
"""


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """What is nearly always sound, so that one fault at a time is met."""
    return st.integers(0, 9).flatmap(lambda n: st.just(usual) if n < 7 else st.sampled_from(others))


@st.composite
def specs(draw: st.DrawFn) -> str:
    return SPEC.format(
        a=draw(st.sampled_from([4, 6])),
        choices=", ".join(map(str, draw(st.permutations([4, 6, 8, 3])))),
        most=draw(st.integers(2, 4)),
        factor=draw(st.integers(1, 3)),
        limit=draw(mostly(40, 8, 12)),
        width=draw(st.sampled_from(["a", "8", "a + b"])),
        result=draw(mostly("d", "6", "n")),
        inner=draw(mostly("d", "n", "4", "2 * n")),
        body=draw(st.sampled_from([
            "sum(h, over t)", "sum(h, over t) |> split(n, as k) |> join(k)", "sum(x * h, over t)",
            "if n > 4 then sum(h, over t) else last(x, over t)", "flatten(take(h, n, over t), over t)",
            "repeat(sum(x, over t), n, linear(width(x)))",
        ])),
        given=draw(mostly("a", "b", "c", "a / 2", "2")),
        side=draw(st.sampled_from(["user + s", "dot(user, s)", "user |> split(a, as j) |> join(j)", "s"])),
    )  # fmt: skip


def faults(report: Report) -> set[tuple[str, int]]:
    return {(d.code, d.span.start) for d in report if d.severity is Severity.ERROR}


@settings(max_examples=60, deadline=None)
@given(specs())
def test_choices_say_together_what_each_says_alone(text: str) -> None:
    # A look with every param fixed has no choices of others in it.
    names = ["a", "b", "c"]
    plain = check(text)
    own = {"a": int(text.split("param a = ")[1].split()[0]), "b": 2}
    own["c"] = own["a"] * int(text.split("param c = a * ")[1].split()[0])
    base = faults(check(text, **own))
    domains = {"a": [4, 6, 8, 3], "b": [1, int(text.split("1 .. ")[1].split()[0])], "c": [1, 100]}
    expected = set(base)
    for name in names:
        for value in domains[name]:
            params = {**own, name: value}
            if name == "a":  # c's default goes with it
                params["c"] = value * int(text.split("param c = a * ")[1].split()[0])
            alone = faults(check(text, **params))
            if not {code for code, _ in alone} & {"E0405", "E0406", "E0512"}:
                expected |= alone
    assert faults(plain) == expected, text


def test_a_choice_that_is_no_integer_is_told_where_one_is_counted_with() -> None:
    report = check("""model m
param n = 1 in {1, 2.5, 3}
space ad from candidate { item: vocab(50, 4) }
predict click: binary = ad |> repeat(n, linear(4)) |> linear(1)
""")
    assert [d.message for d in report] == ["`n` must be an integer from 1 to 1,000"]
