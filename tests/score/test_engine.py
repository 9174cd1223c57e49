"""Which engine runs a model: what was exported of it, where it is there, has these weights and is quicker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from specc_runtime import ArtefactError, load
from specc_runtime.encode import load_trained
from specc_runtime.score import Scorer, engine
from specc_runtime.score.engine import Engine, engine_of
from tests.serve.test_serve import request, write


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, and what was exported of it beside it."""
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    from specc.export.export import export

    folder = write(tmp_path_factory.mktemp("exported") / "model", seed=3)
    export(load(folder), folder.with_name("model.onnx"), "onnx", "request")
    return folder


def test_without_exported_files_it_is_the_model_itself(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", seed=1)
    assert Scorer.load(folder, engine="auto").engine.told() == "native"
    with pytest.raises(ArtefactError, match="specc export"):
        Scorer.load(folder, engine="onnx")


@pytest.mark.parametrize("wanted", ["onnx", "auto", "file"])
def test_scores_are_the_same(exported: Path, wanted: str) -> None:
    plain = Scorer.load(exported)
    scorer = Scorer.load(exported, engine=exported.with_name("model.onnx") if wanted == "file" else wanted)
    assert scorer.engine.name in (["native", "onnx"] if wanted == "auto" else ["onnx"])
    for seed, candidates in ((6, 4), (7, 1), (8, 0)):
        one = request(seed, candidates)
        for name, values in scorer.score(one).values.items():
            assert values == pytest.approx(plain.score(one).values[name], abs=1e-5)


@pytest.mark.parametrize(
    ("native", "onnx", "best"),
    [(2.0, 1.0, "onnx"), (1.0, 2.0, "native"), (1.0, 0.95, "onnx"), (1.0, 1.0, "native")],
)
def test_the_quickest_runs_and_is_told(
    exported: Path, monkeypatch: pytest.MonkeyPatch, native: float, onnx: float, best: str
) -> None:
    monkeypatch.setattr(engine, "timed", lambda *_: {"native": native, "onnx": onnx})
    found = engine_of(*load_trained(exported), exported, "auto")
    assert found.name == best
    assert (found.run is None) == (best == "native")
    assert found.told() == f"{best} (native {native:.2g} ms, onnx {onnx:.2g} ms for 200 candidates)"


def left_out(folder: Path) -> Engine:
    found = engine_of(*load_trained(folder), folder, "auto")
    assert (found.name, found.run, [*found.left_out]) == ("native", None, ["onnx"])
    return found


def copied(exported: Path, folder: Path) -> Path:
    """The exported file beside another folder."""
    for name in ("model.onnx", "model.onnx.about"):
        os.symlink(exported.with_name(name), folder.with_name(name))
    return folder


def test_what_is_of_other_weights_is_left_out_and_told(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(exported, write(tmp_path / "model", seed=4))
    assert "; not onnx: " in left_out(folder).told()
    assert "has other weights than the model of the folder" in left_out(folder).left_out["onnx"]
    with pytest.raises(ArtefactError, match="it was exported of another one, or before it was trained anew"):
        Scorer.load(folder, engine="onnx")
    # Files that do not say of which weights they are, as earlier versions wrote, are known by what they give.
    before = engine.load_exported

    def unsaid(*given: Any, **named: Any) -> Any:
        found = before(*given, **named)
        object.__setattr__(found, "version", None)
        return found

    monkeypatch.setattr(engine, "load_exported", unsaid)
    assert "gives another `click`" in left_out(folder).left_out["onnx"]


def test_what_cannot_be_run_is_left_out_and_told(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, write(tmp_path / "model", seed=3))
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "model.onnx").write_bytes(b"another")
    assert "is not the file that was exported" in left_out(folder).left_out["onnx"]
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(tmp_path / "model.onnx", 12345, 12345)
    assert "is not of the user" in left_out(folder).left_out["onnx"]
