"""Models of earlier versions load, score as they did and go on; what cannot be run says so and what to do."""

from __future__ import annotations

import inspect
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import specc
from specc.cli import main
from specc.version import INTERFACE
from specc_runtime import ArtefactError, layers, load, ops, save, version
from specc_runtime.record import MANIFEST, RECORD, digest, held

# Said once, in the test of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*was compiled by arec .* for runtime interface")
ARTEFACTS = Path(__file__).parents[1] / "artefacts"
EARLIER = ARTEFACTS / "format2"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shutil.copytree(EARLIER / "model", tmp_path / "model")
    return tmp_path / "model"


def answers(model: Path, *options: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(main, ["score", str(model), str(EARLIER / "requests.jsonl"), *options])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def assert_close(found: list[dict[str, Any]], name: str) -> None:
    wanted = [json.loads(line) for line in (EARLIER / name).read_text().splitlines()]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        for prediction in ("click", "stay"):
            assert one[prediction] == pytest.approx(other[prediction], abs=1e-5)


def test_it_scores_as_it_did(model: Path) -> None:
    """With its own code, and compiled again."""
    assert_close(answers(model), "scores.jsonl")
    assert_close(answers(model, "--untrusted"), "scores.jsonl")


def test_it_says_that_it_would_be_faster_compiled_again(model: Path) -> None:
    with pytest.warns(
        UserWarning, match="for runtime interface 1: it gives what it gave, more slowly"
    ) as told:
        load(model)
    assert "r.save(specc.load('FOLDER'), 'FOLDER')" in str(told[0].message)
    save(specc.load(model), model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(model)
    assert_close(answers(model), "scores.jsonl")


def test_its_training_goes_on(model: Path) -> None:
    resume = ["--resume", "--epochs", "3", "--seed", "1"]
    done = CliRunner().invoke(main, ["train", str(model), str(EARLIER / "train.parquet"), *resume])
    assert done.exit_code == 0, done.output
    assert_close(answers(model), "resumed.jsonl")


def compiled_for(folder: Path, interface: int) -> None:
    """Make a folder one that an arec 9.0 has compiled for another runtime interface."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["versions"] = {"compiler": "9.0", "interface": interface}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    recorded = json.loads((folder / RECORD).read_text())
    recorded["files"][MANIFEST] = digest(folder / MANIFEST)
    (folder / RECORD).write_text(json.dumps(recorded))


def test_a_model_for_a_newer_runtime_says_so(model: Path) -> None:
    compiled_for(model, INTERFACE + 1)
    wanted = rf"compiled by arec 9\.0 for runtime interface {INTERFACE + 1}; this is arec-runtime .* upgrade"
    with pytest.raises(ArtefactError, match=wanted):
        load(model)
    done = CliRunner().invoke(main, ["score", str(model), str(EARLIER / "requests.jsonl")])
    assert done.exit_code == 1
    assert "upgrade arec-runtime" in done.output


def test_a_model_for_a_runtime_of_long_ago_is_compiled_again(model: Path) -> None:
    compiled_for(model, 0)
    with pytest.raises(ArtefactError, match=r"interface 0, which arec-runtime .* no longer has") as raised:
        load(model)
    # What the message says to run.
    assert "r.save(specc.load('FOLDER'), 'FOLDER')" in str(raised.value)
    save(specc.load(model), model)
    assert_close(answers(model), "scores.jsonl")


def test_a_folder_of_a_newer_format_says_so(model: Path) -> None:
    recorded = json.loads((model / RECORD).read_text())
    (model / RECORD).write_text(json.dumps({**recorded, "format": 99}))
    with pytest.raises(ArtefactError, match=r"is of format 99; this is arec-runtime .* upgrade it"):
        load(model)


def test_a_folder_names_the_versions_that_made_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compile", "fm", "-o", str(tmp_path / "fm")])
    assert done.exit_code == 0, done.output
    found = held(tmp_path / "fm").record
    assert found is not None
    assert found.versions.keys() == {"arec", "interface", "runtime", "torch"}
    assert (found.versions["arec"], found.versions["interface"]) == (specc.__version__, INTERFACE)
    assert found.versions["runtime"] == version.__version__


def test_compiler_and_runtime_are_of_one_version() -> None:
    assert specc.__version__ == version.__version__
    assert version.OLDEST_INTERFACE <= INTERFACE == version.INTERFACE


def test_what_an_earlier_interface_has_is_there_and_more_has_a_higher_number() -> None:
    """interface3.txt has a line for each function of interface 3: its name, and its parameters in order."""
    earlier = {
        name: parameters
        for name, *parameters in map(str.split, (ARTEFACTS / "interface3.txt").read_text().splitlines())
    }
    found = offered()
    assert not earlier.keys() - found.keys(), "raise OLDEST_INTERFACE"
    for name, parameters in earlier.items():
        assert [*found[name]][: len(parameters)] == parameters, f"{name}: raise OLDEST_INTERFACE"
        added = [*found[name].values()][len(parameters) :]
        assert all(p.default is not p.empty for p in added), f"{name}: raise OLDEST_INTERFACE"
    grown = found.keys() > earlier.keys() or any(len(found[name]) > len(earlier[name]) for name in earlier)
    assert not grown or INTERFACE > 3, "raise INTERFACE"


def offered() -> dict[str, dict[str, inspect.Parameter]]:
    """By name the parameters of what a `model.py` may call."""
    own = {
        f"{prefix}.{name}": value
        for prefix, module in (("ops.dense", ops.dense), ("ops.segment", ops.segment), ("layers", layers))
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", "") == module.__name__
    }
    own |= {f"ops.{name}": getattr(ops, name) for name in ops.__all__}
    builtin = {"ops.logsumexp"}  # which do not say what they take
    return {
        name: {} if name in builtin else dict(inspect.signature(value).parameters)
        for name, value in own.items()
        if callable(value)
    }
