"""The demonstration: the planted interest is learnt, and the attention looks at it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from specc.cli import main
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
