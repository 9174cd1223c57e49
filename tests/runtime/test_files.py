"""Files and folders are replaced whole, by one process at a time, and what stands in the way is said."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from specc_runtime import files
from specc_runtime.files import FileError, exclusive, replace_file, replace_folder
from tests.kills import sweep


def anything(name: str) -> bool:
    return True


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".aside")]


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_file_is_written_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.parquet"
    with replace_file(path) as fresh:
        assert fresh.name == path.name
        fresh.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    path.chmod(0o640)
    with replace_file(path) as fresh:
        fresh.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert not leftovers(path.parent)


def failing_file(path: Path | str, error: BaseException) -> None:
    with replace_file(path) as fresh:
        fresh.write_text("new")
        raise error


def failing_folder(path: Path, error: BaseException) -> None:
    with replace_folder(path, anything) as fresh:
        (fresh / "a").write_text("new")
        raise error


def test_what_fails_leaves_what_was(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")
    folder.mkdir()
    (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError):
        failing_file(file, ZeroDivisionError())
    with pytest.raises(KeyboardInterrupt):
        failing_folder(folder, KeyboardInterrupt())
    assert tree(tmp_path) == {"file": "old", "folder/a": "old"}
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_is_replaced_with_all_that_is_in_it(
    tmp_path: Path, swaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swaps:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    path = tmp_path / "data"
    for content in ({"a": "1", "b": "1"}, {"b": "2", "c": "2"}, {}):
        with replace_folder(path, {"a", "b", "c"}.__contains__) as fresh:
            for name, text in content.items():
                (fresh / name).write_text(text)
        assert tree(path) == content
    assert not leftovers(tmp_path)


def test_another_ones_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("all of it")
    with (
        pytest.raises(FileError, match=r"home cannot be replaced: it also holds thesis\.tex"),
        replace_folder(tmp_path / "home", {"data.json"}.__contains__),
    ):
        pass
    assert tree(tmp_path) == {"home/thesis.tex": "all of it"}
    with (
        pytest.raises(FileError, match="is a file, not a folder"),
        replace_folder(tmp_path / "home" / "thesis.tex", anything),
    ):
        pass
    with pytest.raises(FileError, match="it is a folder"), replace_file(tmp_path / "home"):
        pass


def test_links_relative_paths_and_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").symlink_to("real/a")
    monkeypatch.chdir(tmp_path)
    with replace_file("file") as fresh:
        fresh.write_text("new")
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "new"
    with replace_folder("link", anything) as whole:
        (whole / "b").write_text("newer")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "real") == {"b": "newer"}
    with replace_file("plain") as fresh:
        fresh.write_text("here")
    assert Path("plain").read_text() == "here"
    with replace_file("/dev/null") as fresh:
        fresh.write_text("nowhere")
    assert Path("/dev/null").is_char_device()
    with replace_file("x" * 250) as fresh:
        fresh.write_text("long")


def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileError, match=r"a/b cannot be written: a part of its path is a file, not a folder"):
        failing_file(tmp_path / "a" / "b", full)
    with pytest.raises(FileError, match="no space is left"):
        failing_file(tmp_path / "full", full)
    with pytest.raises(FileError, match="no space is left"):
        failing_folder(tmp_path / "full", full)
    with pytest.raises(FileError, match="full cannot be written: no space is left"):
        failing_file("/dev/full", ValueError())
    with pytest.raises(FileError, match="its name is too long"):
        failing_file(tmp_path / ("x" * 300), full)
    with pytest.raises(FileNotFoundError):
        failing_file(tmp_path / "c", FileNotFoundError(errno.ENOENT, "No such file", "another"))
    assert sorted(os.listdir(tmp_path)) == ["a"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:  # root may write anywhere
            os.seteuid(65534)
        with pytest.raises(FileError, match="a cannot be written: you may not write there"):
            failing_file(tmp_path / "a", ValueError())
        with pytest.raises(FileError, match="b cannot be written: you may not write there"):
            exclusive(tmp_path / "b", "specc train").__enter__()
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("swaps", [True, False])
def test_killed_anywhere_a_folder_is_old_or_new(tmp_path: Path, swaps: bool) -> None:
    script = f"""
    import os
    from specc_runtime import files
    if not {swaps}:
        files._exchange = lambda first, second: False
    def write(folder, text):
        with files.replace_folder(folder / "data", lambda name: True) as fresh:
            (fresh / "a").write_text(text)
            (fresh / "inner").mkdir()
            (fresh / "inner" / "b").write_text(text)
    def prepare(folder):
        write(folder, "old")
    def work(folder):
        write(folder, "new")
    def judge(folder):
        files.clean(folder / "data")
        found = [(folder / "data" / name).read_text() for name in ("a", "inner/b")]
        assert found in (["old"] * 2, ["new"] * 2), found
        assert os.listdir(folder) == ["data"], os.listdir(folder)
    """
    assert sweep(script, tmp_path) > 12


def test_killed_anywhere_a_file_is_old_or_new(tmp_path: Path) -> None:
    script = """
    import os
    from specc_runtime import files
    def write(folder, text):
        with files.replace_file(folder / "a") as fresh:
            fresh.write_text(text)
    def prepare(folder):
        write(folder, "old")
    def work(folder):
        write(folder, "new")
    def judge(folder):
        assert (folder / "a").read_text() in ("old", "new")
        files.clean(folder / "a")
        assert os.listdir(folder) == ["a"], os.listdir(folder)
    """
    assert sweep(script, tmp_path) > 5


HOLD = """
import sys, time
from specc_runtime.files import exclusive, replace_file
with exclusive(sys.argv[1], "specc train"), replace_file(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    folder, file = tmp_path / "model", tmp_path / "file"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), str(file)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        message = rf"model is in use by `specc train` of process {other.pid} on .*; wait for it, or choose"
        with pytest.raises(FileError, match=message), exclusive(folder, "specc train"):
            pass
        # What a process that runs has beside a path is its own.
        with replace_file(file) as fresh:
            fresh.write_text("mine")
        assert len(leftovers(tmp_path)) == 1
    finally:
        other.kill()
        other.wait()
        assert other.stdout is not None
        other.stdout.close()
    begun = time.monotonic()
    with exclusive(folder, "specc train"):
        pass
    with replace_file(file) as fresh:
        fresh.write_text("mine")
    assert time.monotonic() - begun < 5
    assert not leftovers(tmp_path)


def test_what_was_held_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "model", "x"):
        print(1 / 0)
    assert not os.listdir(tmp_path)
