"""Names are followed by scope: a spec whose names are all changed is the same model."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc.ide import analyse
from specc.ide.answers import folds, hints, hover, renamed, symbols
from specc.ide.positions import Positions

SPECS = Path(__file__).parents[2] / "specs"
# What may have no other name, as something else asks for it by this one: an attention's weights and scores,
# axes that blocks with axes of that name are called with.
KEPT = {"dsin": {"score", "weight", "step"}, "afm": {"score", "weight"}}


@pytest.mark.parametrize("model", KEPT)
def test_every_name_can_be_changed_but_for_those_that_others_ask_for(model: str) -> None:
    """`renamed` itself refuses what would change the model; few names may be so."""
    path = SPECS / f"{model}.arec"
    analysis = analyse(path.read_text(), path)
    mine = {o.of.key: o.of for o in analysis.names.occurrences if o.of.span.source is analysis.source}
    kept = set()
    for declared in mine.values():
        try:
            spans = renamed(analysis, [analysis], declared.span.start, "another", [str(path)])
        except ValueError:
            kept.add(declared.name)
        else:
            assert declared.span in spans
    assert kept == KEPT[model]


def test_one_name_is_changed_without_the_others_of_its_text() -> None:
    path = SPECS / "dsin.arec"
    analysis = analyse(path.read_text(), path)
    text = analysis.source.text
    offset = text.index("key[session, d]")
    spans = renamed(analysis, [analysis], offset, "clicked", [str(path)])
    assert [text.split("\n")[s.line - 1].strip().split()[0] for s in spans] == [
        "attention",
        "score",
        "return",
    ]
    assert renamed(analysis, [analysis], offset, "Clicked", [str(path)]) == spans  # names may have capitals


@pytest.mark.parametrize(
    ("word", "name", "why"),
    [
        ("transformer(heads", "x", "not yours to change"),
        ("joined    = c", "interests", "is a binding already"),
        ("joined    = c", "2joined", "is no name"),
        ("# Deep Session", "x", "no name here"),
    ],
)
def test_a_name_that_cannot_be_given_is_refused(word: str, name: str, why: str) -> None:
    path = SPECS / "dsin.arec"
    analysis = analyse(path.read_text(), path)
    with pytest.raises(ValueError, match=why):
        renamed(analysis, [analysis], analysis.source.text.index(word), name, [str(path)])


@given(st.text("aé🙂\n", max_size=30), st.data())
def test_places_in_utf_16_and_back(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    places = Positions(text)
    line, column = places.of(offset)
    begin = text.rfind("\n", 0, offset) + 1
    assert column == len(text[begin:offset].encode("utf-16-le")) // 2
    assert line == text.count("\n", 0, offset)
    assert places.offset(line, column) == offset
    assert places.offset(line + 100, 0) == len(text)


def test_a_block_that_is_begun_is_in_the_outline() -> None:
    text = "model m\n\n# Makes {\nblock half(x[d]; by = 2) -> [d] { }\n"
    now = analyse(text, SPECS / "m.arec")
    (found,) = symbols(now)
    assert (found.name, found.detail) == ("half", "(x[d]; by = 2) -> [d]")
    told = hover(now, text.index("half"))
    assert told is not None
    assert "half(x[d]; by = 2) -> [d]" in told.text


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3000))
def test_a_text_that_ends_anywhere_is_answered(stop: int) -> None:
    """As it is while somebody types it."""
    from specc.ide.calls import call_at
    from specc.ide.completion import completions
    from specc.ide.tokens import colours

    path = SPECS / "dien.arec"
    whole = analyse(path.read_text(), path)
    now = analyse(path.read_text()[:stop], path)
    end = len(now.source.text)
    completions(now, whole, end)
    call_at(now.source, end)
    hover(now, max(end - 3, 0))
    ranges = [(c.start, c.stop) for c in colours(now)]
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))
    assert len(symbols(now)) <= len(symbols(whole))
    assert folds(now) is not None
    assert hints(now) is not None


def test_where_sharded_stands_it_is_completed_and_said() -> None:
    from specc.ide.answers import hover
    from specc.ide.completion import completions

    text = "model m\ntable a = vocab(9, 2)\nspace s from request { x: a }\npredict y: real = linear(s, 1)\n\n"
    place = "place a on sharded"
    analysis = analyse(text + place + "\n", SPECS / "m.arec")
    found = hover(analysis, len(text) + len(place) - 2)
    assert found is not None
    assert "divided between the processes that train" in found.text
    now = analyse(text + "place a on sh", SPECS / "m.arec")
    assert "sharded" in {c.label for c in completions(now, analysis, len(now.source.text))}
