"""Blocks with several results: names, weights, extended models, and what `fmt` and `extends` make of them."""

from __future__ import annotations

from pathlib import Path

from specc.driver import load, load_program, load_source
from specc.names.standalone import standalone
from specc.report import Report
from specc.source import Source
from specc.syntax.print import format_source, print_file

BASE = """model base

space ad from candidate { item: vocab(50, 8) }

block halves(x[d]) -> [d], [1] {
  gate = x |> linear(1) |> sigmoid
  return gate * x, gate
}

left, right = halves(ad)

predict click: binary = concat(left, right) |> linear(1)
"""
OTHER = """model other

extends base {
  left = ad.item * 2
}
"""


def test_weights_go_by_the_first_name() -> None:
    report = Report()
    graph = load_source(Source("base.arec", BASE), None, {}, report)
    assert graph is not None
    assert "left.halves.gate.linear.weight" in graph.weights
    assert graph.bindings.keys() >= {"left", "right"}
    assert not list(report)


def test_one_result_may_be_replaced(tmp_path: Path) -> None:
    """In an extending model, and in the one file that it comes to."""
    (tmp_path / "base.arec").write_text(BASE)
    (tmp_path / "other.arec").write_text(OTHER)
    graph, report = load(tmp_path / "other.arec")
    assert graph is not None, [d.message for d in report]
    assert str(graph.node(graph.bindings["left"]).type) == "[8]"
    assert graph.node(graph.bindings["right"]).scope.startswith("left.halves")
    program = load_program(Source("other.arec", OTHER), tmp_path, report)
    assert program is not None
    alone = print_file(standalone(program, {}))
    again = load_source(Source("alone.arec", alone), None, {}, report)
    assert again is not None, alone
    assert {str(again.node(i).type) for i in again.bindings.values()} == {"[8]", "[1]"}


def test_the_canonical_form_keeps_names_and_comments_apart() -> None:
    text = "model m\n\na , b=f(x)\nlong,c = f(y) # both\n"
    assert format_source(text) == "model m\n\na, b    = f(x)\nlong, c = f(y)  # both\n"
