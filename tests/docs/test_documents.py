"""README and docs do what they say.

In every document, from its top to its end and in one folder of its own: a block under a comment
`<!-- file: NAME -->` is written to that file; every command of a `console` block is run, and what it prints
is what stands below it, where a line `…` stands for any lines and `…` in a line for anything; a `python`
block is run as a program; under `<!-- needs: NAME… -->` where these modules or programs are. Blocks under
`<!-- not run: WHY -->` are left alone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# docs/language.md has tests of its own (tests/lang).
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "language.md"]
_BLOCK = re.compile(
    r"(?:<!-- (?P<what>file|needs|not run): (?P<name>[^>]*?) -->\s*)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    line: int
    file: str | None


def blocks(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        what, name = found["what"], found["name"]
        if what == "not run" or (what == "needs" and not all(map(_is_there, name.split()))):
            continue
        line = text.count("\n", 0, found.start("text"))
        yield Block(found["kind"], found["text"], line, name if what == "file" else None)


def _is_there(name: str) -> bool:
    """Whether there is a module or a program of a name."""
    return find_spec(name) is not None or shutil.which(name) is not None


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block of `console`, and the lines below it."""
    command, printed = "", list[str]()
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, printed
            command, printed = line[2:], []
        elif command.endswith("\\"):
            command = command[:-1] + line.strip()
        else:
            printed.append(line)
    if command:
        yield command, printed


def alike(wanted: list[str], printed: list[str]) -> bool:
    pattern = ""
    for line in wanted:
        parts = [re.escape(part.strip()) for part in line.rstrip().split("…")]
        pattern += r"(.*\n)*?" if line.strip() == "…" else r"\s*" + r"\s*.*?\s*".join(parts) + r"\s*?\n"
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed)) is not None


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for one document. What was started in it, with its number in a file NAME.pid, ends with it."""
    yield tmp_path
    for file in tmp_path.glob("*.pid"):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGTERM)


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda p: p.stem)
def test_a_document_is_true(path: Path, folder: Path) -> None:
    (folder / "specs").symlink_to(ROOT / "specs")
    settings = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
    for block in blocks(path):
        where = f"{path.name}:{block.line}"
        if block.file is not None:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.kind == "python":
            (folder / "example.py").write_text(block.text, encoding="utf-8")
            found = run([sys.executable, "example.py"], folder, settings)
            assert found.returncode == 0, f"{where}\n{found.stdout}"
        elif block.kind == "console":
            for command, wanted in commands(block):
                found = run(["bash", "-c", command], folder, settings)
                said = f"{where} $ {command}\n{found.stdout}"
                assert found.returncode in (0, 1), said
                assert not wanted or alike(wanted, found.stdout.splitlines()), said


def run(command: list[str], folder: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
