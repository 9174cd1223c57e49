"""Which axes are one: by name and size, by derivation, through calls; and that order never matters."""

from __future__ import annotations

import itertools

import pytest

from specc.driver import load_source
from specc.ir.graph import Graph
from specc.report import Report
from specc.source import Source

HEAD = """model shop
space user from request { id: vocab(50, 8) }
space ad from candidate { item: vocab(50, 8) }
space history[t <= 20] from request { item: vocab(50, 8), gap: number(none) }
"""


def elaborated(text: str, head: str = HEAD) -> tuple[Graph | None, list[tuple[str, int]]]:
    report = Report()
    graph = load_source(Source("shop.arec", head + text), None, {}, report)
    lines = head.count("\n")
    return graph, [(d.code, d.span.line - lines) for d in report if d.code.startswith("E")]


def type_of(text: str, name: str) -> str:
    graph, faults = elaborated(text)
    assert graph is not None, faults
    return str(graph.node(graph.bindings[name]).type)


STATEMENTS = (
    "learned w[k, 1]",
    "a = user.id |> split(4, as k)",
    "b = sum(a * w, over k)",
    "c = ad.item |> split(4, as k)",
    "u = tail(history.item, over t as step)",
    "learned place[step, 8]",
    "s = rename(u + place, step to other)",
    "x = sum(sum(rename(s, other to step) * u, over step))",
    "predict click: binary = concat(b, sum(c, over k), x, ad) |> linear(1)",
)


@pytest.mark.parametrize("turn", range(len(STATEMENTS)))
def test_the_order_of_statements_never_matters(turn: int) -> None:
    """Each statement first, and each order of the first few."""
    body = [*STATEMENTS[turn:], *STATEMENTS[:turn]]
    for first in itertools.permutations(body[:3]):
        _, faults = elaborated("\n".join([*first, *body[3:]]) + "\n")
        assert not faults


@pytest.mark.parametrize(
    "made",
    [
        "rename(history.item, t to s)",
        "(history.item |> rename(t to s))",
        "take(history.item, 3, over t as s)",
    ],
)
def test_an_axis_may_be_made_behind_what_reads_it_in_one_statement(made: str) -> None:
    body = f"x = sum(sin(index(s)) * {made}, over s)\npredict click: binary = concat(x, ad) |> linear(1)\n"
    block = (
        f"block f(x[t, d]) -> [d] {{\n  return sum(index(s) * {made}, over s)\n}}\n".replace(
            "history.item", "x"
        )
        + "predict click: binary = concat(f(history.item), ad) |> linear(1)\n"
    )
    for text in (body, block):
        _, faults = elaborated(text)
        assert not faults


@pytest.mark.parametrize("reverse", [False, True])
def test_an_axis_of_a_block_is_there_whatever_comes_first(reverse: bool) -> None:
    """What a block's `where` and `learned` name may be made further down, or in what it returns."""
    body = ["  learned kernel[k = 3, 1]", "  x = sum(history.item * kernel, over k where k <= t)"]
    body = body[::-1] if reverse else body
    made = (
        "block f(z[d]) -> [d] {\n  learned place[part, 1]\n"
        + "\n".join(body)
        + """
  return place * (z |> split(2, as part)) |> join(part) |> linear(d)
}
predict click: binary = concat(f(ad.item), user) |> linear(1)
"""
    )
    _, faults = elaborated(made)
    assert not faults


@pytest.mark.parametrize("reverse", [False, True])
def test_a_name_that_is_given_further_down_says_what_a_block_works_along(reverse: bool) -> None:
    """One axis goes by two names: a call finds it by either, whichever comes first."""
    block = "block f(x[few, d]) -> [d] {\n  return sum(x, over few)\n}\n"
    body = [
        "a = f(take(history.item, 2, over t as some) * user.id)",
        "b = take(history.item, 2, over t as few)",
    ]
    body[0] = body[0].replace("user.id", "split(user.id, 1, as slot)")
    rest = ["output o = sum(a, over slot)", "output q = sum(b, over few)"]
    text = block + "\n".join([*(body[::-1] if reverse else body), *rest]) + "\n"
    assert type_of(text, "a") == "[slot, 8]"


def test_what_two_calls_make_is_one_axis() -> None:
    block = "block f(x[d]) -> [part, 2] {\n  return x |> split(4, as part)\n}\n"
    assert type_of(f"{block}a = f(user.id) + f(ad.item)\noutput o = sum(a, over part)\n", "a") == "[part, 2]"
    two = "a = dot(f(user.id), f(ad.item, part to other))\n"
    assert type_of(f"{block}{two}output o = sum(sum(a, over part), over other)\n", "a") == "[part, other, 1]"


def test_a_caller_s_axis_never_meets_a_callee_s() -> None:
    block = (
        "block f(x[d]) -> [d] {\n  part = x |> split(2, as head)\n  return join(part * 2, head)\n}\n"
        "a = f(user.id |> split(4, as head))\noutput o = sum(a, over head)\n"
    )
    assert type_of(block, "a") == "[head, 2]"


def test_a_name_of_the_signature_is_the_axis_that_was_bound_to_it() -> None:
    block = (
        "block f(x[d], found[expert, e]) -> [expert, e] {\n"
        "  return found * (x |> linear(4) |> split(4, as expert))\n}\n"
        "a = f(user.id, ad.item |> split(4, as way))\noutput o = sum(a, over way)\n"
    )
    assert type_of(block, "a") == "[way, 2]"


def test_what_is_best_by_equal_scores_is_one_axis() -> None:
    top = "top(history.item, 3, by dot(history.item, {}), over t as {})"
    same = f"a = {top.format('user.id', 'r')} + {top.format('user.id', 'q')}\noutput o = sum(a, over r)\n"
    assert type_of(same, "a") == "[r, 8]"
    other = f"a = {top.format('user.id', 'r')} + {top.format('ad.item', 'q')}\n"
    assert type_of(f"{other}output o = sum(sum(a, over r), over q)\n", "a") == "[r, q, 8]"
    drawn = top.format("(user.id |> dropout(0.5))", "r")
    _, faults = elaborated(f"a = {drawn} + {drawn}\noutput o = sum(a, over r)\n")
    assert faults == [("E0303", 1)]
