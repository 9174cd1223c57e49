"""The wheel: what a user without the repository gets."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SPEC = """
model mine

space ad from candidate { item: ids(100, 8) }
space history[t <= 20] from request { item: ids(100, 8) }

predict click: binary = concat(ad, history |> gru(8) |> last(over t)) |> mlp([16]) |> linear(1)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment with the wheel in it. Dependencies are those of the
    running environment; the project itself is only in the wheel."""
    folder = tmp_path_factory.mktemp("package")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("arec-*.whl")
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / "bin"
    install = [programs / "python", "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    # A path in a .pth file is searched, but the .pth files in it (the editable project's) are not read.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return programs


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    # With PYTHONPATH the running environment's project would come before the wheel.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(c) for c in command], cwd="/", capture_output=True, text=True, check=False, env=own
    )


def test_a_spec_compiles_from_anywhere(installed: Path, tmp_path: Path) -> None:
    spec = tmp_path / "mine.arec"
    spec.write_text(SPEC)
    found = run(installed / "specc", "compile", spec, "-o", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    where = run(installed / "python", "-c", "import specc, specc_runtime; print(specc.__file__)")
    assert str(installed.parent) in where.stdout
    out = str(tmp_path / "out")
    load = f"import specc_runtime; print(len(specc_runtime.load({out!r}, untrained=True).state_dict()))"
    assert int(run(installed / "python", "-c", load).stdout) > 5


def test_a_shipped_spec_goes_by_its_name(installed: Path, tmp_path: Path) -> None:
    found = run(installed / "specc", "compile", "dsin", "-o", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    assert "dsin: dsin ->" in found.stdout
