"""What a model's functions of scoring are given."""

from __future__ import annotations

from typing import Any


class Entry:
    """What a model's functions are given, in order: for each its kind and its name. used: by function, which
    of them it reads. helpers: texts that the functions need before them, in order."""

    def __init__(self) -> None:
        self.helpers: dict[str, None] = {}
        self.entries: list[list[Any]] = []
        self.used: dict[str, set[int]] = {}
        self._at: dict[tuple[Any, ...], tuple[int, int]] = {}
        self._slots = 1  # after the number of requests

    def slot(self, function: str, kind: str, *name: Any, slots: int = 2) -> int:
        """The first slot of something that a function is given."""
        key = (kind, *name)
        if key not in self._at:
            self._at[key] = len(self.entries), self._slots
            self.entries.append([kind, *name])
            self._slots += slots
        number, slot = self._at[key]
        self.used.setdefault(function, set()).add(number)
        return slot
