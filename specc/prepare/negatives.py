"""Items that a user did not take: what positives are told from.

Promises: seeded. An item that the user takes positively in the same session is never drawn for it; one that
the user took before may be, else "seen before" would give the label away.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
ROUNDS = 50


def draw(
    random: np.random.Generator,
    pool: Ints,
    sampling: str,
    sessions: Ints,
    count: int,
    taken: Ints,
    items: int,
) -> Ints:
    """Codes of items, int64 [len(sessions), count], -1 where none could be found.

    pool: the items of the events to draw from, one entry an event: all of its items are equally likely
        ("uniform"), or as likely as they are frequent ("popularity").
    taken: sorted keys session * items + item of what is taken positively.
    """
    choices = np.unique(pool) if sampling == "uniform" else pool
    drawn = np.full(len(sessions) * count, -1, dtype=np.int64)
    if not len(choices):
        return drawn.reshape(-1, count)
    session_of = np.repeat(sessions, count)
    open_ = np.arange(len(drawn))
    for _ in range(ROUNDS):
        if not len(open_):
            break
        found = choices[random.integers(0, len(choices), len(open_))]
        keys = session_of[open_] * items + found
        place = np.minimum(np.searchsorted(taken, keys), max(len(taken) - 1, 0))
        free = taken[place] != keys if len(taken) else np.ones(len(keys), dtype=bool)
        drawn[open_[free]] = found[free]
        open_ = open_[~free]
    return drawn.reshape(-1, count)
