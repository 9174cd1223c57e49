"""Files and folders that are replaced whole or not at all, and a folder held by one process at a time.

Promises: where `replace_file` or `replace_folder` ends, what it wrote stands at its path and is on the disk.
Where it does not (an exception, a kill, a loss of power, at any instruction) the path is as it was before.
What a killed process left beside the path, `.NAME.xxxxxxxx.aside`, is removed by the next one that writes
there; that of a process that still runs is left alone. Symlinks stay, and what they point to is replaced.
A disk that cannot be written is a FileError, which says so in words.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"
_ADVICE = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "your quota of the disk is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.EEXIST: "a part of its path is a file, not a folder",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EBUSY: "it is in use, or a disk is mounted there; write to a folder inside of it",
    errno.EIO: "the disk fails",
    errno.EFBIG: "the file is too large for the disk",
}
# Those that are of the disk itself, whichever file they were met at.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


class FileError(OSError):
    """Something that cannot be written. The message is a sentence for the user."""


def unwritable(path: str | Path, error: OSError) -> FileError:
    """What to raise where a path cannot be written."""
    why = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    return FileError(f"{path} cannot be written: {why}")


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Give the path to write a file to, which takes the place of `path` at the end.

    It has the name of `path`, in another folder. Folders above are made. A device or a pipe (/dev/stdout)
    is given itself. Raises FileError.
    """
    target = Path(os.path.realpath(path))
    if os.path.exists(target) and not os.path.isfile(target):
        if os.path.isdir(target):
            raise FileError(f"{path} cannot be written: it is a folder")
        with _in_words(path, target):
            yield target
        return
    with _aside(target, path) as aside:
        fresh = aside / target.name
        yield fresh
        if os.path.exists(target):
            shutil.copymode(target, fresh)
        sync(fresh)
        os.replace(fresh, target)
        sync_entries(target.parent)


@contextmanager
def replace_folder(path: str | Path, owns: Callable[[str], bool]) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `path` at the end.

    owns: whether a name is one of those that such a folder has. A folder at `path` that holds another name
    is somebody's, and no file of it is removed. Raises FileError.
    """
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):
        others = sorted(name for name in os.listdir(target) if not owns(name))
        if others:
            names = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            raise FileError(
                f"{path} cannot be replaced: it also holds {names}; move that away, or choose another folder"
            )
    elif os.path.exists(target):
        raise FileError(f"{path} cannot be written: it is a file, not a folder")
    with _aside(target, path) as aside:
        fresh, old = aside / "new", aside / "old"
        fresh.mkdir()
        yield fresh
        if os.path.exists(target):
            shutil.copymode(target, fresh)
        sync(fresh)
        if not os.path.exists(target):
            os.rename(fresh, target)
        elif not _exchange(fresh, target):
            # A kill between the two leaves nothing at the path: `clean` puts the old one back.
            os.rename(target, old)
            sync_entries(aside)
            os.rename(fresh, target)
        sync_entries(target.parent)


def clean(path: str | Path) -> None:
    """Remove what killed processes left beside a path, and put back a folder that one had taken away."""
    target = Path(os.path.realpath(path))
    mark = re.compile(re.escape(_stem(target)) + r"[0-9a-f]{8}\.aside")
    try:
        names = [name for name in os.listdir(target.parent) if mark.fullmatch(name)]
    except OSError:
        return
    for name in names:
        aside = target.parent / name
        with suppress(OSError):
            descriptor = os.open(aside, os.O_RDONLY)
            try:
                if not _hold(descriptor):
                    continue
                if (aside / "old").is_dir() and not os.path.exists(target):
                    os.rename(aside / "old", target)
                    sync_entries(target.parent)
                shutil.rmtree(aside, ignore_errors=True)
            finally:
                os.close(descriptor)


@contextmanager
def exclusive(folder: str | Path, doing: str) -> Iterator[None]:
    """Hold a folder, which is made if need be, for this process alone.

    doing: what another process is told, such as "specc train". Only those that ask for the folder in this way
    are kept out. The kernel gives it free where a process ends, however it does. Raises FileError.
    """
    folder = Path(folder)
    made = not os.path.exists(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(folder)
    except FileError:
        raise
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with suppress(OSError):
            text = f"`{doing}` of process {os.getpid()} on {platform.node()}, since {now}"
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink()
        os.close(descriptor)
        if made:
            with suppress(OSError):
                folder.rmdir()  # nothing was written


def sync(path: Path) -> None:
    """Put a file, or a folder and all in it, on the disk."""
    if path.is_dir():
        for inside in path.iterdir():
            sync(inside)
        sync_entries(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_entries(folder: Path) -> None:
    """Put on the disk which names a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some network disks cannot
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _aside(target: Path, called: str | Path) -> Iterator[Path]:
    """A folder beside a path, held while it is used. called: the path as the user knows it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clean(target)
        aside, descriptor = _made_aside(target)
    except OSError as error:
        raise unwritable(called, error) from None
    try:
        with _in_words(called, aside, target):
            yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def _in_words(called: str | Path, *places: Path) -> Iterator[None]:
    """Raise FileError for what befalls some places. Another file, read meanwhile, has faults of its own."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        if error.errno in _DISK or str(error.filename or "").startswith(tuple(map(str, places))):
            raise unwritable(called, error) from None
        raise


def _made_aside(target: Path) -> tuple[Path, int]:
    while True:
        aside = target.parent / f"{_stem(target)}{secrets.token_hex(4)}.aside"
        aside.mkdir()
        # Another process may take it for left over before it is held.
        with suppress(FileNotFoundError):
            descriptor = os.open(aside, os.O_RDONLY)
            if _hold(descriptor) and _is_at(aside, descriptor):
                return aside, descriptor
            os.close(descriptor)


def _stem(target: Path) -> str:
    """What the names of folders beside a path begin with. A name may have 255 bytes."""
    return f".{os.fsencode(target.name)[:200].decode(errors='ignore')}."


def _locked(folder: Path) -> int:
    while True:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        if not _hold(descriptor):
            holder = os.pread(descriptor, 4096, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise FileError(f"{folder} is in use by {holder}; wait for it, or choose another folder")
        # The one that held it may have removed the file meanwhile, and a third made a new one.
        if _is_at(folder / LOCK, descriptor):
            return descriptor
        os.close(descriptor)


def _hold(descriptor: int) -> bool:
    """Whether an open file or folder is now this process's. Where a disk has no locks, it is."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EBADF, errno.EINVAL):
            raise
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step. False where system or disk cannot."""
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if rename(here, os.fsencode(first), here, os.fsencode(second), ctypes.c_uint(swap)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(second))
