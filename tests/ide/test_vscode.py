"""The extension for VS Code: what its files refer to is there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from specc.driver import check

pytest.importorskip("pygls", reason="needs the extra `lsp`")

from specc.lsp.server import EXPLAIN, PICTURE

FOLDER = Path(__file__).parents[2] / "editors" / "vscode"
PACKAGE = json.loads((FOLDER / "package.json").read_text())


def test_its_parts_are_there() -> None:
    contributed = PACKAGE["contributes"]
    named = [
        PACKAGE["main"],
        *(part["configuration"] for part in contributed["languages"]),
        *(part["path"] for part in contributed["snippets"]),
    ]
    assert [name for name in named if not (FOLDER / name).is_file()] == []
    (grammar,) = contributed["grammars"]
    copied = (FOLDER / PACKAGE["scripts"]["grammar"].split("'")[3]).resolve()
    assert json.loads(copied.read_text())["scopeName"] == grammar["scopeName"]


def test_it_calls_what_the_server_and_the_editor_have() -> None:
    text = (FOLDER / "extension.js").read_text()
    called = set(re.findall(r'"(arec\.[a-zA-Z.]+)"', text))
    own = {command["command"] for command in PACKAGE["contributes"]["commands"]}
    assert called == {EXPLAIN, PICTURE} | own


def test_its_snippet_of_a_model_is_sound() -> None:
    lines = json.loads((FOLDER / "snippets.json").read_text())["Model"]["body"]
    text = re.sub(r"\$\{\d+:([^}]*)\}", r"\1", "\n".join(lines)) + "\n"
    assert list(check(text)) == []


@pytest.mark.skipif(not (FOLDER / "node_modules").is_dir(), reason="needs `make vscode-test`'s packages")
def test_the_grammar_colours_its_words() -> None:
    subprocess.run(["npm", "test"], cwd=FOLDER, check=True, capture_output=True)
