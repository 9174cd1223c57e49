"""The lexer that Pygments has of specs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Comment, Error, Keyword, Name, Number

from specc.ide.highlight import ArecLexer

SPECS = Path(__file__).parents[2] / "specs"


@pytest.mark.parametrize("path", sorted(SPECS.rglob("*.arec")), ids=lambda p: p.stem)
def test_shipped_specs_have_no_part_without_a_colour(path: Path) -> None:
    text = path.read_text()
    found = list(ArecLexer(stripnl=False).get_tokens(text))
    assert "".join(value for _, value in found) == text
    assert not [value for kind, value in found if kind in Error]


def test_words_have_their_colours() -> None:
    text = (
        "param dim = 8  # wide\nspace ad from candidate { item: vocab(1_000, dim) }\nx = f(ad, bias = true)\n"
    )
    found = {value: kind for kind, value in ArecLexer().get_tokens(text)}
    assert found["param"] is Keyword.Declaration
    assert found["dim"] in Name
    assert found["# wide"] is Comment.Single
    assert found["candidate"] is Keyword.Type
    assert found["vocab"] is Name.Builtin
    assert found["1_000"] is Number
    assert found["f"] is Name.Function
    assert found["bias"] is Name.Attribute
    assert found["true"] is Keyword.Constant


def test_pygments_finds_it_by_its_name() -> None:
    assert type(get_lexer_by_name("arec")).__name__ == "ArecLexer"
    assert type(get_lexer_for_filename("din.arec")).__name__ == "ArecLexer"
