"""What `export` writes is whole or not there: whatever it meets, and whenever it ends."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from specc.export import ExportError
from specc.export import export as module
from specc.export.export import export
from specc_runtime.engines import Run, about
from specc_runtime.files import FileError
from tests.cli.test_predict import run
from tests.export.test_portable import untrained
from tests.kills import sweep

SPEC = """\
model shop
space user from request { id: ids(50, 4) }
space ad from candidate { item: ids(700, 40) }
predict click: binary = concat(user, ad) |> linear(1)
"""
SCRIPT = """
from dataclasses import replace
from specc.export import export as module
from specc.export.export import about, export
from specc_runtime.engines import load_exported
from specc_runtime.record import ArtefactError
from tests.export.test_portable import untrained
from tests.export.test_whole import SPEC

model, found = untrained(SPEC)
known = module.program_of(model, "request", written=found.written)
module.program_of = lambda *_: known
module.engine = lambda *_: None
module.furthest = lambda *_: apart
apart = 0.0

def prepare(folder):
    export(model, folder / "shop.pt2", form="request")

def work(folder):
    global apart
    apart = 1e-6
    for weight in known.program.state_dict.values():
        weight.data.add_(1)
    export(model, folder / "shop.pt2", form="request")

def judge(folder):
    try:
        load_exported(folder / "shop.pt2")
    except ArtefactError as told:
        assert "is not the file that was exported: export the model again" in str(told)
    module.replace_file(folder / "shop.pt2").__enter__()  # by it is removed what a killed process left
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        "shop.pt2", "shop.pt2.about",
    }
"""


def test_a_killed_export_leaves_what_was_there(tmp_path: Path) -> None:
    step = 1 if os.environ.get("AREC_LONG") else 11
    assert sweep(SCRIPT, tmp_path, step) > 11


def test_a_program_that_is_off_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = untrained(SPEC)
    path = tmp_path / "shop.pt2"
    export(model, path)
    before = path.read_bytes()
    right = module.engine

    def wrong(*arguments: object) -> Run:
        found: Run = right(*arguments)  # type: ignore[arg-type]
        return lambda tensors: [value + 1e-3 for value in found(tensors)]

    monkeypatch.setattr(module, "engine", wrong)
    with pytest.raises(
        ExportError, match=r"the exported program's click is .* off the model's, of 3 requests"
    ):
        export(model, path)
    with pytest.raises(ExportError, match="off the model's"):
        export(model, tmp_path / "new.pt2")
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shop.pt2", "shop.pt2.about"]


def test_of_what_torch_says_a_sentence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words are of a step of its own, and those of the cause list every weight of a model."""
    model, _ = untrained(SPEC)

    def fails(*_: object) -> None:
        cause = RuntimeError("Pending symbols {u3} not in " + "FakeTensor(size=(31, 64)), " * 100)
        raise RuntimeError("Step 3 of 3 failed") from cause

    monkeypatch.setattr(module, "traced", fails)
    with pytest.raises(ExportError, match=r"Pending symbols \{u3\} not in FakeTensor.* …$") as told:
        export(model, tmp_path / "shop.pt2")
    assert len(str(told.value)) < 300
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """torch aborts the process where it cannot write an archive."""
    model, _ = untrained(SPEC)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(
            FileError, match=r"shop.pt2 cannot be written: the file is too large for the disk"
        ):
            export(model, tmp_path / "shop.pt2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [*tmp_path.iterdir()]


def test_a_file_of_somebodys_is_kept(tmp_path: Path) -> None:
    model, _ = untrained(SPEC)
    rows = tmp_path / "rows.parquet"
    rows.write_text("mine")
    with pytest.raises(FileError, match=r"rows.parquet cannot be replaced: .* move it away, or name another"):
        export(model, rows)
    about(tmp_path / "shop.pt2").mkdir()
    (about(tmp_path / "shop.pt2") / "notes").write_text("mine")
    with pytest.raises(FileError, match=r"shop.pt2.about cannot be replaced: it also holds notes"):
        export(model, tmp_path / "shop.pt2")
    with pytest.raises(FileError, match="/dev/null cannot be written: it is not a file"):
        export(model, "/dev/null")
    assert rows.read_text() == "mine"
    assert not (tmp_path / "shop.pt2").exists()


def test_an_option_that_cannot_be_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for options, said in (
        (("--format", "tf"), "'tf' is not one of 'pt2', 'aoti', 'onnx'"),
        (("-o", tmp_path), f"{tmp_path} is a folder; name a file"),
        (("-o", "/dev/null"), "/dev/null is a device; name a file"),
        (("-o", tmp_path / "x.so", "--format", "aoti"), "x.so does not end in .pt2"),
    ):
        done = run("export", tmp_path / "model", *options)
        assert done.exit_code == 2
        assert said in done.output


def test_nothing_is_traced_for_a_place_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = untrained(SPEC)
    monkeypatch.setattr(module, "program_of", lambda *_: pytest.fail("it was traced"))
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="a part of its path is a file, not a folder"):
        export(model, tmp_path / "file" / "shop.pt2")
