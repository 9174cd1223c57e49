"""C compiled and loaded.

A library is built once for its source, the compiler and the processor, and kept in the user's cache folder:
`$XDG_CACHE_HOME/arec`, or `~/.cache/arec`. Its name has the hash of its content.

Promises: a library is loaded only if it is whole, and nobody else could have written it; another one is built
anew. Processes may build and load at once. Without such a folder, or where its disk is full or may not be
written to or run from, a process has a folder of its own, until it ends. What has not been used for two
months is removed. A model's folder may bring libraries along (`offer`), for where there is no compiler.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from specc_runtime.files import replace_file
from specc_runtime.record import digest

# No -ffast-math: it takes NaN for impossible, and has a process round tiny numbers to 0 from then on.
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-fPIC", "-shared")
_SECONDS = 60  # for a compiler
_DAY = 24 * 60 * 60
_KEPT = 60 * _DAY


# By `name_of` their source, libraries that a model's folder brought along, and those that are loaded.
_OFFERED: dict[str, Path] = {}
_LOADED: dict[str, Path] = {}


class Failed(Exception):
    """No library, and why."""


def name_of(source: str) -> str:
    """What a library for this machine is called where no compiler is asked for."""
    return hashlib.sha256("\0".join([_machine(), source]).encode()).hexdigest()[:32]


def offer(libraries: Mapping[str, Path]) -> None:
    """Have libraries, by their names, used instead of building them: whole ones, of somebody trusted."""
    _OFFERED.update(libraries)


def loaded() -> dict[str, Path]:
    """By its name, the file of each library that this process has loaded."""
    return dict(_LOADED)


def library(source: str) -> ctypes.CDLL:
    """The functions of a source. Raises Failed if there is no compiler, or it fails."""
    name = name_of(source)
    if name in _OFFERED:
        with suppress(OSError):
            found = ctypes.CDLL(str(_OFFERED[name]))
            _LOADED[name] = _OFFERED[name]
            return found
    command = [*compiler(), *_FLAGS, *_tuned()]
    key = hashlib.sha256("\0".join([*command, _machine(), source]).encode()).hexdigest()[:32]
    faults = []
    for find in (_folder, _own_folder):
        try:
            folder = find()
            if folder is not None:
                _LOADED[name] = _found(folder, key) or _build(command, source, folder, key)
                return ctypes.CDLL(str(_LOADED[name]))
        except OSError as e:
            faults.append(str(e))
    raise Failed("; ".join(faults))


@cache
def compiler() -> tuple[str, ...]:
    """The C compiler, as the words of a command: `$CC`, or `cc`. Raises Failed if there is none."""
    given = os.environ.get("CC", "").strip() or "cc"
    if os.sep in given and shutil.which(given):
        return (given,)  # a path, perhaps with spaces
    try:
        wanted, *options = shlex.split(given)
    except ValueError as e:
        raise Failed(f"CC is {given!r}: {e}") from None
    found = shutil.which(wanted)
    if found is None:
        raise Failed(f"there is no C compiler `{wanted}`")
    return found, *options


def _tuned() -> list[str]:
    """What makes use of all that the processor has."""
    return ["-march=native"] if platform.machine().lower() in ("x86_64", "amd64") else []


@cache
def _machine() -> str:
    """What a library is built for: code for one processor may not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.platform() + platform.node()
    return platform.machine() + next((line for line in lines if line.startswith("flags")), platform.node())


def _folder() -> Path | None:
    """The user's cache folder, or None if there is none that nobody else may write to."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or "")
    if not root.is_absolute():
        try:
            root = Path.home() / ".cache"
        except RuntimeError:  # no HOME, and nobody of this number is known
            return None
    folder = root / "arec"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _is_ours(folder) and os.access(folder, os.W_OK) else None
    except OSError:
        return None


@cache
def _own_folder() -> Path:
    """A folder of this process's, which goes with it. Raises OSError."""
    folder = Path(tempfile.mkdtemp(prefix="arec-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_ours(path: Path) -> bool:
    """Whether something is there that nobody else could have put there, or could put another in its place."""
    if not hasattr(os, "getuid"):
        return path.exists()
    try:
        whole = path.resolve(strict=True)
        mine = all(_is_kept(place.stat(), others=False) for place in (path, whole))
        return mine and all(_is_kept(place.stat(), others=True) for place in whole.parents)
    except OSError:
        return False


def _is_kept(found: os.stat_result, others: bool) -> bool:
    """Whether only this user may change a file or a folder's entries. others: or whoever owns the machine;
    in a folder like /tmp everybody has entries that nobody else may change."""
    if found.st_uid not in ((os.getuid(), 0) if others else (os.getuid(),)):
        return False
    if others and found.st_mode & stat.S_ISVTX:
        return True
    group = bool(found.st_mode & stat.S_IWGRP) and not (others and found.st_gid in (os.getgid(), 0))
    return not group and not found.st_mode & stat.S_IWOTH


def _found(folder: Path, key: str) -> Path | None:
    """A whole library of a key. One that is not is removed: to map it could end the process."""
    for path in sorted(folder.glob(f"{key}.*.so")):
        if _is_ours(path) and path.name == f"{key}.{digest(path)[:32]}.so":
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _DAY:
                    os.utime(path)  # it is in use
            return path
        with suppress(OSError):
            path.unlink()
    return None


def _build(command: list[str], source: str, folder: Path, key: str) -> Path:
    """Raises Failed, or OSError where it cannot be written."""
    with tempfile.TemporaryDirectory(prefix="arec-") as place:
        text, made = Path(place) / "kernels.c", Path(place) / "kernels.so"
        text.write_text(source, encoding="utf-8")
        try:
            done = subprocess.run(
                [*command, "-o", str(made), str(text), "-lm"],
                capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as e:
            raise Failed(f"{command[0]}: {e}") from e
        if done.returncode or not made.is_file():
            raise Failed(f"{command[0]}: {done.stderr.strip()[:500] or 'it wrote nothing'}")
        # Another process may build the same: each one's is whole.
        path = folder / f"{key}.{digest(made)[:32]}.so"
        with replace_file(path) as fresh:
            shutil.copyfile(made, fresh)
            fresh.chmod(0o700)
    _clean(folder)
    return path


def _clean(folder: Path) -> None:
    """Remove what has not been used for long, whatever version wrote it."""
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
