"""Old forms keep their meaning, and `fmt` writes them as they are written now."""

from __future__ import annotations

import pytest

from specc.syntax.print import format_source

HEAD = "model old\n\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y = join(x, head)", "y = join(x, over head)"),
        ("y = x |> join(head)", "y = x |> join(over head)"),
        ("y = join(x, axis = head)", "y = join(x, over head)"),
        ("layer f = split(2, as head) |> join(head)", "layer f = split(2, as head) |> join(over head)"),
        ("y = x |> repeat(2, join(head))", "y = x |> repeat(2, join(over head))"),
        ("y = join(join(x, head), part)", "y = join(join(x, over head), over part)"),
    ],
)
def test_join_takes_its_axis_after_over(old: str, new: str) -> None:
    assert format_source(f"{HEAD}{old}\n") == f"{HEAD}{new}\n"
    assert format_source(f"{HEAD}{new}\n") == f"{HEAD}{new}\n"


def test_a_block_called_join_is_none_of_the_language_s() -> None:
    text = "model old\n\nblock join(x[d], y[d]) -> [d] {\n  return x + y\n}\n\ny = join(x, head)\n"
    assert format_source(text) == text
