"""`specc fmt`: what is written, what is only said, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from specc.cli import main

LOOSE = "model m\nparam  dim=8\n"
TIDY = "model m\n\nparam dim = 8\n"
FAULTY = "model m\n\nparam = 8\n"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "m.arec"
    path.write_text(LOOSE)
    return path


def fmt(*args: object, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(main, ["fmt", *map(str, args)], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_a_file_is_rewritten_once(spec: Path) -> None:
    spec.chmod(0o640)
    first = fmt(spec)
    assert (first.exit_code, spec.read_text()) == (0, TIDY)
    assert "changed" in first.stderr
    assert spec.stat().st_mode & 0o777 == 0o640
    stamp = spec.stat().st_mtime_ns
    assert fmt(spec).output == ""
    assert spec.stat().st_mtime_ns == stamp
    assert [p.name for p in spec.parent.iterdir()] == ["m.arec"]


def test_check_and_diff_change_nothing(spec: Path) -> None:
    assert fmt(spec, "--check").exit_code == 1
    shown = fmt(spec, "--diff")
    assert shown.exit_code == 0
    assert "-param  dim=8\n" in shown.stdout
    assert "+param dim = 8\n" in shown.stdout
    assert fmt(spec, "--check", "--diff").exit_code == 1
    assert spec.read_text() == LOOSE
    spec.write_text(TIDY)
    assert fmt(spec, "--check").exit_code == 0


def test_a_folder_stands_for_its_specs(spec: Path) -> None:
    (spec.parent / "more").mkdir()
    other = spec.parent / "more" / "n.arec"
    other.write_text(LOOSE)
    assert fmt(spec.parent).exit_code == 0
    assert (spec.read_text(), other.read_text()) == (TIDY, TIDY)
    (spec.parent / "empty").mkdir()
    assert fmt(spec.parent / "empty").exit_code == 2


def test_standard_input_goes_to_standard_output() -> None:
    assert fmt("-", stdin=LOOSE).stdout == TIDY
    assert fmt("-", stdin=b"\xef\xbb\xbfmodel m\r\nparam dim = 8\r\n").stdout == TIDY
    faulty = fmt("-", stdin=FAULTY)
    assert (faulty.exit_code, faulty.stdout) == (1, "")
    assert "E01" in faulty.stderr


def test_what_cannot_be_read_is_reported_and_left(spec: Path, tmp_path: Path) -> None:
    faulty = tmp_path / "faulty.arec"
    faulty.write_text(FAULTY)
    result = fmt(faulty, spec, tmp_path / "absent.arec")
    assert result.exit_code == 1
    assert "faulty.arec:3" in result.stderr
    assert "absent.arec" in result.stderr
    assert faulty.read_text() == FAULTY
    assert spec.read_text() == TIDY
