"""Compile C and load it.

A library is built once for a given source, compiler and processor, and kept in the user's cache folder:
`$XDG_CACHE_HOME/arec`, or `~/.cache/arec`. Its file name includes the hash of its content.

Promises: a library is loaded only if its content matches its hash and no other user could have written it;
otherwise it is built again. Several processes may build and load at the same time. If there is no such
folder, or it is full, read-only or mounted without execution, the process uses a temporary folder that is
removed when it exits. A library that was not used for two months is removed. A model's folder may bring
libraries along (`offer`), for machines without a compiler.
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

# No -ffast-math: it assumes that there is no NaN, and loading such a library makes subnormals 0 from then on.
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-fPIC", "-shared")
_SECONDS = 60  # how long a compiler may run
_DAY = 24 * 60 * 60
_KEPT = 60 * _DAY


# Libraries that a model's folder brought along, and libraries that are loaded, keyed by `name_of(source)`.
_OFFERED: dict[str, Path] = {}
_LOADED: dict[str, Path] = {}


class Failed(Exception):
    """Raised where a library cannot be had; the message says why."""


def name_of(source: str) -> str:
    """Return the name of a source's library for this machine, whichever compiler built it."""
    return hashlib.sha256("\0".join([_machine(), source]).encode()).hexdigest()[:32]


def offer(libraries: Mapping[str, Path]) -> None:
    """Use these libraries, by `name_of` their source, instead of building them. They must be intact and from
    a trusted place."""
    _OFFERED.update(libraries)


def loaded() -> dict[str, Path]:
    """Return the file of each library that this process has loaded, by the library's name."""
    return dict(_LOADED)


def forget() -> None:
    """Say of no library any more that it is loaded."""
    _LOADED.clear()


def recall(libraries: Mapping[str, Path]) -> None:
    """Say of libraries that they are loaded, beside those that are."""
    for name, path in libraries.items():
        _LOADED.setdefault(name, path)


def library(source: str) -> ctypes.CDLL:
    """Return a source's library, loaded. Raises Failed if there is no compiler, or if it fails."""
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
    """Return the command of the C compiler: `$CC`, or `cc`. Raises Failed if there is none."""
    given = os.environ.get("CC", "").strip() or "cc"
    if os.sep in given and shutil.which(given):
        return (given,)  # one path, which may contain spaces
    try:
        wanted, *options = shlex.split(given)
    except ValueError as e:
        raise Failed(f"CC is {given!r}: {e}") from None
    found = shutil.which(wanted)
    if found is None:
        raise Failed(f"there is no C compiler `{wanted}`")
    return found, *options


def _tuned() -> list[str]:
    """Return the compiler options that use every instruction of this processor."""
    return ["-march=native"] if platform.machine().lower() in ("x86_64", "amd64") else []


@cache
def _machine() -> str:
    """Return what identifies the machine that a library is built for: code for one processor may not run on
    another."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.platform() + platform.node()
    return platform.machine() + next((line for line in lines if line.startswith("flags")), platform.node())


def _folder() -> Path | None:
    """Return the user's cache folder, or None if there is none that only this user can write to."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or "")
    if not root.is_absolute():
        try:
            root = Path.home() / ".cache"
        except RuntimeError:  # no HOME, and no entry for this user id
            return None
    folder = root / "arec"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _is_ours(folder) and os.access(folder, os.W_OK) else None
    except OSError:
        return None


@cache
def _own_folder() -> Path:
    """Return a temporary folder that is removed when this process ends. Raises OSError."""
    folder = Path(tempfile.mkdtemp(prefix="arec-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_ours(path: Path) -> bool:
    """Return whether a path exists and no other user could have created or could replace it."""
    if not hasattr(os, "getuid"):
        return path.exists()
    try:
        whole = path.resolve(strict=True)
        mine = all(_is_kept(place.stat(), others=False) for place in (path, whole))
        return mine and all(_is_kept(place.stat(), others=True) for place in whole.parents)
    except OSError:
        return False


def _is_kept(found: os.stat_result, others: bool) -> bool:
    """Return whether nobody else can change a file, or a folder's entries. others: root may own it too, and a
    sticky folder counts: in one such as /tmp, users cannot change each other's entries."""
    if found.st_uid not in ((os.getuid(), 0) if others else (os.getuid(),)):
        return False
    if others and found.st_mode & stat.S_ISVTX:
        return True
    group = bool(found.st_mode & stat.S_IWGRP) and not (others and found.st_gid in (os.getgid(), 0))
    return not group and not found.st_mode & stat.S_IWOTH


def _found(folder: Path, key: str) -> Path | None:
    """Return the library of a key, or None. A file that does not match its hash is removed: mapping a
    truncated library can crash the process."""
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
    """Compile a source into a library in the folder. Raises Failed, or OSError if it cannot be written."""
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
        # Another process may build the same library at this moment: each replaces the file by a complete one.
        path = folder / f"{key}.{digest(made)[:32]}.so"
        with replace_file(path) as fresh:
            shutil.copyfile(made, fresh)
            fresh.chmod(0o700)
    _clean(folder)
    return path


def _clean(folder: Path) -> None:
    """Remove libraries that were not used for two months, including those of other versions."""
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
