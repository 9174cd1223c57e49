"""What the sections of docs/performance.md are put together from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.duel import OURS, PLAIN, Result

NAMES = {
    OURS: "compiled",
    PLAIN: "compiled, in torch alone",
    "handwritten": "by hand, padded",
    "handwritten:compile": "by hand, torch.compile",
    "deepctr": "DeepCTR-Torch",
    "fuxictr": "FuxiCTR",
    "rechub": "torch-rechub",
    "recbole": "RecBole",
}
WORKS = {"train": "training step", "score": "scoring"}


@dataclass(frozen=True)
class Measured:
    """A task's result, as read from its file."""

    found: Mapping[str, Any]
    result: Result

    @property
    def task(self) -> str:
        name: str = self.found["task"]
        return name

    def name(self, contender: str) -> str:
        version = self.result.versions.get(contender, "")
        return f"{NAMES[contender]} {version}".strip()


def times(ratio: float) -> str:
    """Two digits or more that count."""
    return f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def wrapped(text: str) -> str:
    """A paragraph as the other pages have theirs."""
    words = " ".join(text.split())
    return textwrap.fill(words, 110, break_long_words=False, break_on_hyphens=False) + "\n"
