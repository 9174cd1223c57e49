"""Random programs: what holds of every sound program, whatever it computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings

from specc.driver import load_source
from specc.interpret import examples_of, interpret_together
from specc.ir.graph import Graph
from specc.report import Report
from specc.report.render import render
from specc.source import Source
from specc.testing.batches import random_batch
from specc.testing.misses import Miss, near_misses
from specc.testing.programs import programs
from specc.testing.subject import Subject
from tests.testing.laws_of_programs import checked, formatting_is_stable, laws_hold, stages_are_sound

FOUND = sorted((Path(__file__).parent / "found").glob("*.arec"))
few = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@seed(1)
@settings(few, max_examples=50)
@given(programs())
def test_a_program_checks_clean_and_its_form_is_stable(text: str) -> None:
    checked(text)
    formatting_is_stable(text)


@seed(2)
@settings(few, max_examples=8)
@given(programs())
def test_a_compiled_program_is_what_it_means(text: str) -> None:
    graph = checked(text)
    stages_are_sound(graph)
    laws_hold(graph, 1, "interpret", "gradient", "finite", "passes")


@seed(3)
@settings(few, max_examples=8)
@given(programs())
def test_company_requests_and_places_change_nothing(text: str) -> None:
    laws_hold(checked(text), 2, "order", "alone", "neighbours", "requests", "parts", "placement")


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_random_programs_found_stays_mended(path: Path) -> None:
    text = path.read_text()
    graph = checked(text)
    formatting_is_stable(text)
    stages_are_sound(graph)
    for number in (1, 2):
        laws_hold(graph, number, "interpret", "gradient", "passes", "alone", "requests", "parts", "placement")


@seed(4)
@settings(few, max_examples=80)
@given(near_misses())
def test_a_near_miss_is_reported_where_it_is_or_has_a_meaning(miss: Miss) -> None:
    report = Report()
    graph = load_source(Source("miss.arec", miss.text), None, {}, report)
    if graph is None:
        assert _blames(report, miss), render(report, "terminal")
    else:
        assert miss.kind != "name", miss.text
        _has_a_meaning(graph)


def test_an_axis_that_a_value_has_already_cannot_be_made_again() -> None:
    """Two names for what is one axis: found as a value that had the axis twice."""
    text = """\
model twice
space ad from candidate { price: number }
space history[t <= 4] from request { x: vector(2) }
both = dot(init(history, over t as u), history)
again = tail(both, over t as v)
predict p: binary = concat(ad, sum(sum(again, over v), over u)) |> linear(1)
"""
    report = Report()
    assert load_source(Source("twice.arec", text), None, {}, report) is None
    assert [(d.code, d.span.line) for d in report] == [("E0303", 5)]


def _has_a_meaning(graph: Graph) -> None:
    subject = Subject.of(graph, 0)
    examples = examples_of(subject.graph, random_batch(subject.manifest, 2, 0))
    interpret_together(subject.graph, subject.weights, examples)


def _blames(report: Report, miss: Miss) -> bool:
    """Whether some fault is at the change: on the word itself for a name, else on what it leads to."""
    own = [(d.span.start, d.span.stop) for d in report if d.span.source.name == "miss.arec"]
    own += [
        (x.span.start, x.span.stop) for d in report for x in d.secondary if x.span.source.name == "miss.arec"
    ]
    if miss.kind == "name":
        return (miss.start, miss.stop) in own
    lines = _affected_lines(miss)
    number = [miss.text.count("\n", 0, start) for start, _ in own]
    return bool(lines.intersection(number))


def _affected_lines(miss: Miss) -> set[int]:
    """The changed line, and those that mention what it or they declare."""
    lines = miss.text.split("\n")
    found = {miss.text.count("\n", 0, miss.start)}
    while True:
        names = {name for i in found for name in _declared(lines, i)}
        more = {i for i, line in enumerate(lines) if names & set(re.findall(r"\w+", line))}
        if more <= found:
            return found
        found |= more


def _declared(lines: list[str], index: int) -> list[str]:
    """The names that a line gives a value: its own, and those of the block that it is in."""
    found = re.findall(r"^\s*(?:layer |learned |next |loss |predict )?(\w+)\b", lines[index])
    found += re.findall(r"scan (\w+)", lines[index]) + re.findall(r"(\w+)\[", lines[index])
    if lines[index].startswith(" ") or lines[index].startswith(("block", "encoder", "attention")):
        head = next(i for i in range(index, -1, -1) if not lines[i].startswith((" ", "}")))
        found += re.findall(r"^\w+ (\w+)", lines[head])
    found += re.findall(r"as (\w+)", lines[index])
    return [name for name in found if name not in ("return", "scan", "next", "layer", "over")]
