"""`specc check` and `specc explain` as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import specc
from specc.cli import main

CLEAN = (
    "model shop\nspace user from request { id: vocab(500, 8) }\npredict click: binary = user |> linear(1)\n"
)
FAULTY = CLEAN.replace("user |>", "usr |>")
ODD = CLEAN.replace("predict", "spare = user + 1\npredict")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("clean", CLEAN), ("faulty", FAULTY), ("odd", ODD)):
        (tmp_path / f"{name}.arec").write_text(text)
    return tmp_path


def run(*arguments: object, text: str | None = None) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_exit_codes(files: Path) -> None:
    assert run("check", files / "clean.arec").exit_code == 0
    assert run("check", files / "odd.arec").exit_code == 0
    assert run("check", files / "odd.arec", "--strict").exit_code == 1
    assert run("check", files / "faulty.arec").exit_code == 1
    assert run("check", files / "absent.arec").exit_code == 1
    assert run("check", files / "clean.arec", files / "faulty.arec").exit_code == 1
    assert run("check").exit_code == 2
    assert run("check", files / "clean.arec", "--frmat", "json").exit_code == 2
    assert run("check", files / "clean.arec", "--set", "dim").exit_code == 2


def test_styles(files: Path) -> None:
    shown = run("check", files / "faulty.arec").stdout
    assert "error[E0201]: there is no value `usr`" in shown
    assert shown.endswith("1 error\n")
    concise = run("check", files / "faulty.arec", files / "odd.arec", "--format", "concise").stdout
    assert [line.split(": ")[1][:5] for line in concise.splitlines()] == ["E0201", "W0701"]
    read = json.loads(run("check", files / "faulty.arec", "--format", "json").stdout)
    assert [(d["code"], d["place"]["line"]) for d in read] == [("E0201", 3)]
    assert json.loads(run("check", files / "clean.arec", "--format", "json").stdout) == []


def test_quiet(files: Path) -> None:
    assert run("check", files / "odd.arec", files / "clean.arec", "-q").output == ""
    assert "E0201" in run("check", files / "faulty.arec", "-q").stdout
    assert "no faults" in run("check", files / "clean.arec").stderr


def test_standard_input() -> None:
    assert run("check", "-", text=CLEAN).exit_code == 0
    shown = run("check", "-", "--format", "concise", text=FAULTY)
    assert shown.stdout.startswith("<stdin>:3:25: E0201")
    assert shown.exit_code == 1


def test_overrides(files: Path) -> None:
    path = files / "p.arec"
    path.write_text(CLEAN.replace("space", "param dim = 8 in {4, 8}\nspace").replace("500, 8", "500, dim"))
    assert run("check", path, "--set", "dim=4").exit_code == 0
    assert "E0406" in run("check", path, "--set", "dim=5").stdout
    assert "E0405" in run("check", path, "--set", "dmi=4").stdout


def test_python_face(files: Path) -> None:
    report = specc.check(files / "faulty.arec")
    assert [d.code for d in report] == ["E0201"]
    assert not len(specc.check(files / "clean.arec"))


# ---------------------------------------------------------------------- fix


def mended(folder: Path, text: str) -> tuple[Result, str]:
    path = folder / "m.arec"
    path.write_bytes(text.encode())
    return run("check", path, "--fix"), path.read_bytes().decode()


def test_fix_mends_and_shows(tmp_path: Path) -> None:
    text = CLEAN.replace("predict click: binary", "predikt click: binary").replace("linear", "liner")
    result, after = mended(tmp_path, text)
    assert after == CLEAN
    assert result.exit_code == 0
    assert "-predikt click" in result.stdout
    assert "+predict click" in result.stdout


def test_fix_goes_on_to_what_was_hidden(tmp_path: Path) -> None:
    """Behind what cannot be read there may be more."""
    text = CLEAN + "// the recipe\ntrain { optimiser: adam, batch: 64 }\n"
    result, after = mended(tmp_path, text)
    assert after == CLEAN + "# the recipe\ntrain { optimizer= adam, batch= 64 }\n"
    assert result.exit_code == 0


def test_fix_keeps_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    text = "\ufeff" + CLEAN.replace("linear", "liner").replace("\n", "\r\n")
    _, after = mended(tmp_path, text)
    assert after == text.replace("liner", "linear")


def test_fix_leaves_alone_what_is_not_certain(tmp_path: Path) -> None:
    result, after = mended(tmp_path, FAULTY)
    assert after == FAULTY
    assert result.exit_code == 1
    assert "did you mean" in result.stdout


def test_fix_of_standard_input_writes_the_spec_to_standard_output() -> None:
    result = run("check", "-", "--fix", text=CLEAN.replace("linear", "liner"))
    assert result.stdout == CLEAN


def test_fix_writes_through_links_and_keeps_the_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real.arec", tmp_path / "link.arec"
    real.write_text(CLEAN.replace("linear", "liner"))
    real.chmod(0o640)
    link.symlink_to(real)
    assert run("check", link, "--fix").exit_code == 0
    assert link.is_symlink()
    assert real.read_text() == CLEAN
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.arec", "real.arec"]


# ------------------------------------------------------------------ explain


def test_explain() -> None:
    shown = run("explain", "E0301")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("E0301: ")
    assert "Faulty:" in shown.stdout
    assert run("explain", "e301").stdout == shown.stdout
    read = json.loads(run("explain", "W0703", "--json").stdout)
    assert read["code"] == "W0703"
    assert "softmax" in read["faulty"]


def test_explain_lists_all() -> None:
    listed = run("explain").stdout
    codes = [p["code"] for p in json.loads(run("explain", "--json").stdout)]
    assert len(codes) > 70
    assert all(code in listed for code in codes)


def test_explain_of_what_there_is_not() -> None:
    result = run("explain", "E0302x")
    assert result.exit_code == 2
    assert "did you mean E0302" in result.stderr
