"""Every command with everything that a machine can put in its way: a sentence and an exit code, no traceback.

In one process where that will do; streams that are closed or full need one of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from specc.cli import COMMANDS, main

SPEC = """model shop
space user from request { id: vocab(500, 8) }
predict click: binary = user |> linear(1)
"""
LIBRARY = "library parts\nblock squash(x[d]) -> [d] { return tanh(x) }\n"
RUN = "from specc.__main__ import start; start()"


def commands() -> dict[str, click.Command]:
    context = click.Context(main)
    found = {name: main.get_command(context, name) for name in COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


TAKING_FILES = sorted(
    name
    for name, command in commands().items()
    if any(isinstance(p, click.Argument) for p in command.params) and name != "explain"
)


def arguments(name: str, path: str) -> list[str]:
    """A call of a command in which every argument is one path."""
    return [name, *(path for p in commands()[name].params if isinstance(p, click.Argument))]


def outputs(name: str) -> list[str]:
    """The options of a command that say where to write, in their long form."""
    writes = ("out", "write", "html", "output")
    return sorted(
        max(p.opts, key=len)
        for p in commands()[name].params
        if isinstance(p, click.Option) and isinstance(p.type, click.Path) and p.name in writes
    )


def run(arguments: list[str]) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return result


# ------------------------------------------------------------------------- files


def _missing(folder: Path) -> str:
    return str(folder / "nothing.arec")


def _folder(folder: Path) -> str:
    (folder / "folder.arec").mkdir()
    return str(folder / "folder.arec")


def _below_a_file(folder: Path) -> str:
    (folder / "file").write_text("x")
    return str(folder / "file" / "spec.arec")


def _bytes(folder: Path) -> str:
    (folder / "bytes.arec").write_bytes(bytes(range(256)) * 20)
    return str(folder / "bytes.arec")


def _empty(folder: Path) -> str:
    (folder / "empty.arec").write_bytes(b"")
    return str(folder / "empty.arec")


def _long_name(folder: Path) -> str:
    return str(folder / ("a" * 300 + ".arec"))


def _long_bare_name(folder: Path) -> str:
    return "a" * 300


def _no_text_name(folder: Path) -> str:
    return os.fsdecode(os.fsencode(folder) + b"/caf\xe9.arec")


def _no_text_name_there(folder: Path) -> str:
    path = os.fsencode(folder) + b"/caf\xe9.arec"
    Path(os.fsdecode(path)).write_text("model x\nnonsense\n")
    return os.fsdecode(path)


def _full(folder: Path) -> str:
    return "/dev/full"


def _loop(folder: Path) -> str:
    (folder / "loop.arec").symlink_to("loop.arec")
    return str(folder / "loop.arec")


def _library(folder: Path) -> str:
    (folder / "parts.arec").write_text(LIBRARY)
    return str(folder / "parts.arec")


def _spec(folder: Path) -> str:
    (folder / "shop.arec").write_text(SPEC)
    return str(folder / "shop.arec")


WRONG: tuple[Callable[[Path], str], ...] = (
    _missing, _folder, _below_a_file, _bytes, _empty, _long_name, _long_bare_name, _no_text_name,
    _no_text_name_there, _loop,
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__.strip("_"))
@pytest.mark.parametrize("name", TAKING_FILES)
def test_a_wrong_file_is_a_sentence(name: str, wrong: Callable[[Path], str], tmp_path: Path) -> None:
    path = wrong(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = run(arguments(name, path))
    assert result.exit_code in (1, 2), result.output
    assert result.output.strip()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", sorted(set(TAKING_FILES) - {"check", "fmt", "dump"}))
def test_a_library_is_no_model(name: str, tmp_path: Path) -> None:
    result = run(arguments(name, _library(tmp_path)))
    assert result.exit_code in (1, 2), result.output
    assert result.output.strip()


# ----------------------------------------------------------------------- outputs


def _out_below_a_file(folder: Path) -> str:
    (folder / "file").write_text("x")
    return str(folder / "file" / "out.svg")


def _out_long(folder: Path) -> str:
    return str(folder / ("a" * 300 + ".svg"))


def _out_in_proc(folder: Path) -> str:
    return "/proc/nothing/out.svg"


def _out_below_a_device(folder: Path) -> str:
    return "/dev/full/out.svg"


OUT: tuple[Callable[[Path], str], ...] = (_out_below_a_file, _out_long, _out_in_proc, _out_below_a_device)


@pytest.mark.parametrize("wrong", OUT, ids=lambda wrong: wrong.__name__.strip("_"))
@pytest.mark.parametrize("name", [name for name in TAKING_FILES if outputs(name)])
def test_a_place_that_cannot_be_written_is_a_sentence(
    name: str, wrong: Callable[[Path], str], tmp_path: Path
) -> None:
    spec, out = _spec(tmp_path), wrong(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for option in outputs(name):
        result = run([*arguments(name, spec), option, out])
        assert result.exit_code in (1, 2), result.output
        assert result.output.strip()
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everywhere")
@pytest.mark.parametrize("name", TAKING_FILES)
def test_what_may_not_be_read_or_written_is_a_sentence(name: str, tmp_path: Path) -> None:
    spec = Path(_spec(tmp_path))
    spec.chmod(0o000)
    assert run(arguments(name, str(spec))).exit_code in (1, 2)
    spec.chmod(0o644)
    tmp_path.chmod(0o555)
    for option in outputs(name):
        assert run([*arguments(name, str(spec)), option, str(tmp_path / "out.svg")]).exit_code in (1, 2)
    tmp_path.chmod(0o755)


# ----------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "name", [n for n, c in commands().items() if any(p.name == "params" for p in c.params)]
)
@pytest.mark.parametrize(
    "given", ["[" * 3_000, "dim=" + "[" * 3_000, "dim=null", "dim=1e999", "dim=", "=3", "dim"]
)
def test_a_setting_of_no_sense_is_a_sentence(name: str, given: str, tmp_path: Path) -> None:
    result = run([*arguments(name, _spec(tmp_path)), "--set", given])
    assert result.exit_code in (1, 2), result.output


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_option_that_there_is_not_is_wrong_usage(name: str) -> None:
    assert run([name, "--no-such-option"]).exit_code == 2
    assert run([name, "--help"]).exit_code == 0


# ---------------------------------------------------------------------- interrupts


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_interrupt_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands()[name], "make_context", interrupted)
    result = run([name])
    assert result.exit_code == 130
    assert result.output.strip() == "interrupted"


def test_an_interrupt_while_modules_are_read_is_told(tmp_path: Path) -> None:
    script = (
        "import builtins, sys\n"
        "real = builtins.__import__\n"
        "def imports(name, *a, **k):\n"
        "    if name == 'specc.cli': raise KeyboardInterrupt\n"
        "    return real(name, *a, **k)\n"
        "from specc.__main__ import start\n"
        "assert 'specc.driver' not in sys.modules\n"  # before that nobody catches an interrupt
        "builtins.__import__ = imports\n"
        "start()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


# ------------------------------------------------------------------------- streams

PRINTING = (
    ["check", "--format", "json", "shop.arec"], ["fmt", "-"], ["explain", "E0301"], ["show", "shop.arec"],
    ["dump", "shop.arec"], ["variants", "--list", "shop.arec"], ["--help"],
)  # fmt: skip


def shell(arguments: list[str], redirected: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "shop.arec").write_text(SPEC)
    command = f'"$0" -c "$1" "${{@:2}}" {redirected}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, RUN, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", PRINTING, ids=lambda given: given[0])
def test_a_full_disk_under_the_output_is_told(arguments: list[str], tmp_path: Path) -> None:
    done = shell(arguments, "< shop.arec > /dev/full", tmp_path)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("arguments", PRINTING, ids=lambda given: given[0])
def test_an_output_that_is_closed_is_told(arguments: list[str], tmp_path: Path) -> None:
    done = shell(arguments, "< shop.arec >&-", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: stdout is closed\n"


@pytest.mark.parametrize(
    "arguments", [["check", "-"], ["fmt", "-"], ["dump", "-"]], ids=lambda given: given[0]
)
def test_an_input_that_is_closed_is_told(arguments: list[str], tmp_path: Path) -> None:
    done = shell(arguments, "<&-", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: stdin is closed\n"


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    done = shell(["explain"], "| true", tmp_path)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_terminal_of_ascii_takes_every_answer(tmp_path: Path) -> None:
    (tmp_path / "bad.arec").write_text("model shop\nsp\u00e4ce x\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", RUN, "check", "bad.arec"],
        cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"E0101" in done.stdout
    assert not done.stderr
