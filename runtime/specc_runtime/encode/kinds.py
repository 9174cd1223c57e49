"""What each encoding makes of raw values.

Promises: vectorised; a value that cannot be taken is an `Unfit` with its place. By encoding:

    ids       an integer from 0 to n - 1, which is its row
    vocab     texts or integers; the learned row, 0 for an unknown or absent one
    hash      texts or integers; hash modulo n
    bucket    edges: how many of them are at most the value; log2: 0 below 1, then 1 + floor(log2(value)),
              at most n - 1
    time      the part of it, counted from 0 (times), at an offset from UTC in hours
    number    none: itself; standard: less the mean, over the standard deviation; minmax: from 0 to 1 over
              the training data; log1p: log(1 + |x|) with the sign of x
    vector    exactly n numbers
    bag       any number of what its table's encoding takes

A null is the field's `default`, where it has one; without it, it is the unknown value of a vocabulary, an
empty bag or history, and a fault anywhere else. NaN counts as null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.keys import canonical, integers, is_text, texts
from specc_runtime.encode.numbers import numbers_in, short
from specc_runtime.encode.times import part_of, times_of
from specc_runtime.encode.vocabulary import Rows, Vocabulary, hashed
from specc_runtime.packages import ENCODINGS, PackageError, loaded

Floats = npt.NDArray[np.float64]
LARGEST = float(np.finfo(np.float32).max)


def filled(values: pa.Array, default: float | None) -> pa.Array:
    """Numbers, those in texts too, with NaN as null, and nulls as the default if there is one.

    Raises Unfit.
    """
    kind = values.type
    if is_text(kind) or (pa.types.is_dictionary(kind) and is_text(kind.value_type)):
        values = numbers_in(values)
    elif pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, kind), values)
    if default is None:
        return values
    if pa.types.is_null(kind):
        return pa.array([default] * len(values))
    return values.fill_null(pa.scalar(default).cast(values.type)) if values.null_count else values


def measured(options: Mapping[str, Any], values: pa.Array) -> pa.Array:
    """The values of a column of numbers; times are seconds since 1970, in UTC. Raises Unfit."""
    kind = values.type
    if options.get("time") or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return pc.divide(times_of(values).cast(pa.float64(), safe=False), 1e6)
    return values


def keys_of(values: pa.Array, default: Any = None) -> pa.Array:
    """Keys, int64 or large_string, nulls as the default if there is one. Raises Unfit."""
    keys = canonical(values)
    if default is None or not keys.null_count:
        return keys
    other = canonical(pa.array([default]))
    if other.type != keys.type:
        keys, other = texts(keys), texts(other)
    return canonical(keys.fill_null(other[0]))


def doubles(values: pa.Array) -> pa.Array:
    """Numbers of any type, and true and false, as float64; nulls stay. Raises Unfit for other types."""
    kind = values.type
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        raise Unfit(f"the column is {kind}, and it should hold numbers")
    return values.cast(pa.float64(), safe=False)


def numbers_of(values: pa.Array) -> Floats:
    """Finite numbers, none of them null. Raises Unfit."""
    numbers = doubles(values)
    _present(values)
    if pa.types.is_null(values.type):
        return np.zeros(0)
    found: Floats = numbers.to_numpy(zero_copy_only=False)
    refuse(~np.isfinite(found), found, "is not a finite number")
    return found


def integers_of(values: pa.Array) -> Rows:
    """Integers, none of them null. Raises Unfit."""
    found = canonical(values)
    _present(found)
    if not pa.types.is_int64(found.type):
        _, whole = integers(found)
        # Where all are integers, one of them is beyond int64.
        first = int((~whole).argmax()) if not whole.all() else 0
        more = max(int((~whole).sum()) - 1, 0)
        raise Unfit(f"`{short(found[first].as_py())}` is not an integer that can be a row", first, more)
    numbers: Rows = found.to_numpy(zero_copy_only=False)
    return numbers


def _present(values: pa.Array) -> None:
    if values.null_count:
        absent = values.is_null().to_numpy(zero_copy_only=False)
        raise Unfit(
            "there is no value",
            int(absent.argmax()),
            int(absent.sum()) - 1,
            "fill it in, or give the field a `default = …` in the spec",
        )


def refuse(
    bad: npt.NDArray[np.bool_], values: Any, what: str, help: str = "", level: int | None = None
) -> None:
    """Raise Unfit if any value is bad, with the first of them."""
    if bad.any():
        first = int(bad.argmax())
        raise Unfit(f"{values[first]} {what}", first, int(bad.sum()) - 1, help, level)


def table_rows(
    encoding: str, options: Mapping[str, Any], values: pa.Array, vocabulary: Vocabulary | None
) -> Rows:
    """The rows of a table that stand for values. Raises Unfit."""
    default = options.get("default")
    match encoding:
        case "ids":
            n, found = options["n"], integers_of(keys_of(values, default))
            refuse(
                (found < 0) | (found >= n),
                found,
                f"is not one of the ids 0 to {n - 1:,}",
                f"correct the data, raise n in `ids({n}, …)`, or use `vocab` for values of any kind",
            )
            return found
        case "vocab":
            if vocabulary is None:
                raise Unfit("no vocabulary has been learned for it", help="train the model first")
            return vocabulary.rows(keys_of(values, default))
        case "hash":
            keys = keys_of(values, default)
            _present(keys)
            return (hashed(keys) % np.uint64(options["n"])).astype(np.int64)
        case "bucket":
            return bucketed(options, numbers_of(filled(measured(options, values), default)))
        case "time":
            return _part(options, times_of(values))
        case _:
            return _of_package(encoding, options["n"], keys_of(values, default))


@dataclass(frozen=True)
class TableEncoding:
    """An encoding of another package, which offers it by an entry point of the group `arec.encodings`; a spec
    writes `name(n, width)`.

    rows: from keys (int64 or large_string, none of them null) and n to the row of each, an integer from 0 to
        n - 1, the same for a key whatever others there are.
    """

    rows: Callable[[pa.Array, int], npt.ArrayLike]


def _of_package(encoding: str, n: int, keys: pa.Array) -> Rows:
    """The rows that an encoding of another package gives. Raises Unfit."""
    try:
        found = loaded(ENCODINGS, encoding, TableEncoding)
    except PackageError as error:
        raise Unfit(str(error)) from None
    _present(keys)
    rows = np.asarray(found.rows(keys, n))
    if rows.shape != (len(keys),) or rows.dtype.kind not in "iu":
        raise Unfit(f"`{encoding}` gives {rows.dtype} {list(rows.shape)}, not an integer for each value")
    refuse((rows < 0) | (rows >= n), keys, f"has no row from 0 to {n - 1:,}, by `{encoding}`")
    return rows.astype(np.int64)


def _part(options: Mapping[str, Any], micros: pa.Array) -> Rows:
    """The parts of times. The default is a part already."""
    default = options.get("default")
    if default is None:
        _present(micros)
    absent = np.asarray(micros.is_null())
    found = part_of(options["part"], micros.fill_null(0).to_numpy(), options.get("offset", 0.0))
    return np.where(absent, default, found) if default is not None else found


def bucketed(options: Mapping[str, Any], found: Floats) -> Rows:
    """The rows of a table that stand for numbers."""
    if "edges" in options:
        return np.searchsorted(np.asarray(options["edges"], dtype=np.float64), found, side="right")
    # The exponent of a float is exact, where the logarithm of 2^k may fall short of k.
    _, exponent = np.frexp(np.maximum(found, 0.5))
    return np.clip(exponent, 0, options["log2"] - 1).astype(np.int64)


@dataclass(frozen=True)
class Scale:
    """A number's learned scale: (x - shift) / by."""

    shift: float
    by: float


@dataclass
class Moments:
    """Mean, spread and range of numbers as they come by, in one pass (Chan et al. 1979)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    least: float = np.inf
    most: float = -np.inf

    def add(self, values: pa.Array, default: Any) -> None:
        found = numbers_of(filled(values, default))
        if not len(found):
            return
        count, mean = len(found), float(found.mean())
        whole, off = self.count + count, mean - self.mean
        self.squares += float(((found - mean) ** 2).sum()) + off * off * self.count * count / whole
        self.mean += off * count / whole
        self.count = whole
        self.least, self.most = min(self.least, float(found.min())), max(self.most, float(found.max()))

    def scale(self, kind: str) -> Scale:
        """A constant column is scaled to 0."""
        if not self.count:
            return Scale(0.0, 1.0)
        if kind == "minmax":
            return Scale(self.least, (self.most - self.least) or 1.0)
        return Scale(self.mean, float(np.sqrt(self.squares / self.count)) or 1.0)


def single(found: Floats) -> npt.NDArray[np.float32]:
    """Numbers as a model computes with them. Raises Unfit for one that is too large for that."""
    if len(found) and max(found.max(), -found.min()) > LARGEST:
        refuse(np.abs(found) > LARGEST, found, "is too large: a model computes with numbers up to 3.4e38")
    return found.astype(np.float32)


def scaled(kind: str, found: Floats, scale: Scale | None) -> Floats:
    match kind:
        case "log1p":
            return np.sign(found) * np.log1p(np.abs(found))
        case "standard" | "minmax":
            if scale is None:
                raise Unfit("no scale has been learned for it", help="train the model first")
            return (found - scale.shift) / scale.by
    return found
