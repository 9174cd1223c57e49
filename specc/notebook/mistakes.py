"""Mistakes in a notebook: a sentence, and the line of the cell that it came of, in place of a traceback."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import specc
import specc_runtime
from specc_runtime import ArtefactError, DataError, DeviceError, TrainingError
from specc_runtime.files import FileError
from specc_runtime.finite import NotFinite
from specc_runtime.train import Interrupted

MISTAKES = (ArtefactError, DataError, DeviceError, FileError, Interrupted, NotFinite, TrainingError)
_OURS = tuple(Path(module.__file__).parent for module in (specc, specc_runtime) if module.__file__)


def tell(
    shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: Any = None
) -> list[str]:
    """Show a mistake in a shell's cell, and return what was shown."""
    said = str(error)
    if isinstance(error, Interrupted):
        said = "training was interrupted; its checkpoint is written, and fit(…, resume=True) goes on from it"
    line = _line(trace)
    shown = [f"\x1b[1;31m{kind.__name__}\x1b[0m: {said}"]
    shown += [f"\x1b[1;34m  -->\x1b[0m {line}"] if line else []
    shell._showtraceback(kind, error, shown)
    return shown


def _line(trace: TracebackType) -> str:
    """The last line of somebody's code before it called ours."""
    found = ""
    for frame in traceback.extract_tb(trace):
        if any(Path(frame.filename).is_relative_to(folder) for folder in _OURS):
            return found
        found = f"line {frame.lineno}: {frame.line}"
    return found
