"""`%%arec`: a cell becomes a model, or its faults are shown at its own lines, and never a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import specc
from specc_runtime import Model

pytest.importorskip("IPython")

SPEC = """model shop
param dim = 4 in {4, 8}
table items = vocab(20, dim)
space ad from candidate { item: items }
space history[t <= 5] from request { item: items }
predict click: binary = concat(ad, mean(history, over t)) |> mlp([8]) |> linear(1)
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    shell.run_cell("%load_ext specc")
    yield shell
    InteractiveShell.clear_instance()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_cell_is_a_model(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    done = shell.run_cell(f"%%arec\n{SPEC}")
    assert done.success
    assert isinstance(shell.user_ns["shop"], Model)
    assert "shop is this model" in capsys.readouterr().out
    assert shell.run_cell(f"%%arec other dim=8\n{SPEC}").success
    assert shell.user_ns["other"].part("items").weight.shape[1] == 8
    assert shell.run_cell(f"%%arec shop\n{SPEC}").success  # once more
    shell.run_cell(f"%%arec shop -o kept.arec\n{SPEC}")
    assert not specc.check("kept.arec").has_errors
    shell.run_cell("%%arec -o lib.arec\nlibrary lib\nblock twice(x[d]) -> [d] {\n  return x + x\n}\n")
    assert "lib.arec is written" in capsys.readouterr().out
    assert not specc.check("lib.arec").has_errors


def test_faults_are_at_the_lines_of_the_cell(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell(f"%%arec\n{SPEC}")
    before = shell.user_ns["shop"]
    capsys.readouterr()
    done = shell.run_cell("%%arec\n" + SPEC.replace("mlp", "mlpp").replace("over t", "over s"))
    said = capsys.readouterr().out
    assert isinstance(done.error_in_exec, specc.SpecError)
    assert "\x1b[1;31m" in said
    assert re.search(r"--> In\[\d+\]:7:55\n.*\n7 \| predict click", plain(said)), plain(said)
    assert "did you mean `mlp`?" in plain(said)
    assert "specc check --fix" not in said
    assert "Traceback" not in said
    assert "2 errors" in plain(said)
    assert "shop is still the model that it was before this cell" in said
    assert shell.user_ns["shop"] is before


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%arec a b\n" + SPEC, "one name is enough, and these are 2: a, b"),
        ("%%arec class\n" + SPEC, "'class' is no name in Python"),
        ("%%arec shop dim=\n" + SPEC, "'dim=' is not NAME=VALUE"),
        ("%%arec --dim 8\n" + SPEC, "unrecognized arguments: --dim"),
        ("%%arec 'shop\n" + SPEC, "No closing quotation"),
        ("%%arec -o .\n" + SPEC, "cannot be written"),
        ("%%arec\nlibrary lib\n", "a library predicts nothing"),
        ("%%arec shop dim=5\n" + SPEC, "dim"),
        ("%%arec\n", "the cell body is empty"),
        ("%%arec\nmodel shop\n\n", "E0"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    shell: Any, capsys: pytest.CaptureFixture[str], cell: str, said: str
) -> None:
    done = shell.run_cell(cell)
    assert not done.success
    told = capsys.readouterr()
    assert said in plain(told.out + told.err)
    assert "Traceback" not in told.out + told.err
    assert "shop" not in shell.user_ns


def test_compile_in_a_cell_shows_faults_and_no_traceback(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns["spec"] = SPEC.replace("mlp", "mlpp")
    done = shell.run_cell("import specc\nspecc.compile(spec)")
    assert not done.success
    said = plain(capsys.readouterr().out)
    assert "error[E0201]" in said
    assert "Traceback" not in said


def test_a_mistake_in_data_is_a_sentence(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell(f"%%arec\n{SPEC}")
    capsys.readouterr()
    done = shell.run_cell(
        "from pathlib import Path\nfrom specc_runtime import Recipe, fit\n"
        "fit(shop, [Path('no.csv')], Path('m'), Recipe.of(shop.manifest))"
    )
    assert not done.success
    said = plain(capsys.readouterr().out)
    assert said.splitlines()[0].startswith("DataError: no.csv: ")
    assert "  --> line 3: fit(shop, [Path('no.csv')]" in said
    assert "Traceback" not in said


def test_a_model_shows_its_picture(shell: Any) -> None:
    model = specc.compile(SPEC, dim=8)
    data, _ = shell.display_formatter.format(model)
    assert "shop: dim = 8\n" in data["text/plain"]
    assert re.search(r"items +160 ", data["text/plain"])
    assert 'src="data:image/svg+xml;base64,' in data["text/html"]
    assert "history.item" in data["text/html"]


def test_nothing_imports_ipython_unasked() -> None:
    import subprocess
    import sys

    script = (
        "import sys, specc, specc.notebook, specc.inspect, specc_runtime\n"
        "from specc.notebook.models import bundle\n"
        f"assert 'text/html' in specc.compile({SPEC!r})._repr_mimebundle_()\n"
        "assert 'IPython' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
