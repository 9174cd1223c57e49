"""Advice works when it is followed: what a `help` says to write is written, and its fault is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from specc.driver import check_source
from specc.remedy import applied
from specc.report import Diagnostic, Fix, Report
from specc.source import Source

BAD = Path(__file__).parents[1] / "bad"
FAULTY = sorted(path for path in BAD.glob("*.arec") if not path.name.startswith("_"))
# What a help says to put in the place of what is underlined.
INSTEAD = (
    re.compile(r"did you mean `(?:over )?(?P<text>[^`]+)`\?"),
    re.compile(r"write (?P<text>[0-9,]+) (?:or more|at most)"),
    re.compile(r"write a whole number, such as (?P<text>[0-9]+)"),
    re.compile(r"write `(?P<text>true|false)`"),
    re.compile(r"write a (?:number|share) .*, such as `?(?:\w+ = )?(?P<text>[0-9.e-]+)`?"),
    re.compile(r"write less, such as (?P<text>[0-9.]+)"),
)


def said(text: str) -> Report:
    report = Report()
    check_source(Source("x.arec", text), BAD, {}, report)
    return report


def advised(report: Report) -> Iterator[tuple[Diagnostic, str]]:
    """Diagnostics of the text itself that say what to write, with that."""
    for diagnostic in report:
        found = next((m for pattern in INSTEAD if (m := pattern.fullmatch(diagnostic.help))), None)
        if found is not None and diagnostic.span.source.name == "x.arec":
            yield diagnostic, found["text"].replace(",", "")


@pytest.mark.parametrize("path", FAULTY, ids=lambda path: path.stem)
def test_advice_that_is_followed_works(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for diagnostic, written in advised(said(text)):
        after = said(applied(text, [Fix(diagnostic.span, written, "")]))
        there = {(d.code, d.message, d.span.start) for d in after}
        assert (diagnostic.code, diagnostic.message, diagnostic.span.start) not in there, diagnostic.help


def test_much_advice_is_followed() -> None:
    texts = [path.read_text(encoding="utf-8") for path in FAULTY]
    assert sum(len(list(advised(said(text)))) for text in texts) > 80
