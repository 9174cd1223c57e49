"""Which rows of a table are most like one of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from specc_runtime import Model
from specc_runtime.encode import Encoders
from specc_runtime.encode.pretrained import vocabulary_of


@dataclass(frozen=True)
class Near:
    """A row: its key, its cosine with the one asked for, how often the training data have it."""

    key: int | str
    cosine: float
    count: int


def nearest(model: Model, encoders: Encoders, table: str, key: str, top: int) -> list[Near]:
    """Return the rows whose vectors have the largest cosine with that of a key, the key's own left out.

    Raises KeyError for a table, LookupError for a key that is not there, or is the only one.
    """
    vocabulary = encoders.vocabulary(table)
    row = int(vocabulary.row_of([key])[0])
    if row == 0:
        raise LookupError(f"{table} has no key {key!r}: the training data lack it, or it was too rare")
    if len(vocabulary.keys) == 1:
        raise LookupError(f"{table} has no other key than {key!r}")
    path = next(w["path"] for w in model.manifest["weights"] if vocabulary_of(w) == table)
    weight = model.part(path.removesuffix(".weight")).weight.detach()[: len(vocabulary.keys) + 1].cpu()
    directions = torch.nn.functional.normalize(weight, dim=1)
    cosines = directions @ directions[row]
    cosines[0], cosines[row] = -torch.inf, -torch.inf
    best = cosines.topk(min(top, len(vocabulary.keys) - 1))
    rows = best.indices.tolist()
    keys = vocabulary.key_of(rows)
    return [
        Near(key, cosine, int(vocabulary.counts[row - 1]))
        for row, key, cosine in zip(rows, keys, best.values.tolist(), strict=True)
        if key is not None
    ]
