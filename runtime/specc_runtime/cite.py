"""Exceptions while a model runs say which line of the spec they come from.

Promises: the exception itself, with one note more, or none where the line is not known.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
# As the compiler writes it at the end, or on the line above, of the first statement of each line of the spec.
_PLACE = re.compile(r"# ((?:\S+\.arec|<text>):\d+)$")


def cited(method: Callable[..., T]) -> Callable[..., T]:
    """Wrap a method of a compiled model so that its exceptions cite the spec."""
    name = method.__code__.co_filename

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> T:
        try:
            return method(*args, **kwargs)
        except Exception as fault:
            _note(fault, fault.__traceback__, name)
            raise

    return call


def _note(fault: Exception, trace: TracebackType | None, name: str) -> None:
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    place = place_of(name, line)
    if place:
        note = f"This is what {place} compiled to: {linecache.getline(name, line).strip()}"
        if note not in getattr(fault, "__notes__", ()):
            fault.add_note(note)


def place_of(file: str, line: int) -> str:
    """Return where in the spec a line of a compiled model comes from, "din.arec:25", or ""."""
    for number in range(line, 0, -1):
        text = linecache.getline(file, number).rstrip()
        found = _PLACE.search(text)
        if found:
            return found[1]
        if number < line and text.lstrip().startswith("def "):
            break
    return ""
