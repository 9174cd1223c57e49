"""Arrays of the values that one request has for a field, made of Python values directly.

Promises: what `Encoders.encode` makes of the values, to the bit; or `Unusual`. The row of a key that was seen
before is known without a search. Threads may share what is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc_runtime.encode import Encoders
from specc_runtime.encode.clock import Clock
from specc_runtime.encode.crosses import Member
from specc_runtime.encode.encoders import bits_of
from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.kinds import (
    Scale,
    bucketed,
    filled,
    keys_of,
    measured,
    numbers_of,
    scaled,
    single,
    table_rows,
)
from specc_runtime.encode.reading import encoding_of

REMEMBERED = 1 << 18  # keys of a field whose rows are known without a search
_NONE = type(None)
Array = npt.NDArray[Any]
Values = Callable[[list[Any]], Array]
"""From all values of a field to an array with an entry for each. Raises Unusual."""


class Unusual(Exception):
    """A request that is encoded as a table is."""


class Keys:
    """What keys stand for: texts, or integers, and null among them. find: from some keys to that."""

    def __init__(self, find: Callable[[pa.Array], Array], kind: npt.DTypeLike = np.int64) -> None:
        self._find, self._kind = find, kind
        self._texts: dict[Any, int] = {}
        self._integers: dict[Any, int] = {}

    def __call__(self, values: list[Any]) -> Array:
        kinds = set(map(type, values))
        kinds.discard(_NONE)
        if len(kinds) > 1 or not kinds <= {int, str}:
            raise Unusual
        known = self._texts if str in kinds else self._integers
        try:
            return np.fromiter(map(known.__getitem__, values), self._kind, len(values))
        except KeyError:
            return self._learnt(known, values)

    def _learnt(self, known: dict[Any, int], values: list[Any]) -> Array:
        """What values stand for, some of which are not known yet. Other threads may add to what is known, and
        empty it, meanwhile."""
        kind = pa.large_string() if known is self._texts else pa.int64()
        try:
            found = self._find(pa.array(values, kind))
        except (Unfit, pa.ArrowException, UnicodeError, OverflowError):
            raise Unusual from None
        if len(known) + len(values) > REMEMBERED:
            known.clear()
        known.update(zip(values, found.tolist(), strict=True))
        return found.astype(self._kind)  # a copy: what is of Arrow cannot be written


class Numbers:
    """What `make` makes of finite numbers. default: what stands for null, which is Unusual without."""

    def __init__(self, make: Callable[[npt.NDArray[np.float64]], Array], default: float | None) -> None:
        self._make, self._default = make, default

    def __call__(self, values: list[Any]) -> Array:
        kinds = set(map(type, values))
        if not kinds <= {int, float}:
            if self._default is None or not kinds <= {int, float, _NONE}:
                raise Unusual
            values = [self._default if value is None else value for value in values]
        try:
            found = np.array(values, dtype=np.float64)
            if not np.isfinite(found).all():
                raise Unusual
            return self._make(found)
        except (Unfit, OverflowError):
            raise Unusual from None


class Times:
    """What `make` makes of times, all of one unit, which all of them together tell."""

    def __init__(self, make: Callable[[pa.Array], Array]) -> None:
        self._make = make

    def __call__(self, values: list[Any]) -> Array:
        kinds = set(map(type, values))
        kinds.discard(_NONE)
        if len(kinds) > 1 or not kinds <= {int, str}:
            raise Unusual
        kind = pa.large_string() if str in kinds else pa.int64()
        try:
            moments = Clock().read(pa.array(values, kind)).cast(pa.timestamp("ns", "UTC"))
            return self._make(moments)
        except (Unfit, pa.ArrowException, UnicodeError, OverflowError):
            raise Unusual from None


def values_of(entry: Mapping[str, Any], encoders: Encoders) -> Values:
    """What makes an array of a field's values, as `Encoders` makes it of an Arrow array."""
    encoding, options = encoding_of(entry)
    own = entry["options"]
    default = options.get("default", own.get("default"))
    if entry["encoding"] == "bag" and "default" in own:
        options = {**options, "default": default}
    timely = bool(own.get("time") or options.get("time"))
    if encoding == "time" or (encoding == "bucket" and timely):
        return Times(lambda moments: table_rows(encoding, options, moments, None))
    if encoding == "bucket":
        return Numbers(lambda found: bucketed(options, found), default)
    if entry["table"] is not None:
        vocabulary = encoders.vocabularies.get(entry["vocabulary"])
        return Keys(lambda keys: table_rows(encoding, options, keys, vocabulary))
    if encoding == "key":
        return Keys(lambda keys: bits_of(keys_of(keys, default)))
    if encoding == "vector":
        return Numbers(single, default)
    scale, by = own["scale"], encoders.scales.get(entry["path"])
    if timely:
        return Times(lambda moments: _scaled(numbers_of(filled(measured(own, moments), default)), scale, by))
    return Numbers(lambda found: _scaled(found, scale, by), default)


def hashes_of(entry: Mapping[str, Any]) -> Values | None:
    """What makes the hashes of a crossed field's values; None where they are those of its rows."""
    if entry["encoding"] in ("bucket", "time"):
        return None
    return Keys(lambda keys: Member.of(entry, keys, ()).hashes, np.uint64)


def _scaled(found: npt.NDArray[np.float64], scale: str, by: Scale | None) -> Array:
    return single(scaled(scale, found, by)).reshape(-1, 1)
