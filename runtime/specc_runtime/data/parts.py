"""Which files are learned from, which the best epoch is chosen by, and which are tested on.

Promises: names are names, nothing is globbed. In a folder, files and subfolders called train, valid
(validation, val, dev) and test, alone or before `-`, `_`, `.` or a digit, are what they are called, and
`said` says so. Hidden files, what begins with `_`, and `data.json`, `prepare.yaml`, `requests…` are no
examples. What could be meant in two ways is refused, and so is a folder that its own data.json does not
describe.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from specc_runtime.data.chunks import unreadable
from specc_runtime.encode.faults import DataError, Fault

FORMATS = {
    ".parquet": "Parquet", ".pq": "Parquet", ".arrow": "Arrow", ".feather": "Arrow", ".ipc": "Arrow",
    ".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSON lines", ".ndjson": "JSON lines",
}  # fmt: skip
PACKED = (".gz", ".zst", ".bz2")
RECORD = "data.json"
HASHED = 64 << 20  # bytes of a file whose content is compared too
_NAMES = {
    "train": re.compile(r"(train|training)([-_.0-9].*)?", re.I),
    "valid": re.compile(r"(valid|validation|val|dev)([-_.0-9].*)?", re.I),
    "test": re.compile(r"(test|testing)([-_.0-9].*)?", re.I),
}
_LEFT_OUT = re.compile(r"[._].*|data\.json|prepare\.yaml|requests([-_.].*)?", re.I)


@dataclass(frozen=True)
class Parts:
    """Files by what they are for. said: what was decided, a line each."""

    train: list[Path]
    valid: list[Path] = field(default_factory=list)
    test: list[Path] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


# What is said of each part.
USES = {"train": "learned from", "valid": "the best epoch is chosen by it", "test": "tested on"}


def find_parts(paths: Iterable[str | Path], uses: Mapping[str, str] = USES) -> Parts:
    """The parts that some files and folders are. uses: what is said of each part. Raises DataError."""
    parts: dict[str, list[Path]] = {"train": [], "valid": [], "test": []}
    said: list[str] = []
    faults: list[Fault] = []
    given = [Path(path) for path in paths]
    files = [path for path in given if not path.is_dir()]
    called = {path: part_of(path) for path in files}
    mixed = "train" in called.values() and len(set(called.values())) > 1
    unnamed = [path for path in files if called[path] is None]
    if mixed and unnamed:
        names = ", ".join(str(path) for path in unnamed)
        what = "it is not said which part it is, and other files are called train and test"
        faults.append(Fault(names, what, help="give --valid and --test their files by themselves"))
    for path in given:
        if not path.exists() or not path.is_dir():
            if not path.exists():
                faults.append(Fault(str(path), "there is no such file", help="check the path"))
            part = (called[path] or "train") if mixed else "train"
            parts[part].append(path)
            if mixed:
                said.append(f"{path}: {uses[part]}")
            continue
        try:
            found = _in_folder(path, uses)
        except DataError as error:
            faults += error.faults
            continue
        for part, some in (("train", found.train), ("valid", found.valid), ("test", found.test)):
            parts[part] += some
        said += found.said
    if faults:
        raise DataError(faults)
    return Parts(parts["train"], parts["valid"], parts["test"], said)


def find_files(paths: Iterable[str | Path]) -> list[Path]:
    """The files of some paths, and of folders that have no parts. Raises DataError."""
    return find_named(paths, None)[0]


def find_tests(paths: Iterable[str | Path]) -> tuple[list[Path], list[str]]:
    """The files to test on: of a folder that has parts its test part, else all; and what was decided."""
    return find_named(paths, "test")


def find_named(paths: Iterable[str | Path], part: str | None) -> tuple[list[Path], list[str]]:
    found: list[Path] = []
    said: list[str] = []
    faults: list[Fault] = []
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.exists():
                faults.append(Fault(str(path), "there is no such file", help="check the path"))
            found.append(path)
            continue
        try:
            parts = _in_folder(path)
        except DataError as error:
            faults += error.faults
            continue
        divided = bool(parts.valid or parts.test)
        if not divided and (part is None or not _names_parts(path)):
            found += parts.train
        elif part == "test" and parts.test:
            found += parts.test
            said.append(f"{path}: its part called test is taken, {_counted(parts.test)}")
        else:
            has = ", ".join(n for n in ("train", "valid", "test") if getattr(parts, n))
            what = "it has no part called test" if part else "it has several parts"
            faults.append(Fault(str(path), f"{what}, but {has}", help="name the files or folder to take"))
    if faults:
        raise DataError(faults)
    return found, said


def part_of(path: Path) -> str | None:
    """What a file or folder is called."""
    return next((part for part, names in _NAMES.items() if names.fullmatch(path.name)), None)


def _names_parts(folder: Path) -> bool:
    return any(part_of(path) for path in folder.iterdir())


def _in_folder(folder: Path, uses: Mapping[str, str] = USES) -> Parts:
    try:
        entries = sorted(p for p in folder.iterdir() if not _LEFT_OUT.fullmatch(p.name))
    except OSError as error:
        raise DataError([unreadable(folder, error)]) from None
    skipped: list[Path] = []
    named: dict[str, list[Path]] = {}
    loose: list[Path] = []
    for entry in entries:
        part = part_of(entry)
        files = _below(entry, part, skipped)
        if not files:
            continue
        if part is None:
            loose += files
        else:
            named.setdefault(part, []).append(entry)
    said = [f"{path}: left out, as it is no file of examples by its name" for path in skipped]
    if not named and not loose:
        help = f"it may hold files called {' '.join(FORMATS)}, each also with {' '.join(PACKED)}; "
        help += "files of other names are given by their own"
        raise DataError([Fault(str(folder), "the folder has no file of examples", help=help)])
    if not named:
        _check_formats(folder, loose)
        _check_record(folder, loose)
        said += _hive(folder, loose)
        return Parts(loose, said=said)
    parts = {part: [f for e in some for f in _below(e, part, [])] for part, some in named.items()}
    faults = []
    for part, some in named.items():
        if len({e.is_dir() for e in some}) > 1 or sum(e.is_dir() for e in some) > 1:
            names = ", ".join(e.name for e in some)
            faults.append(Fault(str(folder), f"{names} are all called {part}", help="leave one of them"))
    if loose:
        names = ", ".join(str(f.relative_to(folder)) for f in loose[:3]) + ", …" * (len(loose) > 3)
        what = f"beside {' and '.join(e.name for some in named.values() for e in some)} it has {names}"
        faults.append(Fault(str(folder), what, help="name the files or folders that are meant"))
    if "train" not in named and "test" not in named:
        faults.append(Fault(str(folder), "it has a part called valid, and none called train"))
    if faults:
        raise DataError(faults)
    for part, files in parts.items():
        _check_formats(folder / part, files)
        names = ", ".join(e.name + "/" * e.is_dir() for e in named[part])
        said.append(
            f"{folder / names}: {uses[part]}" + f", {_counted(files)}" * any(e.is_dir() for e in named[part])
        )
        said += _hive(folder, files)
    _check_record(folder, [f for files in parts.values() for f in files])
    return Parts(parts.get("train", []), parts.get("valid", []), parts.get("test", []), said)


def _counted(files: Sequence[Path]) -> str:
    return f"{len(files):,} file{'s' * (len(files) != 1)}"


def _below(path: Path, part: str | None, skipped: list[Path]) -> list[Path]:
    """The files of examples that a folder's entry is or holds. Raises DataError."""
    if path.is_file():
        if _format(path):
            return [path]
        skipped.append(path)
        return []
    found: list[Path] = []
    try:
        entries = sorted(p for p in path.iterdir() if not _LEFT_OUT.fullmatch(p.name))
    except OSError as error:
        raise DataError([unreadable(path, error)]) from None
    for entry in entries:
        called = part_of(entry)
        files = _below(entry, part, skipped)
        if files and called not in (None, part):
            what = f"it is called {called}, and is inside {path}"
            help = "name the files or folders that are meant"
            raise DataError([Fault(str(entry), what, help=help)])
        found += files
    return found


def _format(path: Path) -> str | None:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _check_formats(folder: Path, files: Sequence[Path]) -> None:
    formats = dict.fromkeys(str(_format(file)) for file in files)
    if len(formats) > 1:
        what = f"it has files of several formats: {', '.join(formats)}"
        raise DataError([Fault(str(folder), what, help="name the files that are meant")])


def _hive(folder: Path, files: Sequence[Path]) -> list[str]:
    names = dict.fromkeys(p for f in files for p in f.relative_to(folder).parts[:-1] if "=" in p)
    if not names:
        return []
    return [f"{folder}: what the names of folders say ({next(iter(names))}) is not read as a column"]


def _check_record(folder: Path, files: Sequence[Path]) -> None:
    """Compare a folder with its data.json, where it has one. Raises DataError."""
    path = folder / RECORD
    if not path.exists():
        return
    help = "prepare it again, or name the files that are meant"
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
        listed: dict[str, Any] = {str(name): dict(entry) for name, entry in record["files"].items()}
        if record["format"] != 1:
            raise ValueError("it is of another format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError([Fault(str(path), f"it cannot be read: {error}", help=help)]) from None
    faults = []
    if record.get("complete", True) is not True:
        faults.append(Fault(str(folder), f"{RECORD} says that it is not complete", help=help))
    for name, entry in listed.items():
        file = folder / name
        if folder.resolve() not in file.resolve().parents:
            faults.append(Fault(str(path), f"it lists `{name}`, which is outside", help=help))
        elif not file.is_file():
            faults.append(Fault(str(file), f"{RECORD} lists it, and it is not there", help=help))
        else:
            faults += _differs(file, entry, help)
    known = {(folder / name).resolve() for name in listed}
    faults += [
        Fault(str(f), f"{RECORD} does not list it", help=help) for f in files if f.resolve() not in known
    ]
    if faults:
        raise DataError(faults)


def _differs(file: Path, entry: dict[str, Any], help: str) -> list[Fault]:
    try:
        if file.suffix in (".parquet", ".pq") and isinstance(entry.get("rows"), int):
            rows = pq.read_metadata(file).num_rows
            if rows != entry["rows"]:
                what = f"it has {rows:,} rows, and {RECORD} says {entry['rows']:,}"
                return [Fault(str(file), what, help=help)]
        if isinstance(entry.get("sha256"), str) and file.stat().st_size <= HASHED:
            if hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
                return [Fault(str(file), f"it is not the file that {RECORD} describes", help=help)]
    except (OSError, pa.ArrowException) as error:
        return [unreadable(file, error)]
    return []
