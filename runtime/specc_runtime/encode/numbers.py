"""Numbers that are written as texts: doubles, exactly as they are written.

Promises: `1`, `-1.5`, `.5`, `5.`, `1e-3`, with blanks around or without, are numbers, rounded once to the
nearest double; the empty text is null; any other text (`n/a`, `nan`, `1,5`, `0x10`, a number beyond a double)
is an Unfit with its place.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specc_runtime.encode.faults import Unfit

_NUMBER = r"\A[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\z"
LONGEST = 40  # characters of a value that a message spells out


def numbers_in(values: pa.Array) -> pa.Array:
    """The float64 of texts. Raises Unfit."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    try:
        # What the cast takes besides numbers are the names of infinity and of what is no number.
        found = values.cast(pa.float64())
        if pc.all(pc.is_finite(found), skip_nulls=True).as_py() is not False:
            return found
    except pa.ArrowInvalid:
        pass
    trimmed = pc.ascii_trim_whitespace(values)
    trimmed = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)
    bad = ~np.asarray(pc.match_substring_regex(trimmed, _NUMBER).fill_null(True))
    if not bad.any():
        found = trimmed.cast(pa.float64())
        bad = ~np.asarray(pc.is_finite(found).fill_null(True))
        if not bad.any():
            return found
    first = int(bad.argmax())
    text = trimmed[first].as_py()
    raise Unfit(
        f"`{short(text)}` is not a number",
        first,
        int(bad.sum()) - 1,
        f"correct it; if it stands for no value, say so: `--null '{short(text)}'`",
        of_given="give a number, or null where there is no value",
    )


def short(text: str) -> str:
    """A text as a message shows it: in one line, and not longer than a line."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:LONGEST]
    )
    return shown + ("…" if len(text) > LONGEST else "")
