"""What holds of every sound program, asked of one text."""

from __future__ import annotations

from specc.driver import load_source
from specc.ir.graph import Graph
from specc.ir.verify import verify
from specc.passes import stages
from specc.report import Report
from specc.report.render import render
from specc.source import Source
from specc.syntax.parse import parse
from specc.syntax.print import format_source
from specc.syntax.renew import renewed
from specc.testing.batches import random_batch
from specc.testing.laws import LAWS, Case
from specc.testing.subject import Subject


def checked(text: str) -> Graph:
    report = Report()
    graph = load_source(Source("random.arec", text), None, {}, report)
    assert graph is not None, render(report, "terminal")
    return graph


def formatting_is_stable(text: str) -> None:
    """Printing and parsing give the same tree; formatting a second time changes nothing."""
    once = format_source(text)
    first, second = Report(), Report()
    assert renewed(parse(Source("a", text), first)) == parse(Source("b", once), second)
    assert format_source(once) == once


def stages_are_sound(graph: Graph) -> None:
    for _, after in stages(graph):
        verify(after)


def laws_hold(graph: Graph, seed: int, *names: str) -> None:
    """The named laws, on one batch."""
    subject = Subject.of(graph, seed)
    case = Case(
        subject,
        random_batch(subject.manifest, 3, seed, empty=0.25),
        random_batch(subject.manifest, 2, seed, empty=0.25, candidates=True),
    )
    for name in names:
        law = LAWS[name]
        broken = law.of_case(case) if law.of_case is not None else law.of_subject(subject)  # type: ignore[misc]
        assert broken is None, f"{name}: {broken}"
