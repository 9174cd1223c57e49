"""A folder of examples is there as a whole, or as it was: whatever the process that writes it meets."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from specc.cli import main
from tests.faults import failing, killed

SPEC = """model m
table items = vocab(100, 4)
space user from request { id: vocab(100, 4) }
space ad from candidate { item: items, price: number }
space history[t <= 5] from request { item: items }
predict click: binary = concat(user, ad, mean(history, over t)) |> linear(1)
"""
KILLED = f"""
import json, hashlib
from pathlib import Path
from specc.prepare import prepare, Settings
from tests.data.specs import manifest
M = manifest({SPEC!r})

def log(folder, count):
    lines = [f"u{{n % 5}},{{n % 9}},{{1600000000 + 7200 * n}},{{n % 4}}.5" for n in range(count)]
    (folder / "log.csv").write_text("\\n".join(["user,item,time,price", *lines, ""]))
    return folder / "log.csv"

def whole(folder):
    # The record, and the files that it lists: each with its hash, and no other.
    record = json.loads((folder / "data.json").read_text())
    files = {{p.name for p in folder.iterdir()}} - {{"data.json", "prepare.yaml"}}
    assert files == set(record["files"]), files
    for name, entry in record["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"], name
    return "valid.parquet" in files
"""


WORK = (
    KILLED
    + """
from specc_runtime.files import FileError as Expected
made = prepare

def prepare(folder):
    made(M, log(folder, 40), folder / "out", Settings(valid="0.2", test="0.2"), True)
    log(folder, 5000)  # so many events that some are kept on the disk meanwhile

def work(folder):
    made(M, folder / "log.csv", folder / "out", Settings(test="0.3"), True, memory="1MB")

def again(folder):
    made(M, log(folder, 60), folder / "out", Settings(test="0.3"))  # cleans up what was left
    assert not whole(folder / "out")
    assert {p.name for p in folder.iterdir()} == {"log.csv", "out"}
"""
)
LONG = bool(os.environ.get("AREC_LONG"))


def test_a_kill_leaves_the_old_folder_or_the_new_one(tmp_path: Path) -> None:
    script = """
def judge(folder):
    whole(folder / "out")
    again(folder)
"""
    assert killed(WORK + script, tmp_path, step=1 if LONG else 67, start=0 if LONG else 5) > 500


@pytest.mark.parametrize("error", [errno.ENOSPC, *([errno.EACCES, errno.EIO] if LONG else [])])
def test_a_disk_that_fails_leaves_the_old_folder(tmp_path: Path, error: int) -> None:
    script = """
def judge(folder):
    # The old one, and nothing beside it; or, where nothing was met, the new one.
    whole(folder / "out")
    assert {p.name for p in folder.iterdir()} == {"log.csv", "out"}
    again(folder)
"""
    assert failing(WORK + script, error, tmp_path, step=1 if LONG else 67, start=0 if LONG else 5) > 500


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["prepare", *map(str, arguments)])
    return done.exit_code, done.output


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "m.arec").write_text(SPEC)
    lines = [f"u{n % 5},{n % 9},{1600000000 + 7200 * n},{n % 4}.5" for n in range(60)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time,price", *lines, ""]))
    return tmp_path / "m.arec", tmp_path / "log.csv"


def test_an_earlier_runs_files_do_not_stay(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert run(*files, "-o", tmp_path / "out", "--valid", "0.2", "--requests")[0] == 0
    assert run(*files, "-o", tmp_path / "out")[0] == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "train.parquet", "test.parquet", "prepare.yaml", "data.json"
    }  # fmt: skip
    record = json.loads((tmp_path / "out" / "data.json").read_text())
    assert record["format"] == 1
    assert record["inputs"][0]["sha256"] == hashlib.sha256(files[1].read_bytes()).hexdigest()
    for name, entry in record["files"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == entry["sha256"]
    assert record["settings"]["negatives"] == 1


def test_other_peoples_files_are_not_removed(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    code, said = run(*files, "-o", tmp_path / "out")
    assert (code, "did not write (thesis.tex)" in said, "--overwrite" in said) == (1, True, True)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
    assert run(*files, "-o", tmp_path / "out", "--overwrite")[0] == 0
    assert not (tmp_path / "out" / "thesis.tex").exists()
    # Never what is read.
    code, said = run(*files, "-o", tmp_path, "--overwrite")
    assert code == 1
    assert "lies in it" in said
    assert files[1].is_file()


def test_a_fault_late_in_the_log_leaves_the_old_folder(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert run(*files, "-o", tmp_path / "out")[0] == 0
    before = (tmp_path / "out" / "data.json").read_bytes()
    with files[1].open("a") as file:
        file.write("u1,3,1600900000,cheap\nu1,3,1600900001,dear\n")
    code, said = run(*files, "-o", tmp_path / "out")
    assert code == 1
    assert "line 62, column `price`: `cheap` is not a number" in said
    assert (tmp_path / "out" / "data.json").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"m.arec", "log.csv", "out"}


def test_it_ends_where_it_is_told_to(files: tuple[Path, Path], tmp_path: Path) -> None:
    lines = [f"u{n % 500},{n % 90},{1600000000 + 7 * n},{n % 4}.5" for n in range(400_000)]
    files[1].write_text("\n".join(["user,item,time,price", *lines, ""]))
    process = subprocess.Popen(
        [sys.executable, "-c", "from specc.cli import main; main()", "prepare", *map(str, files),
         "-o", str(tmp_path / "out")],
        env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "terminated" in said
    assert {p.name for p in tmp_path.iterdir()} == {"m.arec", "log.csv"}
