"""Blocks of padded sequences: how much of them is padding, from the moments of the lengths.

Attention puts sequences of similar length side by side and pads them to the longest of their block
(specc_runtime.ops.attention). How long each sequence is, the moments of the lengths do not say: taken are the
quantiles of a beta distribution with these moments, between 0 and the bound, of which the blocks follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

# A block takes sequences up to this much longer than its shortest one (specc_runtime.ops.attention).
_GROWTH, _STEP = 1.25, 3
# Sequences whose lengths are worked out; of more, each stands for several.
_MOST = 1024


@dataclass(frozen=True)
class Blocks:
    """Means over sequences. places: positions with padding; pairs: their squares.

    first: the share of the places in the block of the shortest sequences. largest: the share of the pairs in
    the block that has most. masked: the share of the pairs in blocks with padding.
    """

    places: float
    pairs: float
    first: float
    largest: float
    masked: float


@lru_cache(maxsize=1024)
def blocks(count: int, mean: float, square: float, bound: int) -> Blocks:
    """Return the blocks of `count` sequences. mean, square: the means of their lengths, and of the
    squares."""
    lengths = quantiles(min(max(count, 1), _MOST), mean, square, bound)
    begins = [0]
    for place, length in enumerate(lengths):
        if length > max(lengths[begins[-1]] * _GROWTH, lengths[begins[-1]] + _STEP):
            begins.append(place)
    parts = [lengths[begin:end] for begin, end in zip(begins, [*begins[1:], None], strict=True)]
    places = [len(part) * part[-1] for part in parts]
    pairs = [len(part) * part[-1] ** 2 for part in parts]
    masked = sum(n for part, n in zip(parts, pairs, strict=True) if part[0] < part[-1])
    every = max(sum(pairs), 1e-9)
    return Blocks(
        sum(places) / len(lengths),
        sum(pairs) / len(lengths),
        places[0] / max(sum(places), 1e-9),
        max(pairs) / every,
        masked / every,
    )


def quantiles(count: int, mean: float, square: float, bound: int) -> Sequence[float]:
    """Return ascending lengths: quantiles of the beta distribution on [0, bound] of that mean and mean
    square."""
    deviation = math.sqrt(max(square - mean * mean, 0.0))
    if deviation < 0.5 or not 0 < mean < bound:
        return [mean] * count
    share, spread = mean / bound, (deviation / bound) ** 2
    size = share * (1 - share) / spread - 1  # the sum of the two shapes
    if size <= 0:  # as far apart as can be: at 0 and at the bound
        return [0.0 if place < (1 - share) * count else float(bound) for place in range(count)]
    a, b = share * size, (1 - share) * size
    points = [(n + 0.5) / (bound + 1) for n in range(bound + 1)]
    logs = [(a - 1) * math.log(x) + (b - 1) * math.log1p(-x) for x in points]
    top = max(logs)
    weights = [math.exp(x - top) for x in logs]
    total, below, length = sum(weights), 0.0, -1
    found: list[float] = []
    for place in range(count):
        while length < bound and below <= (place + 0.5) / count * total:
            length += 1
            below += weights[length]
        found.append(float(length))
    return found
