"""Keys: the raw values that name things (users, items, categories), in one form whatever they were read from.

Promises: a text that is the canonical decimal form of a signed or unsigned 64-bit integer is that integer, so
CSV `7`, JSON `7` and `"7"`, and Parquet 7, "7" and 7.0 are one key. Every other text is itself: `007`, `+7`,
`-0`, `1e5`, `0x0A`, `7.0`. A number that is an integer is that integer, whatever its type; any other number
is an Unfit.

Keys are held as int64 where all of them are integers that it can hold, else as large_string in which integers
have their decimal form. Which of the two says nothing: 7 in one is "7" in the other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.encode.faults import Unfit

EXACT = 2.0**53  # below it a float tells an integer from its neighbours


def canonical(values: pa.Array) -> pa.Array:
    """The keys of a column, int64 or large_string; null and NaN are null. Raises Unfit."""
    kind = values.type
    if pa.types.is_int64(kind):
        return values
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.int64())
    if pa.types.is_dictionary(kind):
        if pa.types.is_floating(kind.value_type) or pa.types.is_decimal(kind.value_type):
            return canonical(values.dictionary_decode())  # so that a fault has its place
        return canonical(values.dictionary).take(values.indices)
    if is_text(kind):
        return _of_texts(values.cast(pa.large_string()))
    if pa.types.is_uint64(kind):
        try:
            return values.cast(pa.int64())
        except pa.ArrowInvalid:
            return values.cast(pa.large_string())
    if pa.types.is_integer(kind):
        return values.cast(pa.int64())
    if pa.types.is_boolean(kind):
        return values.cast(pa.int8()).cast(pa.int64())
    if pa.types.is_floating(kind):
        return _of_floats(values.cast(pa.float64()))
    if pa.types.is_decimal(kind):
        return _of_decimals(values)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return _of_texts(values.cast(pa.large_string()))
        except pa.ArrowInvalid:
            raise Unfit("the column holds bytes that are no UTF-8 text", help="write texts") from None
    raise Unfit(
        f"the column is {kind}, and it should hold texts or integers",
        help="write what names a thing as a text or an integer",
    )


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def texts(keys: pa.Array) -> pa.Array:
    """Keys as large_string."""
    return keys if pa.types.is_large_string(keys.type) else keys.cast(pa.large_string())


def integers(keys: pa.Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """The 64 bits of each key that is an integer (others have 0), and which are."""
    if pa.types.is_int64(keys.type):
        known = np.asarray(keys.is_valid().to_numpy(zero_copy_only=False))
        found = keys.fill_null(0) if keys.null_count else keys
        return found.to_numpy().view(np.uint64), known
    bits = np.zeros(len(keys), dtype=np.uint64)
    which = np.zeros(len(keys), dtype=bool)
    # Decimal texts of at most 20 characters; of those the ones that come back as they were.
    maybe = np.flatnonzero(pc.match_substring_regex(keys, r"\A-?[0-9]{1,20}\z").fill_null(False))
    if not len(maybe):
        return bits, which
    digits = keys.take(pa.array(maybe))
    negative = np.asarray(pc.starts_with(digits, "-"))
    for some, kind in ((negative, pa.int64()), (~negative, pa.uint64())):
        places, chosen = maybe[some], digits.filter(pa.array(some))
        # Those that are too large for 64 bits would make the cast of all fail.
        limit, signs = ("9223372036854775808", 1) if kind == pa.int64() else ("18446744073709551615", 0)
        lengths = np.asarray(pc.utf8_length(chosen)) - signs
        magnitude = pc.utf8_slice_codeunits(chosen, signs)
        within = np.asarray(pc.less_equal(magnitude, pa.scalar(limit, pa.large_string())))
        fits = (lengths < len(limit)) | ((lengths == len(limit)) & within)
        places, chosen = places[fits], chosen.filter(pa.array(fits))
        numbers = chosen.cast(kind)
        same = np.asarray(pc.equal(numbers.cast(pa.large_string()), chosen))
        bits[places[same]] = numbers.to_numpy()[same].view(np.uint64)
        which[places[same]] = True
    return bits, which


def _of_texts(values: pa.Array) -> pa.Array:
    try:
        numbers = values.cast(pa.int64())
    except pa.ArrowInvalid:
        return values
    # The cast takes 007 and 0x0A too.
    same = pc.all(pc.equal(numbers.cast(pa.large_string()), values), skip_nulls=True).as_py()
    return numbers if same is not False else values


def _of_floats(values: pa.Array) -> pa.Array:
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    absent = np.isnan(numbers) | values.is_null().to_numpy(zero_copy_only=False)
    whole = np.where(absent, 0.0, numbers)
    fraction = whole != np.floor(whole)
    large = np.abs(whole) >= EXACT
    bad = fraction | large
    if bad.any():
        first = int(bad.argmax())
        text = repr(float(whole[first]))
        what = (
            f"{text} is not an integer"
            if fraction[first] or not np.isfinite(whole[first])
            else f"{text} has more digits than a float keeps"
        )
        raise Unfit(
            what, first, int(bad.sum()) - 1, "write what names a thing as a text or an integer, not a float"
        )
    return pa.array(whole.astype(np.int64), mask=absent)


def _of_decimals(values: pa.Array) -> pa.Array:
    try:
        # Safe: a fraction is not cut off.
        wide = pa.types.is_decimal256(values.type)
        whole = values.cast(pa.decimal256(76, 0) if wide else pa.decimal128(38, 0))
    except pa.ArrowInvalid:
        bad = np.array([v is not None and v != v.to_integral_value() for v in values.to_pylist()])
        if not bad.any():
            raise Unfit(f"the column is {values.type}, and its integers have too many digits") from None
        first = int(bad.argmax())
        raise Unfit(f"{values[first].as_py()} is not an integer", first, int(bad.sum()) - 1) from None
    # A decimal without a scale is written without exponent or point.
    return _of_texts(whole.cast(pa.large_string()))
