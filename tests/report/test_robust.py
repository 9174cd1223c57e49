"""What no editor would save and some program will: each is a clear error, and comes at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from specc.driver import check, check_source
from specc.report import Report
from specc.report.render import render
from specc.source import Source

HEAD = """model shop
space user from request { id: vocab(500, 8) }
space history[t <= 20] from request { item: vocab(100, 8) }
"""
TAIL = "predict click: binary = concat(user, mean(history, over t)) |> linear(1)\n"
SLOWEST = 2.0  # seconds of processor time: half of it, on a machine with nothing else to do


def codes(text: str, **params: object) -> list[str]:
    report = Report()
    start = time.process_time()
    check_source(Source("x.arec", text), None, params, report)
    shown = render(report)
    assert time.process_time() - start < SLOWEST
    assert max(map(len, shown.splitlines()), default=0) < 400
    return [d.code for d in report]


def codes_of_bytes(data: bytes, folder: Path) -> list[str]:
    path = folder / "x.arec"
    path.write_bytes(data)
    report = check(path)
    assert render(report).isprintable() or "\n" in render(report)
    return [d.code for d in report]


# ------------------------------------------------------------------- bytes


def test_other_encodings_are_not_guessed_at(tmp_path: Path) -> None:
    assert codes_of_bytes((HEAD + "# caf\u00e9\n" + TAIL).encode("latin1"), tmp_path) == ["E0001"]
    assert codes_of_bytes((HEAD + TAIL).encode("utf-16"), tmp_path) == ["E0001"]
    assert codes_of_bytes(bytes(range(256)), tmp_path) == ["E0001"]


def test_a_byte_order_mark_and_line_ends_of_other_systems_are_fine(tmp_path: Path) -> None:
    text = HEAD + TAIL
    assert codes_of_bytes(b"\xef\xbb\xbf" + text.encode(), tmp_path) == []
    assert codes_of_bytes(text.replace("\n", "\r\n").encode(), tmp_path) == []
    assert codes_of_bytes(text.replace("\n", "\r").encode(), tmp_path) == []
    assert codes_of_bytes(text.replace(" ", "\t").encode(), tmp_path) == []
    assert codes_of_bytes(text.rstrip("\n").encode(), tmp_path) == []


def test_line_ends_of_other_systems_move_no_place(tmp_path: Path) -> None:
    path = tmp_path / "x.arec"
    path.write_bytes((HEAD + TAIL.replace("user", "usr")).replace("\n", "\r\n").encode())
    (found,) = check(path)
    assert (found.span.line, found.span.column, found.span.text) == (4, 32, "usr")


def test_nul_bytes_and_escapes_cannot_reach_the_terminal(tmp_path: Path) -> None:
    found = codes_of_bytes((HEAD + "a = user\x00\x1b[31m + 1\n" + TAIL).encode(), tmp_path)
    assert set(found) == {"E0101"}
    report = check(tmp_path / "x.arec")
    assert "\x1b" not in render(report)
    assert "\x00" not in render(report)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert [d.code for d in check(tmp_path)] == ["E0001"]
    (tmp_path / "model.arec").write_text(HEAD + TAIL)
    (missing,) = check(tmp_path / "modl.arec")
    assert missing.code == "E0001"
    assert "model.arec" in missing.help
    assert [d.code for d in check("a\x00b")] == ["E0001"]


@pytest.mark.parametrize("last", ["|", "&", "'", "é", "“", "//", '"', "/*", '"""', "(", "0.", "1e", "a ="])
def test_whatever_is_last(last: str) -> None:
    """Found by breaking specs at random: nothing lies beyond the end of a text."""
    report = Report()
    text = HEAD + TAIL + last
    check_source(Source("x.arec", text), None, {}, report)
    assert report.has_errors
    assert all(0 <= d.span.start <= d.span.stop <= len(text) for d in report)


# ------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "(" * 5_000 + "user" + ")" * 5_000,
        "a = " + "[" * 20_000,
        "a = " + "-" * 5_000 + "1",
        "a = " + "if true then 1 else " * 5_000 + "2",
        "a = " + "2 ^ " * 5_000 + "2",
        "a = user" + ".x" * 5_000,
        "a = " + "f(" * 5_000,
        "{" * 20_000,
        "}" * 20_000,
    ],
    ids=lambda text: text[4:20],
)
def test_deep_nesting(text: str) -> None:
    found = codes(HEAD + text + "\n" + TAIL)
    assert found
    assert all(code.startswith("E0") for code in found)


def test_long_chains_are_no_nesting() -> None:
    pipe = "a = user" + " |> relu" * 1_500
    total = "b = user" + " + user" * 1_500
    use = TAIL.replace("user", "a + b")
    assert codes(HEAD + pipe + "\n" + total + "\n" + use) == []


def test_bindings_that_need_the_next_one() -> None:
    chain = "\n".join(f"a{i} = a{i + 1} + 1" for i in range(10_000))
    found = codes(HEAD + chain + "\na10000 = user\n" + TAIL.replace("user", "a0"))
    assert found == ["E0002"]


def test_ten_thousand_lines() -> None:
    lines = "\n".join(f"a{i} = user + {i}" for i in range(1_500))
    use = "\n".join(f"# line {i}" for i in range(8_500))
    total = "s = user" + "".join(f" + a{i}" for i in range(1_500))
    assert codes(f"{HEAD}{lines}\n{use}\n{total}\n" + TAIL.replace("user", "s")) == []


def test_ten_thousand_faults() -> None:
    found = codes(HEAD + "a b c d\n" * 10_000 + TAIL)
    assert set(found) <= {"E0112", "E0103"}
    assert len(found) >= 1_000


@pytest.mark.parametrize(
    "number", ["9" * 400, "1e999", "0." + "0" * 400 + "1", "1" + "0" * 30, "123456789012345678"]
)
def test_huge_numbers(number: str) -> None:
    found = codes(f"{HEAD}a = user |> linear({number})\n" + TAIL.replace("user", "a"))
    assert found[0] in ("E0105", "E0403")


@pytest.mark.parametrize("value", ["1 / 0", "1 % 0", "0 ^ (-1)", "10 ^ 60", "(-8) ^ 0.5", "1e15 * 1e15"])
def test_arithmetic_without_a_value(value: str) -> None:
    assert codes(f"{HEAD}param n = {value}\na = user * n\n" + TAIL.replace("user", "a")) == ["E0403"]


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        ("linear(10 ^ 12)", "E0403"),
        ("linear(1_000_000) |> linear(1_000_000)", "E0003"),
        ("mlp([10 ^ 7])", "E0403"),
        ("repeat(10 ^ 9, dropout(0))", "E0403"),
        ("repeat(1000, repeat(1000, dropout(0.5)))", "E0003"),
        ("fan(1_000_000, linear(1), as copy)", "E0403"),
        ("split(10 ^ 9, as part)", "E0403"),
    ],
)
def test_sizes_beyond_reason(layer: str, code: str) -> None:
    assert codes(f"{HEAD}a = user |> {layer}\n" + TAIL.replace("user", "a")) == [code]


def test_blocks_that_double_at_each_step() -> None:
    blocks = "".join(f"block b{i}(x[d]) -> [d] {{ return b{i + 1}(x) + b{i + 1}(x) }}\n" for i in range(40))
    last = "block b40(x[d]) -> [d] { return x |> relu }\n"
    assert codes(HEAD + blocks + last + TAIL.replace("user", "b0(user)")) == ["E0003"]


# ----------------------------------------------------------------- circles


def test_blocks_that_call_themselves() -> None:
    assert codes(HEAD + "block f(x[d]) -> [d] { return f(x) }\n" + TAIL.replace("user", "f(user)")) == [
        "E0502"
    ]
    both = "block f(x[d]) -> [d] { return g(x) }\nblock g(x[d]) -> [d] { return f(x) }\n"
    assert codes(HEAD + both + TAIL.replace("user", "f(user)")) == ["E0502"]


def test_files_that_need_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.arec").write_text("model a\nextends b { param n = 1 }\n")
    (tmp_path / "b.arec").write_text("model b\nextends a { param n = 2 }\n")
    assert [d.code for d in check(tmp_path / "a.arec")][:1] == ["E0205"]
    (tmp_path / "p.arec").write_text("library p\nuse q\nblock f(x[d]) -> [d] { return q.g(x) }\n")
    (tmp_path / "q.arec").write_text("library q\nuse p\nblock g(x[d]) -> [d] { return p.f(x) }\n")
    (tmp_path / "m.arec").write_text(HEAD + "use p\n" + TAIL.replace("user", "p.f(user)"))
    found = check(tmp_path / "m.arec")
    assert [d.code for d in found] == ["E0205"]
    assert "p -> q -> p" in next(iter(found)).why


def test_bindings_that_need_each_other() -> None:
    assert codes(HEAD + "a = b + user\nb = a * 2\n" + TAIL.replace("user", "a")) == ["E0210"]


# --------------------------------------------------------------- overrides


def test_overrides_that_do_not_fit() -> None:
    text = HEAD + "param n = 4 in {2, 4}\nparam f = sum_of in {sum_of, mean_of}\n"
    text += "a = if f == sum_of then user else (user |> linear(n))\n" + TAIL.replace("user", "a")
    assert codes(text, n=2, f="mean_of") == []
    assert codes(text, m=2) == ["E0405"]
    assert codes(text, n="two") == ["E0405"]
    assert codes(text, n=3) == ["E0406"]
    assert codes(text, n=float("nan")) == ["E0405"]
    assert codes(text, f="max_of") in (["E0405"], ["E0406"])
    assert codes(text, n=[1, 2]) == ["E0405"]


def test_a_sum_of_three_thousand_terms_is_read_at_once() -> None:
    terms = " + ".join(["user"] * 3_000)
    assert codes(HEAD + f"x = ({terms})\n" + TAIL.replace("user", "x")) == []


# ------------------------------------------------------- where a text comes from


def test_a_spec_is_checked_the_same_wherever_it_comes_from(tmp_path: Path) -> None:
    """A file, a text in Python, and standard input; an editor hands over the same text."""
    text = (
        HEAD + "param act = relu in {relu, gleu}\n" + TAIL.replace("linear", "mlp([4], act = act) |> liner")
    )
    path = tmp_path / "shop.arec"
    path.write_text(text)
    said = [
        [(d.code, d.message, d.span.start, d.fix and d.fix.text) for d in check(given)]
        for given in (path, text)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "specc", "check", "--format", "json", "-"],
        input=text.encode(),
        capture_output=True,
    )
    by_stream = [
        (d["code"], d["message"], d["place"]["start"], d["fix"] and d["fix"]["text"])
        for d in json.loads(done.stdout)
    ]
    assert said[0] == said[1] == by_stream
    assert said[0]
