"""The demonstration: the planted interest is learnt, and the attention looks at it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from specc.cli import demo, main
from specc.demo.events import write_events


def test_events_are_the_seeds(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_events(tmp_path / name, 5, 4, seed)
    first, second, other = ((tmp_path / name).read_text() for name in "abc")
    assert first == second != other


def test_the_demonstration_runs(tmp_path: Path) -> None:
    # Too few users to learn much: what it learns is seen in `make demo`.
    done = CliRunner().invoke(main, ["demo", "--users", "60", "-o", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["results"]["click"]["model"]["logloss"] < 0.75
    assert [looked["path"] for looked in found["looked"]] == ["joined.activation", "joined.activation_2"]
    assert all(looked["matching"] > 0 for looked in found["looked"])
    assert (tmp_path / "model" / "weights.safetensors").is_file()


def test_what_comes_next_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^  specc (.*?)   ", demo.NEXT, re.M)
    assert len(commands) == 3
    for command in commands:
        done = CliRunner().invoke(main, command.split())
        assert done.exit_code == 0, done.output


def test_specc_is_put_on_the_path_where_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.prefix", str(tmp_path / ".venv"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "source .venv/bin/activate" in demo.what_next()
    (tmp_path / "specc").touch(mode=0o755)
    assert "activate" not in demo.what_next()
