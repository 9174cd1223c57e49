"""From how much data on a kernel is taken: said by the program and the text, and asked by the planner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specc.driver import load
from specc.emit import emit
from specc.ir.graph import Graph
from specc.lower import choices, lower
from specc.lower.print import print_program
from specc.lower.program import walk
from specc.lower.speed import speeds
from specc.passes import optimise
from specc.plan.costs import Sizes, cost
from specc.plan.lengths import Lengths


def graph_of(name: str) -> Graph:
    graph, _ = load(name)
    assert graph is not None
    return optimise(graph)


def test_attention_of_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for least in (5, 2**40):
        monkeypatch.setattr(choices, "ATTENTION_IN_C", replace(choices.ATTENTION_IN_C, least=least))
        program = lower(graph_of("bst"))
        assert f"the keys have {least} numbers" in print_program(program)
        assert any(f"have {least} numbers" in str(speed) for speed in speeds(program))
        assert f"in_c_from={least}" in emit(graph_of("bst"))["model.py"]
        (attend,) = (k for f in program.functions for k in walk(f) if k.name == "attend")
        costs.append(cost(attend, Sizes(32, Lengths()), [attend.result], True))
    assert costs[0] != costs[1], "the planner goes by the program's number"


def test_products_of_a_candidate_and_a_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "PAIRED_IN_C", replace(choices.PAIRED_IN_C, least=77))
    assert "the rows have 77 numbers" in print_program(lower(graph_of("din")))
    assert "in_c_from=77" in emit(graph_of("din"))["model.py"]
    monkeypatch.setattr(choices, "LARGEST_OF_A_SEGMENT", 3)
    assert "in_c_from=77" not in emit(graph_of("din"))["model.py"]


def test_products_of_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what follows them; not where they are narrow."""
    monkeypatch.setattr(choices, "PRODUCTS_IN_C", replace(choices.PRODUCTS_IN_C, least=77))
    program, text = lower(graph_of("bst")), emit(graph_of("bst"))["model.py"]
    printed = print_program(program)
    assert "in C where a product has 77 multiplications or more, else in torch" in printed
    assert "by its product" in printed
    assert 'then="leaky_relu", slope=0.01, in_c_from=77' in text
    assert "in_c_from" not in next(line for line in printed.splitlines() if "linear(click.linear.*" in line)
    followed = {k.over for f in program.functions for k in walk(f) if k.within}
    made = {k.result: k for f in program.functions for k in walk(f) if len(k.results) == 1}
    assert {made[x].name for x in followed if x is not None} == {"linear", "add_product"}


def test_attention_of_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "SELF_ATTENTION_IN_C", replace(choices.SELF_ATTENTION_IN_C, least=77))
    program = lower(graph_of("dsin"))
    assert "the keys have 77 numbers" in print_program(program)
    assert any("attention of every position, in C where the keys have 77" in str(s) for s in speeds(program))
    assert "in_c_from=77" in emit(graph_of("dsin"))["model.py"]


def test_steps_of_recurrences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "STEPS_IN_C", replace(choices.STEPS_IN_C, least=77))
    assert "the values of its steps have 77 numbers" in print_program(lower(graph_of("dien")))
    assert '"evolved_augru", (36, 36), (), (36,), (0, 0), 77)' in emit(graph_of("dien"))["model.py"]


def test_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "tile_rows", lambda numbers: 3)
    program = lower(graph_of("afm"))
    assert "3 rows at a time" in "\n".join(map(str, speeds(program)))
    assert "ops.by_tile(" in emit(graph_of("afm"))["model.py"]
