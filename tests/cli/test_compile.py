"""`specc compile` as a user meets it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import specc
from specc.cli import COMMANDS, main
from specc.testing.batches import random_batch
from specc_runtime import load

SPECS = Path(__file__).parents[2] / "specs"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given in (
        ["compile", SPECS / "din.arec", "-o", ""],
        ["train", SPECS / "din.arec", "x.csv", "-o", ""],
    ):
        done = run(*given)
        assert done.exit_code == 2
        assert "it is empty, and should be a path" in done.output
    assert not list(tmp_path.iterdir())


def test_a_summary_is_not_both_wanted_and_not() -> None:
    done = run("compile", SPECS / "din.arec", "-q", "--json")
    assert done.exit_code == 2
    assert "--quiet leaves out the summary" in done.output


def test_a_compiled_directory_is_a_model(tmp_path: Path) -> None:
    found = run("compile", SPECS / "dsin.arec", "-o", tmp_path, "--set", "dim=8")
    assert found.exit_code == 0, found.output
    written = {"artefact.json", "model.py", "kernels.c", "manifest.json", "scoring.c", "spec.arec"}
    assert {p.name for p in tmp_path.iterdir()} == written
    for said in ("visits_item", "[session <= 5, step <= 10, 8]", "interests", "host -> dense", "scoring"):
        assert said in found.stdout
    model = load(tmp_path, "cpu", untrained=True)
    assert model.manifest["params"]["dim"] == 8
    assert model(random_batch(model.manifest, 3, 0))["click"].shape == (3,)


def test_the_summary_as_json(tmp_path: Path) -> None:
    found = run("compile", SPECS / "din.arec", "-o", tmp_path, "--json", "--device", "cpu")
    data = json.loads(found.stdout)
    assert data["predictions"] == {"click": {"kind": "binary", "column": "click"}}
    assert data["parameters"]["items"] == 16_000_000
    assert set(data["devices"].values()) == {"cpu"}
    assert all(m["bytes"] > 0 for m in data["moves"])


def test_a_warning_is_for_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the line of code that said it."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    run("compile", "--help")
    assert warnings.formatwarning("slower", UserWarning, "cells.py", 3) == "warning: slower\n"


def test_loops_and_attentions_say_what_they_run_on(tmp_path: Path) -> None:
    found = run("compile", SPECS / "dien.arec", "-o", tmp_path, "-q", "-v")
    assert "fast  h (recurrent.arec:" in found.stdout
    assert "slow  weight (dien.arec:44): softmax by itself: its scores come of `paired`" in found.stdout
    data = json.loads(run("compile", SPECS / "dien.arec", "-o", tmp_path, "--json", "-v").stdout)
    assert [k["fast"] for k in data["kernels"]] == [True, False, True]


def test_quiet_is_quiet(tmp_path: Path) -> None:
    found = run("compile", SPECS / "din.arec", "-o", tmp_path, "-q")
    assert (found.exit_code, found.output) == (0, "")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["no/such.arec"], 1, "E0001"),
        ([SPECS / "din.arec", "--set", "hiden=3"], 1, "hiden"),
        ([SPECS / "din.arec", "--set", "dim"], 2, "NAME=VALUE"),
        ([SPECS / "din.arec", "--passes", "fuse"], 2, "there is no pass `fuse`"),
        ([SPECS / "din.arec", "--device", "gpu"], 2, "gpu is no device"),
        ([SPECS / "din.arec", "--place", "itms=cpu"], 1, "did you mean `items`?"),
        ([], 2, "Missing argument"),
    ],
)
def test_mistakes(tmp_path: Path, args: list[str | Path], code: int, said: str) -> None:
    found = run("compile", *args, "-o", tmp_path / "out")
    assert found.exit_code == code, found.output
    assert said in found.output
    assert "Traceback" not in found.output
    assert not (tmp_path / "out").exists()


def test_a_library_beside_the_spec_comes_along(tmp_path: Path) -> None:
    (tmp_path / "mine.arec").write_text("library mine\nblock twice(x[d]) -> [d] {\n  return x + x\n}\n")
    spec = tmp_path / "small.arec"
    spec.write_text(
        "model small\nuse mine\nspace ad from candidate { item: ids(5, 2) }\n"
        "predict click: binary = ad |> mine.twice |> linear(1)\n"
    )
    assert run("compile", spec, "-o", tmp_path / "out").exit_code == 0
    assert specc.check(tmp_path / "out" / "spec.arec").has_errors is False


def test_every_command_has_help() -> None:
    for name in COMMANDS:
        found = run(name, "--help")
        assert found.exit_code == 0, (name, found.output)
        assert len(found.output.splitlines()) > 5
