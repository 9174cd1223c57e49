"""Values for encoders of format 1, which were learned before digits in texts were integers.

Promises: a value has the row that it had when the model was trained, or is refused in words. Format 1 took an
unsigned integer above int64 by its bits, and hashed the text "7" otherwise than the integer 7. Where a column
was read in the one form of keys since, its table knows whether it held texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.keys import canonical, integers, is_text


def as_before(encoding: str, values: Any, were_texts: bool | None) -> pa.Array:
    """The values as format 1 took them. were_texts: before they got the one form of keys; None if they did
    not. Raises Unfit."""
    kind = values.type
    if pa.types.is_uint64(kind):
        return pa.Array.from_buffers(pa.int64(), len(values), values.buffers(), offset=values.offset)
    if were_texts is False and is_text(kind):  # of unsigned integers
        bits, _ = integers(canonical(values))
        return pa.array(bits.view(np.int64), mask=~np.asarray(values.is_valid()))
    if encoding == "hash" and (is_text(kind) if were_texts is None else were_texts):
        _, whole = integers(canonical(values))
        if whole.any():
            first = int(whole.argmax())
            raise Unfit(
                f"`{values[first]}` is an integer in a text, which this model hashes as a text",
                first,
                int(whole.sum()) - 1,
                "the model was trained by an earlier version; train it again",
            )
    return values
