"""An event log with an interest planted in it.

Promises: deterministic for a seed. A session stays with one category; most sessions come back to the
category of an earlier one among the last `MEMORY`, any of them equally likely. So what a user takes next is
told by which categories the recent sessions had, by all of them alike and not by the last alone. Within a
category items differ in popularity, and so do categories.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

CATEGORIES, ITEMS = 24, 40  # categories, and items of each
MEMORY, RETURNS = 4, 0.9  # sessions that are remembered, and how often a session comes back to one
BEGIN, DAY = 1_700_000_000 // 86_400 * 86_400, 86_400


def write_events(path: Path, users: int, sessions: int, seed: int) -> int:
    """Write user, item, category, behaviour and time as CSV with a header; the number of events."""
    random = np.random.default_rng(seed)
    rank = 1.0 / np.arange(1, ITEMS + 1) ** 0.5
    popularity = rank / rank.sum()
    rows = []
    for user in range(users):
        recent: list[int] = []
        time = BEGIN + int(random.integers(0, DAY // 2))
        for _ in range(sessions):
            if recent and random.random() < RETURNS:
                category = recent[int(random.integers(len(recent)))]
            else:
                category = int(random.integers(CATEGORIES))
            for _ in range(int(random.integers(1, 4))):
                item = category * ITEMS + int(random.choice(ITEMS, p=popularity))
                rows.append((f"u{user}", item, f"c{category}", "click", time))
                time += int(random.integers(20, 300))
            recent = [*recent, category][-MEMORY:]
            time += int(random.integers(2 * 3600, 16 * 3600))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("user", "item", "category", "behaviour", "time"))
        writer.writerows(rows)
    return len(rows)
