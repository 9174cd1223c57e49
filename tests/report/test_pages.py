"""The HTML that reports are made of: well formed, self-contained, and with the user's texts escaped."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc.pages import Series, bars, figures, histogram, number, page, paragraph, plot, section, table

EVIL = "<script>alert(\"1\")</script> & 'x'"


def parsed(html: str) -> ET.Element:
    """The tree; everything but the head's void elements is written as XML has it."""
    text = re.sub(r"<meta [^>]*>", "", html.removeprefix("<!doctype html>"))
    return ET.fromstring(text)


def test_a_page_is_one_file_and_escapes_what_it_is_given() -> None:
    html = page(
        EVIL,
        section(EVIL, paragraph(EVIL), table([EVIL, "n"], [[EVIL, 1]], caption=EVIL)),
        figures(
            plot(EVIL, [Series(EVIL, [(0, 1), (1, 2)])], x=EVIL, y=EVIL, about=EVIL),
            histogram(EVIL, [0, 1, 2], [3, 4], x=EVIL, y=EVIL),
            bars(EVIL, [(EVIL, 2.0)]),
        ),
        about=EVIL,
    )
    tree = parsed(html)
    assert not list(tree.iter("script"))
    assert "http" not in html
    assert "url(" not in html
    assert tree.findtext("head/title") == EVIL
    assert "".join(tree.itertext()).count("<script>") >= 12


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=6))
def test_any_points_can_be_plotted(points: list[tuple[float, float]]) -> None:
    figure = parsed(plot("p", [Series("a", points), Series("b", [])]))
    text = ET.tostring(figure, encoding="unicode")
    assert "nan" not in text
    assert "inf" not in text


@pytest.mark.parametrize("low", [0.0, -3.0, 1e-9, 123456.0])
@pytest.mark.parametrize("span", [1e-6, 0.7, 30.0, 4e7])
def test_ticks_are_few_and_lie_within(low: float, span: float) -> None:
    tree = parsed(plot("p", [Series("", [(low, 0), (low + span, 1)])]))
    places = [float(t.attrib["x"]) for t in tree.iter("text") if t.attrib.get("y") == "254"]
    assert 3 <= len(places) <= 8
    assert all(52 <= x <= 408 for x in places)
    assert places == sorted(places)


def test_numbers_are_written_for_reading() -> None:
    assert [number(v) for v in (1234567, 0.123456789, None, math.nan, "a", True)] == [
        "1,234,567", "0.12346", "", "", "a", "True",
    ]  # fmt: skip
    html = table(["who", "auc"], [["model", 0.5], ["other", None]])
    assert '<td class="n">0.5</td>' in html
    assert "<td>model</td>" in html


def test_what_is_left_out_is_counted() -> None:
    assert "and 4 more" in bars("b", [(str(i), float(i)) for i in range(20)])
    assert "no values" in plot("p", [])
    assert "no values" in histogram("h", [0.0], [])
