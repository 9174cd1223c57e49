"""Data files by their content, so that a file that was moved is the same, and one that was changed is not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from specc_runtime.encode import DataError, Fault
from specc_runtime.record import digest

Content = list[dict[str, str]]


def contents(files: Iterable[Path]) -> Content:
    """Name and sha256 of each file. Raises DataError."""
    found: Content = []
    faults: list[Fault] = []
    for file in files:
        try:
            found.append({"name": file.name, "sha256": digest(file)})
        except OSError as error:
            faults.append(Fault(str(file), f"it cannot be read: {error.strerror}"))
    if faults:
        raise DataError(faults)
    return found


def identity(found: Iterable[Mapping[str, str]]) -> str:
    """One sha256 for files in their order: that of a single file, or that of the list of all of theirs."""
    each = [entry["sha256"] for entry in found]
    return each[0] if len(each) == 1 else hashlib.sha256("\n".join(each).encode()).hexdigest()


def changes(before: Sequence[dict[str, str]], now: Sequence[dict[str, str]], what: str) -> list[str]:
    """What is different, in words; nothing where the contents are the same. what: "training", say."""
    old, new = ([entry["sha256"] for entry in files] for files in (before, now))
    if old == new:
        return []
    if sorted(old) == sorted(new):
        order = ", ".join(entry["name"] for entry in before)
        return [f"the {what} files come in another order; it was {order}"]
    names = {entry["name"]: entry["sha256"] for entry in before}
    found = []
    for entry in now:
        if entry["sha256"] in old:
            continue
        if entry["name"] in names:
            found.append(f"the {what} file {entry['name']} has another content")
        else:
            found.append(f"the {what} file {entry['name']} was not there")
    given = {entry["name"] for entry in now}
    found += [
        f"the {what} file {entry['name']} is gone"
        for entry in before
        if entry["sha256"] not in new and entry["name"] not in given
    ]
    return found or [f"the {what} files are others, or given another number of times"]
