"""Sequences with a candidate at the end: what of them is computed once a request."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from specc.driver import load, load_source
from specc.emit import emit
from specc.ir.graph import Graph
from specc.lower import choices, lower
from specc.lower.program import Kernel, Value
from specc.ops import op
from specc.passes import optimise
from specc.passes.ranges import Known
from specc.passes.rewrite import Builder
from specc.report import Report
from specc.source import Source
from specc.testing.programs import programs
from specc.types.axis import Type
from specc.types.kinds import derived
from tests.testing.laws_of_programs import checked, laws_hold, stages_are_sound

few = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)
MODEL = """\
model appended
space ad from candidate {{ item: ids(100, 4), weight: number }}
space history[t <= 5] from request {{ item: ids(100, 4), at: number }}
sequence = append(history.item, ad.item, over t as u)
times    = append(history.at, 0, over t as u)
query    = sequence |> linear(4)
key      = rename(sequence |> linear(4), u to s)
score    = dot(query, key)
read     = sequence + {read}
predict click: binary = {pooled} |> linear(1)
"""
CAUSAL = [
    "sum(softmax(score, over s where s <= u) * key, over s)",
    "sum(softmax(score, over s where s < u) * key, over s)",
    "sum(softmax(score, over s where not (s > u)) * key, over s)",
    "sum(softmax(score, over s where u - s >= 0 and u - s < 2) * key, over s)",
    "sum(silu(score) * key, over s where index(u) + 1 > index(s))",
    "mean(tanh(score) * key, over s where s <= u)",
    "(logsumexp(score, over s where s <= u) + cumsum(sequence, over u))",
    "sum(softmax(score - abs(rename(times, u to s) - times), over s where s <= u) * key, over s)",
    "(sequence |> transformer(heads = 2, causal = true, positions = rotary, over u))",
    "(sequence |> transformer(heads = 2, causal = true, positions = alibi, over u))",
    "(sequence |> transformer(heads = 2, causal = true, positions = relative, over u))",
]
COMPARED = {
    op.LT: operator.lt, op.LE: operator.le, op.GT: operator.gt, op.GE: operator.ge, op.EQ: operator.eq,
    op.NE: operator.ne,
}  # fmt: skip
MIXED = [
    "sum(softmax(score, over s) * key, over s)",
    "sum(softmax(score, over s where s != u) * key, over s)",
    "sum(softmax(score, over s where s <= u + 1) * key, over s)",
    "sum(softmax(score - 1000 * maximum(0, index(s) - index(u)), over s) * key, over s)",  # 0, not proved
    "(sequence |> transformer(heads = 2, over u))",
]


def graph_of(text: str) -> Graph:
    report = Report()
    graph = load_source(Source("appended.arec", text), None, {}, report)
    assert graph is not None, [d.message for d in report]
    return graph


def model_of(read: str, pooled: str) -> str:
    return MODEL.format(read=read, pooled=pooled)


def repeated(graph: Graph) -> Iterator[tuple[Kernel, Value, int]]:
    """What candidates have a row of for each position of a sequence, and how many numbers."""
    parts = lower(graph).parts
    assert parts is not None
    for kernel in parts.candidate.kernels:
        for value in (r for r in kernel.results if r is not None):
            domain = value.shape.domain
            if domain is not None and domain.candidate and domain.axes:
                yield kernel, value, prod(a.size or 1 for a in value.shape.dims) * value.width


@pytest.mark.parametrize("pooled", ["last(read, over u)", "mean(read, over u)", "sum(read * read, over u)"])
@pytest.mark.parametrize("read", CAUSAL)
def test_a_causal_history_is_of_the_request(read: str, pooled: str) -> None:
    """A candidate has no more of the history than a score for each of its positions."""
    found = list(repeated(optimise(graph_of(model_of(read, pooled)))))
    assert [(kernel.name, str(value.span)) for kernel, value, numbers in found if numbers > 2] == []


@pytest.mark.parametrize("read", MIXED)
def test_where_the_last_position_has_a_say_all_positions_are_of_the_candidate(read: str) -> None:
    found = list(repeated(optimise(graph_of(model_of(read, "mean(read, over u)")))))
    assert max(numbers for _, _, numbers in found) >= 4
    # What keys, queries and values are made from is not.
    assert not {"linear", "product_of"} & {
        kernel.name for kernel, _, _ in found if kernel.span and kernel.span.line < 9
    }


def test_the_history_of_hstu_is_computed_once() -> None:
    graph, _ = load(Path(__file__).parents[2] / "specs/more/hstu.arec", {"heads": 4})
    assert graph is not None
    assert max(numbers for _, _, numbers in repeated(optimise(graph))) == 4


@pytest.mark.parametrize("read", [*CAUSAL, *MIXED])
def test_its_values_stay(read: str) -> None:
    graph = graph_of(model_of(read, "concat(last(read, over u), mean(read, over u))"))
    laws_hold(graph, 1, "interpret", "gradient", "parts")


@pytest.mark.parametrize(
    ("read", "pooled"),
    [
        (MIXED[0], "mean(read, over u)"),
        (MIXED[-1], "mean(read, over u)"),
        (MIXED[-1], "last(read, over u)"),
    ],
)
def test_attentions_by_request_are_what_they_mean(
    read: str, pooled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few candidates a request has."""
    monkeypatch.setattr(choices, "ATTENTION_BY_REQUEST", replace(choices.ATTENTION_BY_REQUEST, least=1))
    graph = graph_of(model_of(read, pooled))
    assert "by_request_from=1" in emit(optimise(graph))["model.py"]
    laws_hold(graph, 1, "parts", "requests")


@cache
def plain() -> Graph:
    return graph_of(model_of("sequence", "last(read, over u)"))


@settings(few, max_examples=100)
@given(st.sampled_from(sorted(COMPARED)), st.lists(st.integers(-2, 2), min_size=4, max_size=4))
def test_what_is_known_of_positions_is_so(name: str, factors: list[int]) -> None:
    """Of a comparison of positions along two copies of an axis, and of its length, with a number."""
    builder, like = Builder.of(plain()), plain().nodes[0]
    axis = next(n.attrs["old"] for n in plain().nodes if n.op == op.APPEND)
    copy = derived("renamed", "s", axis, more=("s", "test"))

    def number(value: int) -> int:
        return builder.source(op.CONSTANT, Type((), 1), like, {"value": value})

    counted = [builder.source(op.INDEX, Type((a,), 1), like, {"axis": a}) for a in (axis, copy)]
    counted.append(builder.source(op.LENGTH, Type((), 1), like, {"axis": axis}))
    total = number(factors[3])
    for factor, value in zip(factors, counted, strict=False):
        total = builder.pointwise(op.ADD, like, total, builder.pointwise(op.MUL, like, number(factor), value))
    said = Known(builder.node).number(builder.pointwise(name, like, total, number(0)))
    of_i, of_j, of_n, more = factors
    found = {
        float(COMPARED[name](of_i * i + of_j * j + of_n * n + more, 0))
        for n in range(1, axis.bound + 1) for i in range(n) for j in range(n)
    }  # fmt: skip
    assert said is None or found == {said}
    if {of_i, of_j, of_n} == {0}:
        assert said is not None


@seed(5)
@settings(few, max_examples=3)
@given(programs(2, form="appended"))
def test_random_sequences_are_what_they_mean(text: str) -> None:
    graph = checked(text)
    stages_are_sound(graph)
    laws_hold(graph, 1, "interpret", "gradient", "passes", "requests", "parts")
