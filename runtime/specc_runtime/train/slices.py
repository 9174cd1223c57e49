"""Parts of the data by the values of a column: the examples of each city, each device, each day.

Promises: equal values are one slice, whatever file or type they come from; examples without a value are the
slice "(none)". Values beyond LIMIT are one slice together, "(others)", so that memory stays bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc_runtime.batch import Batch
from specc_runtime.encode.columns import is_list, unpack
from specc_runtime.encode.faults import Unfit

BY = "@by:"
"""Among a batch's labels, before a column's name: the number of each example's slice, int64 [B]."""
LIMIT = 1000
NONE, OTHERS = "(none)", "(others)"


def each_of(column: pa.ChunkedArray, batch: Batch) -> pa.Array:
    """The value of each example of a column, one a row; of requests that of each candidate, where the column
    has a list of them or one value for all. Raises Unfit for lists of other lengths."""
    values = column.combine_chunks()
    if batch.candidates is None:
        return values
    counts = batch.candidates.numpy()
    if not is_list(values.type):
        return values.take(pa.array(np.repeat(np.arange(len(values)), counts)))
    packed = unpack(values, (None,))
    if not np.array_equal(packed.lengths[0], counts):
        raise Unfit("its lists are not as long as requests have candidates")
    return packed.values


@dataclass
class Slices:
    """The slices of a column. names: by number, in the order in which they were first met."""

    column: str
    names: list[str] = field(default_factory=list)
    _numbers: dict[str | None, int] = field(default_factory=dict)

    def of(self, values: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.int64]:
        """Return the number of each value's slice. Raises Unfit for lists."""
        whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        if pa.types.is_nested(whole.type):
            raise Unfit("it has lists, and slices are by one value a row")
        if not pa.types.is_dictionary(whole.type):
            whole = whole.dictionary_encode()
        try:
            texts: list[str | None] = whole.dictionary.cast(pa.string()).to_pylist()
        except pa.ArrowException:
            raise Unfit(f"the column is {whole.type.value_type}, which has no names for slices") from None
        if whole.null_count:
            texts.append(None)
        numbers = np.array([self._number(text) for text in texts], np.int64)
        return np.asarray(numbers[whole.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)])

    def _number(self, text: str | None) -> int:
        number = self._numbers.get(text)
        if number is None:
            if len(self.names) < LIMIT:
                number = len(self.names)
                self.names.append(NONE if text is None else text)
            else:
                number = LIMIT
                if len(self.names) == LIMIT:
                    self.names.append(OTHERS)
                return number
            self._numbers[text] = number
        return number
