"""What `specc check --fix` does: certain remedies applied, checked again, written in one stroke.

Promises: remedies are kept only if more of the text can be read after them, or as much with fewer faults;
line ends and a byte order mark stay as they were. Leaves which remedies are certain to those who offer them.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from specc.driver import check_source, decode, read
from specc.report import Fix, Report, Severity
from specc.source import Source

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
    write_whole(path, mended)
    return report, _difference(str(path), data, mended)


def mend_bytes(name: str, data: bytes, directory: Path, params: Mapping[str, Any]) -> tuple[Report, bytes]:
    """Mend a spec's bytes: what there is still to say, and the bytes."""
    report = Report()
    source = decode(name, data, report)
    if source is None:
        return report, data
    check_source(source, directory, params, report)
    for _ in range(_ROUNDS):
        fixes = [d.fix for d in report if d.fix is not None and d.fix.span.source is source]
        if not fixes:
            break
        after = Source(name, _applied(source.text, fixes))
        seen = Report()
        check_source(after, directory, params, seen)
        if _state(seen, name) >= _state(report, name):
            break
        source, report = after, seen
    end = b"\r\n" if b"\r\n" in data else b"\n"
    mended = (_MARK if data.startswith(_MARK) else b"") + source.text.encode().replace(b"\n", end)
    return report, mended


def _state(report: Report, name: str) -> tuple[int, int, int, int]:
    """How far a text is from being clean. What cannot be read comes first: behind it faults lie hidden."""
    unread = [d for d in report if d.code.startswith("E01") and d.span.source.name == name]
    errors = sum(d.severity is Severity.ERROR for d in report)
    return len(unread), -(unread[0].span.start if unread else 0), errors, len(report)


def _applied(text: str, fixes: Iterable[Fix]) -> str:
    """The text with its remedies, from the end; of two that overlap, the first one."""
    kept: list[Fix] = []
    for fix in sorted(fixes, key=lambda f: (f.span.start, f.span.stop)):
        if not kept or (fix.span.start >= kept[-1].span.stop and fix.span != kept[-1].span):
            kept.append(fix)
    for fix in reversed(kept):
        text = text[: fix.span.start] + fix.text + text[fix.span.stop :]
    return text


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


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file's content whole or not at all; through a link, that of what it points to."""
    target = path.resolve()
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
