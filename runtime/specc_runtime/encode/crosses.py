"""Crosses: what several fields have read at a place, as one key.

Promises: the same keys in the same order have the same row on every machine:

    a cross of keys k_1 … k_n    h_0 = 0; h_i = mix(mix(h_(i-1)) + hash of k_i); row h_n modulo n rows

with `mix` and the hash of `vocabulary`. The key of a bucket or a part of a time is its row; that of a null,
which only a vocabulary admits, hashes to 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from specc_runtime.encode.columns import Ints
from specc_runtime.encode.kinds import keys_of, table_rows
from specc_runtime.encode.vocabulary import Hashes, Rows, hashed, mix


@dataclass(frozen=True, eq=False)
class Member:
    """A field that is crossed: the hash of its key at each of its places, and by which axes it has places."""

    hashes: Hashes
    axes: Sequence[str]

    @staticmethod
    def of(entry: Mapping[str, Any], values: pa.Array, axes: Sequence[str]) -> Member:
        """Raises Unfit."""
        encoding, options = entry["encoding"], entry["options"]
        if encoding in ("bucket", "time"):
            keys = pa.array(table_rows(encoding, options, values, None))
        else:
            keys = keys_of(values, options.get("default"))
        if not keys.null_count:
            return Member(hashed(keys), axes)
        known = np.asarray(keys.is_valid())
        found = np.zeros(len(keys), dtype=np.uint64)
        found[known] = hashed(keys.drop_null())
        return Member(found, axes)

    def along(self, axes: Sequence[str], lengths: Mapping[str, Ints]) -> Hashes:
        """The hashes at each place of some axes, of which the member has the first ones."""
        found = self.hashes
        for axis in axes[len(self.axes) :]:
            found = np.repeat(found, lengths[axis])
        return found


def crossed(members: Sequence[Member], axes: Sequence[str], lengths: Mapping[str, Ints], rows: int) -> Rows:
    """The row of each place."""
    first, *others = [member.along(axes, lengths) for member in members]
    found = mix(first)
    for hashes in others:
        found = mix(mix(found) + hashes)
    return (found % np.uint64(rows)).astype(np.int64)
