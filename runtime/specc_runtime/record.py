"""Which files of a folder belong together: `artefact.json`, with the hash of each.

Promises: the files that are recorded are replaced all at once. They are put into `.next` inside the folder,
whole and on the disk, and then moved to where they belong; whoever reads meanwhile, or after a kill at any
instruction, finds all of the new ones (a file of `.next` counts before that of its name in the folder) or all
of the old ones. Other files of the folder stay as they are. A file that is not the one recorded is not given
out. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, TypeVar

from specc_runtime.files import replace_folder, sync_entries, unwritable
from specc_runtime.frozen import dataclass
from specc_runtime.version import __version__

MODEL, MANIFEST, SPEC, WEIGHTS = "model.py", "manifest.json", "spec.arec", "weights.safetensors"
KERNELS = "kernels.c"  # of models that call C
SCORING = "scoring.c"  # of models whose scores can be computed in C
LIBRARIES = "libraries"  # what C was built to, for the processors that it was built on
INDICES = "indices"  # where keys are in vocabularies
RECORD, NEXT = "artefact.json", ".next"
FORMAT = 2  # of folders; those of format 1 have no record
_FORMAT_1 = (MODEL, MANIFEST, SPEC, WEIGHTS, "encoders.json", "baselines.safetensors")
T = TypeVar("T")


class ArtefactError(ValueError):
    """A directory that is no compiled model, or weights that do not fit one. The message lists
    every fault."""


@dataclass(frozen=True)
class Record:
    """What artefact.json says.

    trained: whether the files are those of a trained model. files: by name, with `/`, the sha256.
    versions: "arec" (the compiler's), "interface" (that model.py calls), "runtime" and "torch" (that
    wrote the folder).
    """

    trained: bool
    files: Mapping[str, str]
    versions: Mapping[str, Any]

    def text(self) -> str:
        about = {"format": FORMAT, "trained": self.trained, "versions": dict(self.versions)}
        return json.dumps({**about, "files": dict(sorted(self.files.items()))}, indent=2) + "\n"


@dataclass(frozen=True)
class Held:
    """The files of a folder while it is read.

    record: None for a folder of format 1, whose files go unchecked. whole: files whose content was compared
        and is as recorded; one thread compares at a time.
    """

    folder: Path
    record: Record | None
    whole: set[str] = field(default_factory=set, compare=False)
    comparing: Lock = field(default_factory=Lock, compare=False)

    def names(self) -> list[str]:
        """The files that belong together: those recorded, or those that a folder of format 1 may have."""
        if self.record is not None:
            return sorted(self.record.files)
        vocabularies = [f"vocabularies/{p.name}" for p in (self.folder / "vocabularies").glob("*.arrow")]
        return [name for name in (*_FORMAT_1, *sorted(vocabularies)) if (self.folder / name).is_file()]

    def has(self, name: str) -> bool:
        return name in self.names()

    def place(self, name: str) -> Path:
        """Return the path of a file, whatever its content is."""
        return _place(self.folder, name)

    def path(self, name: str) -> Path:
        """Return the path of a file whose content is as recorded. Raises ArtefactError."""
        self.check([name])
        return _place(self.folder, name)

    def text(self, name: str) -> str:
        """Return a file's text, from the same bytes whose hash was compared. Raises ArtefactError."""
        path = _place(self.folder, name)
        try:
            content = path.read_bytes()
        except OSError:
            content = None
        wanted = self.record.files.get(name) if self.record else None
        if content is None or (self.record and hashlib.sha256(content).hexdigest() != wanted):
            raise damaged(self.folder, [_fault(path, name)])
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise damaged(self.folder, [f"{name} is not text"]) from None

    def check(self, names: Iterable[str] | None = None) -> None:
        """Compare files, each once; without names all that are recorded. Raises ArtefactError with every
        fault."""
        recorded = self.record.files if self.record else {}
        faults = []
        with self.comparing:
            for name in recorded if names is None else names:
                path = _place(self.folder, name)
                if name not in self.whole and (
                    not path.is_file() or (self.record and digest(path) != recorded.get(name))
                ):
                    faults.append(_fault(path, name))
                else:
                    self.whole.add(name)
        if faults:
            raise damaged(self.folder, faults)


def held(folder: str | Path) -> Held:
    """Return what a folder holds. Raises ArtefactError where its record is damaged, or of a newer version."""
    folder = Path(folder)
    text = _record_text(folder)
    return Held(folder, None if text is None else _parsed(folder, text))


def consistent(folder: str | Path, read: Callable[[Held], T]) -> T:
    """Return what `read` makes of a folder; read again if its files were replaced meanwhile. Raises
    ArtefactError where it is a file."""
    folder = Path(folder)
    if folder.is_file():
        raise ArtefactError(f"{folder} is a file, and a compiled model is a folder")
    while True:
        before = _record_text(folder)
        try:
            found = read(Held(folder, None if before is None else _parsed(folder, before)))
        except (ArtefactError, OSError):
            if _record_text(folder) == before:
                raise
            continue
        if _record_text(folder) == before:
            return found


def models_in(folder: Path) -> str:
    """Say which folders in a folder that is no model are some, such as the `best` of a sweep; "" if none."""
    try:
        found = sorted(str(p.parent) for p in folder.glob(f"*/{MANIFEST}"))
    except OSError:
        return ""
    if not found:
        return ""
    return f"; {', '.join(found[:3])}{', …' * (len(found) > 3)} {'is one' if len(found) == 1 else 'are'}"


def damaged(folder: Path, faults: list[str]) -> ArtefactError:
    return ArtefactError(
        f"{folder} is damaged ({len(faults)} fault{'s' if len(faults) > 1 else ''}):\n"
        + "".join(f"  {fault}\n" for fault in faults)
        + "its files belong together: copy the folder again as a whole, or write it anew"
    )


@contextmanager
def replace_recorded(folder: str | Path, trained: bool, keep: Iterable[str] = ()) -> Iterator[Path]:
    """Give an empty folder, whose files replace, at the end, all those that are recorded in `folder`.

    keep: names of recorded files that stay among them. Raises FileError.
    """
    folder = Path(folder)
    settle(folder)
    with replace_folder(folder / NEXT, lambda name: True) as fresh:
        yield fresh
        for name in keep:
            link(folder / name, fresh / name)
        seal(fresh, trained)
    settle(folder)


def add_recorded(folder: str | Path, write: Callable[[Path], None], others: Callable[[str], bool]) -> None:
    """Put what `write` writes into the folder it is given among the recorded files of `folder`.

    others: whether a file that is recorded stays beside them. Raises ArtefactError, FileError.
    """
    folder = Path(folder)
    settle(folder)
    before = held(folder)
    keep = [name for name in before.names() if others(name)]
    before.check(keep)
    trained = before.record.trained if before.record else before.has(WEIGHTS)
    with replace_recorded(folder, trained, keep) as fresh:
        write(fresh)


def seal(folder: Path, trained: bool, known: Mapping[str, str] | None = None) -> Record:
    """Record all files of a folder, in it. known: hashes of files that need not be read for it."""
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    known = known or {}
    files = {name: known.get(name) or digest(folder / name) for name in found if name != RECORD}
    compiled = compiled_by(_read(folder / MANIFEST) or "")
    versions = {
        "arec": compiled.compiler,
        "interface": compiled.interface,
        "runtime": __version__,
        "torch": _version("torch"),
    }
    record = Record(trained, files, versions)
    (folder / RECORD).write_text(record.text(), encoding="utf-8")
    return record


@dataclass(frozen=True)
class CompiledBy:
    """compiler: the version of arec that wrote a model.py. interface: what it calls in the runtime."""

    compiler: str
    interface: int


def compiled_by(manifest: str) -> CompiledBy:
    """The versions that a manifest's text names. Manifests before there were any are of interface 1."""
    try:
        versions = json.loads(manifest).get("versions", {})
        return CompiledBy(str(versions.get("compiler", "0.1.0")), int(versions.get("interface", 1)))
    except (ValueError, TypeError, AttributeError):
        return CompiledBy("unknown", 1)


def settle(folder: Path) -> None:
    """Move what a killed process has left in `.next` to where it belongs."""
    fresh = folder / NEXT
    if not fresh.is_dir():
        return
    try:
        text = _read(fresh / RECORD)
        if text is not None:  # it is moved last
            record, before = _parsed(folder, text), _read(folder / RECORD)
            for name in record.files:
                with suppress(FileNotFoundError):  # moved already
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(fresh / name, folder / name)
            old: list[str] = []
            if before is not None or (folder / MODEL).is_file():
                old = Held(folder, None if before is None else _parsed(folder, before)).names()
            for name in set(old) - record.files.keys():
                (folder / name).unlink(missing_ok=True)
                with suppress(OSError):
                    (folder / name).parent.rmdir()  # if it is empty now
            for inside in {(folder / name).parent for name in record.files}:
                sync_entries(inside)
            with suppress(FileNotFoundError):
                os.replace(fresh / RECORD, folder / RECORD)
            sync_entries(folder)
        shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise unwritable(folder, error) from None


def link(file: Path, path: Path) -> None:
    """Hard-link a file that nobody writes to any more; copy it where the file system has no hard links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, path)
    except OSError:
        shutil.copyfile(file, path)


def is_text(name: str) -> bool:
    """Whether a file of a folder is one of those that the compiler writes."""
    return name in (MODEL, MANIFEST, KERNELS, SCORING) or name.endswith(".arec")


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place(folder: Path, name: str) -> Path:
    """Where a file of a folder is."""
    return fresh if (fresh := folder / NEXT / name).is_file() else folder / name


def _fault(path: Path, name: str) -> str:
    return f"{name} is not the file that was saved" if path.is_file() else f"{name} is missing"


def _record_text(folder: Path) -> str | None:
    fresh = _read(folder / NEXT / RECORD)
    return _read(folder / RECORD) if fresh is None else fresh


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}") from None


def _parsed(folder: Path, text: str) -> Record:
    try:
        raw = json.loads(text)
        number = int(raw["format"])
        files = {str(name): str(value) for name, value in raw["files"].items()}
        record = Record(bool(raw["trained"]), files, dict(raw["versions"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged(folder, [f"{RECORD} cannot be read"]) from None
    if number > FORMAT:
        raise ArtefactError(
            f"{folder} is of format {number}; this is arec-runtime {__version__}, which reads up to "
            f"format {FORMAT}: upgrade it, or compile and train with it"
        )
    for name in files:
        # A path of a file is not followed to anywhere else.
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\0" in name:
            raise damaged(folder, [f"{RECORD} names {name!r}, which is not in the folder"])
    return record


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
