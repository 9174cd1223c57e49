"""How diagnostics look: marks under what they mark, whatever the line holds."""

from __future__ import annotations

import json

import pytest

from specc.report import Diagnostic, Fix, Label, Report, Severity
from specc.report.render import render, summary
from specc.source import Source, Span


def span(text: str, part: str, name: str = "x.arec", nth: int = 0) -> Span:
    start = -1
    for _ in range(nth + 1):
        start = text.index(part, start + 1)
    return Span(Source(name, text), start, start + len(part))


def error(place: Span, label: str = "", **details: object) -> Diagnostic:
    return Diagnostic("E0301", Severity.ERROR, "the message", place, label, **details)  # type: ignore[arg-type]


def drawn(diagnostic: Diagnostic) -> list[str]:
    return render([diagnostic]).splitlines()[1:-2]


def test_a_mark_under_its_place() -> None:
    text = "a = 1\nb = a + usr\n"
    assert drawn(error(span(text, "usr"), "unknown", help="write `user`")) == [
        " --> x.arec:2:9",
        "  |",
        "2 | b = a + usr",
        "  |         ^^^ unknown",
        "  |",
        "  = help: write `user`",
    ]


def test_tabs_and_wide_letters_move_the_mark() -> None:
    text = 'a\t= f("主机", usr)\n'
    line, marks = drawn(error(span(text, "usr")))[2:4]
    # Two columns for each of two letters, which Python counts as one.
    assert line.index("usr") + 2 == marks.index("^")
    assert "\t" not in line


def test_marks_side_by_side_have_their_labels_below() -> None:
    text = "c = long_a + b\n"
    found = error(
        span(text, "long_a + b"),
        secondary=(Label(span(text, "long_a"), "this is [8]"), Label(span(text, "b"), "this is [4]")),
    )
    assert drawn(found)[2:] == [
        "1 | c = long_a + b",
        "  |     ^^^^^^^^^^",
        "  |     ------   - this is [4]",
        "  |     this is [8]",
    ]


def test_lines_between_are_left_out() -> None:
    text = "".join(f"line{i}\n" for i in range(120))
    found = error(span(text, "line110"), secondary=(Label(span(text, "line7"), "here"),))
    assert drawn(found)[2:] == [
        "  8 | line7",
        "    | ----- here",
        "...",
        "111 | line110",
        "    | ^^^^^^^",
    ]


def test_places_in_other_files() -> None:
    here, there = "a = b\n", "one\nb = 2\n"
    found = error(span(here, "b"), secondary=(Label(span(there, "b", "lib.arec"), "declared here"),))
    assert " --> lib.arec:2:1" in drawn(found)
    assert drawn(found)[-1] == "  | - declared here"


def test_places_of_many_lines() -> None:
    text = "a = f(\n  1,\n  2,\n  3,\n  4,\n)\n"
    lines = drawn(error(span(text, text[4:-1]), "all of it"))
    assert lines[2:] == ["1 | a = f(", "  |     ^^", "...", "6 | )", "  | ^ all of it"]


def test_the_end_of_a_file_is_shown_after_its_last_word() -> None:
    text = "model shop\n\n\n"
    source = Source("x.arec", text)
    found = error(Span(source, len(text), len(text)))
    assert drawn(found) == [" --> x.arec:1:11", "  |", "1 | model shop", "  |           ^"]
    assert render([found], "concise") == "x.arec:1:11: E0301 the message\n"
    assert render([error(Span(Source("x.arec", ""), 0, 0))])


def test_long_lines_are_cut_around_their_mark() -> None:
    text = "a = " + "user + " * 200 + "usr + " + "user + " * 200 + "1\n"
    lines = drawn(error(span(text, "usr")))
    assert max(map(len, lines)) < 160
    assert lines[2].index("usr") == lines[3].index("^")


def test_nothing_written_can_move_the_cursor() -> None:
    text = "a = \x1b[2J\x07b\r\n"
    found = error(span(text, "\x1b[2J"), "\x1b[31m", found="\x00")
    for style in ("terminal", "concise"):
        assert all(char.isprintable() or char == "\n" for char in render([found], style))


def test_prose_is_wrapped_and_hangs() -> None:
    lines = drawn(error(span("a\n", "a"), why="word " * 60))
    assert max(map(len, lines)) <= 101
    assert lines[-1].startswith("         word")


def test_colours_change_no_letter() -> None:
    found = error(span("a = b\n", "b"), "here", help="say more")
    plain, colourful = render([found]), render([found], colour=True)
    import re

    assert re.sub(r"\x1b\[[0-9;]*m", "", colourful) == plain
    assert "\x1b[1;31m" in colourful


def test_a_fix_is_offered() -> None:
    text = "predikt\n"
    place = span(text, "predikt")
    found = error(place, help="did you mean `predict`?", fix=Fix(place, "predict", "write `predict`"))
    assert drawn(found)[-1] == "  = help: did you mean `predict`? (`specc check --fix` does it)"
    assert summary([found]) == "1 error; `specc check --fix` mends all of them"


def test_json_says_everything() -> None:
    text = "a = b\nc = d\n"
    place = span(text, "d")
    found = error(
        place, "l", expected="e", found="f", why="w", help="h",
        secondary=(Label(span(text, "b"), "s"),), fix=Fix(place, "x", "t"),
    )  # fmt: skip
    (read,) = json.loads(render([found], "json"))
    where = {
        "file": "x.arec",
        "line": 2,
        "column": 5,
        "end_line": 2,
        "end_column": 6,
        "start": 10,
        "stop": 11,
    }
    assert read["place"] == where
    assert read["fix"] == {"title": "t", "place": where, "text": "x"}
    assert (read["code"], read["severity"], read["label"], read["why"]) == ("E0301", "error", "l", "w")
    assert [label["text"] for label in read["secondary"]] == ["s"]
    assert json.loads(render([], "json")) == []


def test_summary_and_nothing() -> None:
    place = span("a\n", "a")
    warning = Diagnostic("W0701", Severity.WARNING, "m", place)
    assert summary([error(place), error(place), warning]) == "2 errors, 1 warning"
    assert render([]) == ""
    with pytest.raises(ValueError, match="no style"):
        render([warning], "html")


def test_a_report_keeps_each_fault_once_and_in_order() -> None:
    text = "a b\n"
    report = Report()
    report.error("E0201", "second", span(text, "b"))
    report.error("E0201", "first", span(text, "a"))
    report.error("E0201", "again", span(text, "a"))
    assert [d.message for d in report] == ["first", "second"]
    assert report.has_errors
    assert len(report) == 2


def allowed(text: str) -> list[str]:
    """The codes left of one warning W0701 at `spare`."""
    from specc.driver import check_source

    report = Report()
    check_source(Source("x.arec", "model m\nspace u from request { a: number }\n" + text), None, {}, report)
    return [d.code for d in report]


END = "predict click: binary = u\n"


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("spare = u + 1\n", ["W0701"]),
        ("spare = u + 1  # allow W0701\n", []),
        ("spare = u + 1  # allow w0701, W0702: for later\n", ["W0710"]),
        ("# allow W0701\nspare = u + 1\n", []),
        ("# allow W0701\n# what is left over\nspare = u + 1\n", []),
        ("# allow W0701\n\nspare = u + 1\n", ["W0710", "W0701"]),
        ("# allow the model to be small\nspare = u + 1\n", ["W0701"]),
        ("spare = u + 1  # allow W0703\n", ["W0701", "W0710"]),
        ("spare = concat(\n  u,\n  u,\n)  # allow W0701\n", []),
        ("spare = u\n  |> relu\n  |> tanh  # allow W0701\n", []),
        ("block f(x[d]) -> [d] {\n  return x\n}  # allow W0701\nspare = f(u)\n", ["W0710", "W0701"]),
        ("# allow E0201\n", ["W0710"]),
        ("# allow X1\n", ["W0710"]),
    ],
)
def test_warnings_are_allowed_in_place(text: str, codes: list[str]) -> None:
    assert allowed(text + END) == codes
