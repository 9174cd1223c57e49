"""What `specc check --fix` does: certain remedies applied, checked again, written in one stroke.

Promises: remedies are kept only if more of the text can be read after them, or as much with fewer faults;
line ends and a byte order mark stay as they were. Leaves which remedies are certain to those who offer them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specc.driver import check_source, decode, read
from specc.remedy import applied
from specc.report import Fix, Report, Severity
from specc.source import Source, Span
from specc_runtime.files import replace_file

_ROUNDS = 10  # one remedy can bring the next fault to light
_MARK = b"\xef\xbb\xbf"


def mend_file(path: Path, params: Mapping[str, Any]) -> tuple[Report, str]:
    """Mend a file in place: what there is still to say, and the changes as a unified diff.

    Raises OSError where the file cannot be written.
    """
    report = Report()
    source = read(path, report)
    if source is None:
        return report, ""
    data = path.read_bytes()
    report, mended = mend_bytes(str(path), data, path.parent, params)
    if mended == data:
        return report, ""
    with replace_file(path) as fresh:
        fresh.write_bytes(mended)
    return report, _difference(str(path), data, mended)


def mend_bytes(name: str, data: bytes, directory: Path, params: Mapping[str, Any]) -> tuple[Report, bytes]:
    """Mend a spec's bytes: what there is still to say, and the bytes."""
    report = Report()
    source = decode(name, data, report)
    if source is None:
        return report, data
    text = data.removeprefix(_MARK).decode()
    check_source(source, directory, params, report)
    for _ in range(_ROUNDS):
        fixes = [d.fix for d in report if d.fix is not None and d.fix.span.source is source]
        if not fixes:
            break
        after = Source(name, applied(source.text, fixes))
        seen = Report()
        check_source(after, directory, params, seen)
        if _state(seen, name) >= _state(report, name):
            break
        text = _with_its_ends(text, source, fixes)
        source, report = after, seen
    return report, (_MARK if data.startswith(_MARK) else b"") + text.encode()


def _with_its_ends(text: str, source: Source, fixes: list[Fix]) -> str:
    """Return a text with its own line ends, mended; the places are those in `source`, whose ends are
    newlines."""
    starts, at = [], 0
    for char in source.text:
        starts.append(at)
        at += 2 if char == "\n" and text.startswith("\r\n", at) else 1
    starts.append(at)
    end = "\r\n" if "\r\n" in text else "\r" if "\r" in text and "\n" not in text else "\n"
    whole = Source(source.name, text)
    return applied(
        text,
        [
            Fix(Span(whole, starts[f.span.start], starts[f.span.stop]), f.text.replace("\n", end), f.title)
            for f in fixes
        ],
    )


def _state(report: Report, name: str) -> tuple[int, int, int, int]:
    """Return how far a text is from being clean. What cannot be read comes first: behind it faults lie
    hidden."""
    unread = [d for d in report if d.code.startswith("E01") and d.span.source.name == name]
    errors = sum(d.severity is Severity.ERROR for d in report)
    return len(unread), -(unread[0].span.start if unread else 0), errors, len(report)


def _difference(name: str, before: bytes, after: bytes) -> str:
    lines = difflib.unified_diff(
        before.decode("utf-8-sig").splitlines(),
        after.decode("utf-8-sig").splitlines(),
        name,
        name,
        n=0,
        lineterm="",
    )
    return "\n".join(lines) + "\n"
