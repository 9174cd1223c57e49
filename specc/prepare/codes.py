"""Keys as small numbers: every key of a column once, in the order in which they came.

Promises: exact; two keys share a number if and only if they are one key (`specc_runtime.encode.keys`). A list
of keys, or of numbers, is a key of its own, so that what an event has is one number whatever it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.encode.keys import canonical
from specc_runtime.encode.vocabulary import Hashes, hashed

Codes = npt.NDArray[np.int32]


class Coder:
    """The values of a column that have come by, of one Arrow type; `values[code]` is the value of a code."""

    def __init__(self, kind: pa.DataType) -> None:
        self.values: pa.Array = pa.array([], kind)

    def codes(self, values: pa.Array) -> Codes:
        """Return the code of each value, -1 for a null; new values get the next ones."""
        encoded = values.dictionary_encode()
        fresh = encoded.dictionary
        code = np.zeros(len(fresh), dtype=np.int32)
        new = np.ones(len(fresh), dtype=bool)
        if len(self.values):
            found = pc.index_in(fresh, value_set=self.values)
            new = found.is_null().to_numpy(zero_copy_only=False)
            code = found.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int32)
        code[new] = len(self.values) + np.arange(int(new.sum()), dtype=np.int32)
        self.values = pa.concat_arrays([self.values, fresh.filter(pa.array(new))])
        # A null has no index: it reads the last place, which has the code -1.
        place = encoded.indices.fill_null(len(fresh)).to_numpy(zero_copy_only=False)
        found_codes: Codes = np.append(code, np.int32(-1))[place]
        return found_codes


class Keys:
    """The keys of a column: int64 while all are integers, large_string from the first text on.

    texts: large_string from the start on."""

    def __init__(self, texts: bool = False) -> None:
        self.coder = Coder(pa.large_string() if texts else pa.int64())
        self._hashes: Hashes = np.zeros(0, dtype=np.uint64)

    def codes(self, values: pa.Array) -> Codes:
        """Return the code of each key, -1 for a null. Raises Unfit for values that are no keys."""
        keys = canonical(values)
        if keys.type != self.values.type:
            # An integer among texts is its decimal digits.
            keys, self.coder.values = keys.cast(pa.large_string()), self.values.cast(pa.large_string())
        return self.coder.codes(keys)

    def known(self, values: pa.Array) -> Codes:
        """Return the code of each key, -1 for a null and for a key that has not come by. Raises Unfit."""
        keys, own = canonical(values), self.values
        if keys.type != own.type:
            keys, own = keys.cast(pa.large_string()), own.cast(pa.large_string())
        found = pc.index_in(keys, value_set=own, skip_nulls=True)
        codes: Codes = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        return codes

    @property
    def values(self) -> pa.Array:
        return self.coder.values

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes)

    def names(self) -> dict[str, int]:
        """Return the code of each key, as a text."""
        return {str(key): code for code, key in enumerate(self.values.to_pylist())}

    def hashes(self) -> Hashes:
        """Return by code the hash of its key."""
        # An integer has the hash of its digits, so that those of earlier keys stay when the first text comes.
        self._hashes = np.append(self._hashes, hashed(self.values.slice(len(self._hashes))))
        return self._hashes

    def take(self, codes: npt.NDArray[Any]) -> pa.Array:
        """Return the keys of codes, null for -1."""
        return _take(self.values, codes)


class Moments(Keys):
    """Moments: nanoseconds since 1970."""

    def codes(self, values: pa.Array) -> Codes:
        return super().codes(values.cast(pa.int64()))

    def take(self, codes: npt.NDArray[Any]) -> pa.Array:
        """Return the timestamps of codes, null for -1."""
        return super().take(codes).cast(pa.timestamp("ns", "UTC"))


class Lists:
    """The lists of a column: of keys, or of numbers. texts: as in Keys."""

    def __init__(self, numbers: bool, texts: bool = False) -> None:
        self.inner = None if numbers else Keys(texts)
        self.coder = Coder(pa.large_binary())

    @property
    def nbytes(self) -> int:
        return int(self.coder.values.nbytes)

    def codes(self, values: pa.Array) -> Codes:
        """Return the code of each list, -1 for a null. Raises Unfit for values that are no keys, or no
        numbers."""
        lists = values.cast(pa.large_list(values.type.value_type))
        offsets = lists.offsets.to_numpy()
        inside = lists.values.slice(offsets[0], offsets[-1] - offsets[0]) if len(lists) else lists.values
        held: npt.NDArray[Any]
        if self.inner is None:
            held = inside.cast(pa.float64()).to_numpy(zero_copy_only=False)
        else:
            held = self.inner.codes(inside)
        ends = (
            (offsets - offsets[0]).astype(np.int64) * held.itemsize if len(lists) else np.zeros(1, np.int64)
        )
        absent = lists.is_null().to_numpy(zero_copy_only=False)
        buffers = [
            pa.array(~absent).buffers()[1],
            pa.py_buffer(ends),
            pa.py_buffer(np.ascontiguousarray(held)),
        ]
        return self.coder.codes(pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lists), buffers))

    def take(self, codes: npt.NDArray[Any]) -> pa.Array:
        """Return the lists of codes, as large_list, null for -1."""
        packed = _take(self.coder.values, codes)
        width = 8 if self.inner is None else 4
        absent = codes < 0
        lengths = pc.binary_length(packed).fill_null(0).to_numpy(zero_copy_only=False) // width
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        joined = b"".join(value for value in packed.to_pylist() if value is not None)
        held = np.frombuffer(joined, dtype=np.float64 if self.inner is None else np.int32)
        values = pa.array(held, from_pandas=True) if self.inner is None else self.inner.take(held)
        return pa.LargeListArray.from_arrays(pa.array(ends), values, mask=pa.array(absent))


class Numbers:
    """Numbers, which are what they are: float64, NaN for a null."""

    nbytes = 0

    def codes(self, values: pa.Array) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return found

    def take(self, codes: npt.NDArray[Any]) -> pa.Array:
        return pa.array(codes, from_pandas=True)


Values = Keys | Lists | Numbers


def _take(values: pa.Array, codes: npt.NDArray[Any]) -> pa.Array:
    if not len(values):
        return pa.nulls(len(codes), values.type)
    absent = codes < 0
    return values.take(pa.array(np.where(absent, 0, codes), mask=absent if absent.any() else None))
