"""Numbers that a spec compares are drawn near those that decide."""

from __future__ import annotations

from specc.driver import load_source
from specc.report import Report
from specc.source import Source
from specc.testing.laws import dead
from specc.testing.near import deciding
from specc.testing.subject import Subject

SPEC = """model m
space user from request { id: vocab(500, 8), domain: number, age: number }
space hist[t <= 10] from request { item: vocab(100, 8), kind: number, price: number }
experts = fan(user.id, 4, linear(8), as expert)
mine = sum(experts, over expert where index(expert) == user.domain)
bought = sum(hist.item |> linear(8), over t where hist.kind == 7 and hist.price - 100 > 5_000)
predict click: binary = concat(user.id, mine, bought, user.age) |> linear(1)
"""


def subject() -> Subject:
    report = Report()
    graph = load_source(Source("m.arec", SPEC), None, {}, report)
    assert graph is not None
    return Subject.of(graph, 0)


def test_what_decides_is_known_by_field() -> None:
    near = deciding(subject().graph)
    assert near["user.domain"] == [0, 1, 2, 3]
    assert near["hist.kind"] == [6, 7, 8]
    assert {5_099, 5_100, 5_101} < set(near["hist.price"])
    assert "user.age" not in near


def test_a_model_by_domain_is_alive() -> None:
    assert dead(subject()) == []
