"""Scratch packages as a fresh interpreter finds them installed: code, and what pip writes beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

REPO = Path(__file__).parents[2]
PACKAGES = Path(__file__).parent / "packages"


def install(
    folder: Path, package: str, points: Mapping[str, Mapping[str, str]], version: str = "1.0"
) -> None:
    """Put a package into a folder. points: by group, its entry points."""
    if (PACKAGES / package).is_dir():
        shutil.copytree(PACKAGES / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    about = folder / f"{package}-{version}.dist-info"
    about.mkdir(parents=True)
    name = package.replace("_", "-")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = (
        "\n".join([f"[{group}]", *(f"{k} = {v}" for k, v in of.items())]) for group, of in points.items()
    )
    (about / "entry_points.txt").write_text("\n\n".join(groups) + "\n")


def operations(folder: Path, *packages: str) -> None:
    """Install some of the scratch packages that bring an operation."""
    for package in packages:
        name = package.removeprefix("arec_")
        module = f"{package}.operation" if (PACKAGES / package / "operation.py").exists() else package
        install(folder, package, {"arec.operations": {name: f"{module}:{name.upper()}"}})


def run(folder: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Python with the packages of a folder, and this compiler."""
    paths = os.pathsep.join(map(str, (folder, REPO, REPO / "runtime")))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd or folder,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "110"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
