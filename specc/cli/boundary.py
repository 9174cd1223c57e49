"""Where the command line meets the machine: what goes wrong there becomes a sentence and an exit code.

Promises: whatever a command meets of files, pipes, terminals and signals, no traceback is shown. Exit codes:
those of the command, 1 for what cannot be read or written, 130 where it is interrupted. Leaves the faults of
specs and data to the commands, and defects of the program to their tracebacks.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TextIO

import click

FAULTS = 1
INTERRUPTED = 130


class _Closed(io.RawIOBase):
    """A standard stream that was closed before the program began."""

    def __init__(self, what: str, reads: bool) -> None:
        self.what, self.reads = what, reads

    def readable(self) -> bool:
        return self.reads

    def writable(self) -> bool:
        return not self.reads

    def readinto(self, buffer: Any, /) -> NoReturn:
        raise OSError(errno.EBADF, f"{self.what} is closed")

    def write(self, data: Any, /) -> NoReturn:
        raise OSError(errno.EBADF, f"{self.what} is closed")


def run(command: Callable[[], Any]) -> NoReturn:
    """Run a command that ends by returning, or by SystemExit or one of click's exceptions; then exit."""
    _open_streams()
    code = _ended(command)
    reason = _unwritten()
    if reason and not code:
        say(f"error: {reason}")
    sys.exit(code or int(bool(reason)))


def _ended(command: Callable[[], Any]) -> int:
    """Return the exit code of a command, once what ended it is told."""
    try:
        result = command()
        return result if isinstance(result, int) else 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as fault:
        if _speaks():
            with suppress(OSError):
                fault.show()
        return fault.exit_code
    except (KeyboardInterrupt, click.Abort):
        if _speaks():
            say("interrupted")
        return INTERRUPTED
    except OSError as fault:
        return _told(fault)
    except RecursionError:
        say("error: this is nested too deeply")
        return FAULTS


def _speaks() -> bool:
    """Return whether this is the one that speaks of processes that torchrun has started with one command."""
    alone = os.environ.get("WORLD_SIZE", "1") == "1" or "MASTER_ADDR" not in os.environ
    return alone or os.environ.get("RANK", "0") == "0"


def _told(fault: OSError) -> int:
    if fault.errno == errno.EPIPE:  # whoever read the output has seen enough
        return FAULTS
    # What the runtime raises has a sentence alone.
    reason = str(fault) if fault.filename is None and fault.errno is None else fault.strerror or str(fault)
    named = f"{os.fsdecode(fault.filename)}: " if isinstance(fault.filename, str | bytes) else ""
    say(f"error: {named}{reason}")
    return FAULTS


def say(message: str) -> None:
    """Write a line on stderr, if that can be written to."""
    with suppress(OSError, ValueError):
        click.echo(message, err=True)


def _open_streams() -> None:
    """Give standard streams that exist, and that take every character."""
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_Closed("stdin", True)))
    if sys.stdout is None:
        sys.stdout = _to(_Closed("stdout", False))
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may be no text, and a terminal may have no `…`.
            stream.reconfigure(errors="backslashreplace")


def _to(raw: io.RawIOBase) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")


def _unwritten() -> str:
    """Return why not all that was printed could be written, or ''."""
    reason = ""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as fault:
            if fault.errno != errno.EPIPE:
                what = fault.strerror or str(fault)
                reason = what if what.startswith("stdout") else f"stdout cannot be written: {what}"
            _discard(stream)
        except ValueError:  # closed by the command
            continue
    return reason


def _discard(stream: TextIO) -> None:
    """Let nothing more be written to a stream, not at the end of the program either."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return
    if stream is sys.stdout:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
