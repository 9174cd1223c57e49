"""Draws that depend on what they are for and on nothing else: a seed, a user, an event, a number.

Promises: the same draw on every machine, in any order, whatever else is drawn; so the events of one user can
be made into examples anywhere. A draw is

    mix(mix(mix(user + seed * A + stream * B) + event) + number)

of 64 bits, wrapping: mix as `specc_runtime.encode.vocabulary` defines it, user the hash of the user's key as
there, event the place of the event among the user's own (from 0, by time and line of the log).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from specc_runtime.encode.vocabulary import mix

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
NEGATIVES, NOISE, PLACES, REQUESTS = range(4)  # streams: what a draw is for
ROUNDS = 50  # tries to find an item that was not taken
_A, _B = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F


def drawn(seed: int, stream: int, users: Hashes, events: Ints, number: Ints) -> Hashes:
    """Return one draw for each user, event and number; arrays that broadcast."""
    start = np.uint64((seed * _A + stream * _B) % (1 << 64))
    return mix(mix(mix(users + start) + events.astype(np.uint64)) + number.astype(np.uint64))


def pick(
    seed: int,
    stream: int,
    users: Hashes,
    events: Ints,
    count: int,
    places: tuple[Ints, Ints],
    item_at: Callable[[Ints], Ints],
    taken: Callable[[Ints, Ints], npt.NDArray[np.bool_]],
) -> Ints:
    """Return codes of items, int64 [len(events), count], -1 where none was found.

    places: by event the first of those that it may draw from, and how many; `item_at` knows their items.
    taken: whether items (codes) are taken by events (their rows here), and so not to be drawn.
    """
    found = np.full((len(events), count), -1, dtype=np.int64)
    first, sizes = places
    row, column = np.nonzero((sizes > 0)[:, None] & (found < 0))
    for again in range(ROUNDS):
        if not len(row):
            break
        bits = drawn(seed, stream, users[row], events[row], column * ROUNDS + again)
        items = item_at(first[row] + (bits % sizes[row].astype(np.uint64)).astype(np.int64))
        free = ~taken(row, items)
        found[row[free], column[free]] = items[free]
        row, column = row[~free], column[~free]
    return found
