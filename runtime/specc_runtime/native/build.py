"""C compiled and loaded.

A library is built once for its source, the compiler and the processor, and kept in the user's cache folder:
`$XDG_CACHE_HOME/arec`, or `~/.cache/arec`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from pathlib import Path

# No -ffast-math: it takes NaN for impossible, and has a process round tiny numbers to 0 from then on.
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-fPIC", "-shared")
_SECONDS = 60


class Failed(Exception):
    """No library, and why."""


def library(source: str) -> ctypes.CDLL:
    """The functions of a source. Raises Failed if there is no compiler, or it fails."""
    command = [*compiler(), *_FLAGS, *_tuned()]
    key = hashlib.sha256("\0".join([*command, _machine(), source]).encode()).hexdigest()[:32]
    folder = _folder()
    path = folder / f"{key}.so"
    if not _ours(path):
        _build(command, source, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as e:
        raise Failed(f"{path}: {e}") from e


@cache
def compiler() -> tuple[str, ...]:
    """The C compiler, as the words of a command: `$CC`, or `cc`. Raises Failed if there is none."""
    wanted, *options = shlex.split(os.environ.get("CC", "")) or ["cc"]
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


def _folder() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "arec"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK) and _ours(folder):
            return folder
    except OSError:
        pass
    return _own_folder()


@cache
def _own_folder() -> Path:
    """A folder of this process's, where there is no other to write to."""
    return Path(tempfile.mkdtemp(prefix="arec-"))


def _ours(path: Path) -> bool:
    """Whether something is there that nobody else could have put there."""
    try:
        found = path.stat()
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return mine and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _build(command: list[str], source: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="arec-") as folder:
        text, made = Path(folder) / "kernels.c", Path(folder) / "kernels.so"
        text.write_text(source, encoding="utf-8")
        try:
            done = subprocess.run(
                [*command, "-o", str(made), str(text), "-lm"],
                capture_output=True, text=True, timeout=_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as e:
            raise Failed(f"{command[0]}: {e}") from e
        if done.returncode:
            raise Failed(f"{command[0]}: {done.stderr.strip()[:500]}")
        # Another process may build the same: the last one's stays, whole.
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            shutil.copyfile(made, fresh)
            fresh.chmod(0o700)
            fresh.replace(path)
        except OSError as e:
            raise Failed(f"{path}: {e}") from e
