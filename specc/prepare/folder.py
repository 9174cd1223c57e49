"""The folder that examples go to: there as a whole, or as it was before.

Promises: a kill, a full disk or an error leaves what was there. A folder that holds what `specc prepare` did
not write is not replaced unless that was said, and never if what is read lies in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from specc.prepare.output import Written
from specc.prepare.settings import PrepareError
from specc.version import __version__
from specc_runtime.files import replace_folder

FORMAT = 1
RECORD, SETTINGS = "data.json", "prepare.yaml"
WORK = ".work"
PARTS = ("train", "valid", "test", "requests")
OWN = frozenset({*PARTS, *(f"{part}.parquet" for part in PARTS), RECORD, SETTINGS})


@contextmanager
def replaced(directory: Path, inputs: Iterable[Path], overwrite: bool) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `directory` at the end.

    Raises PrepareError, and FileError where the disk cannot be written.
    """
    target = Path(os.path.realpath(directory))
    inside = [path for path in inputs if target in Path(os.path.realpath(path)).parents]
    if inside:
        raise PrepareError(
            f"{directory} is to be replaced as a whole, and {inside[0]} lies in it; choose another folder "
            "with -o"
        )
    others = sorted(name for name in os.listdir(target) if name not in OWN) if target.is_dir() else []
    if others and not overwrite:
        names = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        raise PrepareError(
            f"{directory} holds what `specc prepare` did not write ({names}), and is replaced as a whole; "
            "choose another "
            "folder with -o, or give --overwrite to remove all that is in it"
        )
    with replace_folder(directory, lambda name: overwrite or name in OWN) as fresh:
        yield fresh


def write_record(
    folder: Path,
    manifest: Mapping[str, Any],
    settled: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    files: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write prepare.yaml, which may be edited, and data.json. inputs, files: what it says of each file
    that was read, and of each that was written, by name."""
    (folder / SETTINGS).write_text(
        "# How these examples were made. Edit it, and give it to `specc prepare --map`.\n"
        + yaml.safe_dump(dict(settled), sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    record = {
        "format": FORMAT,
        "made by": {"arec": __version__, "pyarrow": version("pyarrow"), "numpy": version("numpy")},
        "spec": {"name": manifest["name"], "sha256": _of_manifest(manifest)},
        "inputs": list(inputs),
        "settings": settled,
        "files": dict(sorted(files.items())),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def files_of(folder: Path, written: Sequence[Written]) -> dict[str, dict[str, Any]]:
    """Return by name what data.json says of the files of examples in a folder. written: the last one's
    requests are those of requests.parquet."""
    rows = {f"{w.name}.parquet": w.rows for w in written}
    if (folder / "requests.parquet").exists():
        rows["requests.parquet"] = written[-1].requests
    return {name: {"rows": count, "sha256": digest(folder / name)} for name, count in rows.items()}


def input_of(path: Path) -> dict[str, Any]:
    """Return what data.json says of a file that was read."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest(path)}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_manifest(manifest: Mapping[str, Any]) -> str:
    """Return the hash of what examples depend on: spaces, fields and predictions."""
    parts = {key: manifest[key] for key in ("axes", "spaces", "fields", "predictions")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
