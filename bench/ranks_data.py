"""Random examples of a shipped spec, for the timing of several processes: `ranks_data MODEL FILE ROWS`.

Keys are drawn so that few are frequent and most are rare (a power law), as in logs; sequences have half of
their bound on average.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from specc.testing.batches import manifest_of

KEYS = 100_000
REPO = Path(__file__).parents[1]


def examples(manifest: Mapping[str, Any], rows: int) -> pa.Table:
    """Examples of a model whose axes are not nested, with a column for each field and prediction."""
    random = np.random.default_rng(0)
    bounds = {axis["id"]: axis["bound"] for axis in manifest["axes"]}
    lengths = {axis: random.integers(0, bound + 1, rows) for axis, bound in bounds.items()}
    columns: dict[str, pa.Array] = {}
    for field in manifest["fields"]:
        (axis,) = field["axes"] or (None,)
        count = rows if axis is None else int(lengths[axis].sum())
        if field["table"] is None:
            values = pa.array(random.standard_normal(count, np.float32))
        else:
            most = min(KEYS, next(t["rows"] for t in manifest["tables"] if t["path"] == field["table"]))
            values = pa.array((most * random.random(count) ** 4).astype(np.int64))
        if axis is not None:
            ends = np.concatenate([[0], lengths[axis].cumsum()]).astype(np.int32)
            values = pa.ListArray.from_arrays(ends, values)
        columns[field["column"]] = values
    for prediction in manifest["predictions"]:
        columns[prediction["column"]] = pa.array(random.integers(0, 2, rows).astype(np.float32))
    return pa.table(columns)


if __name__ == "__main__":
    name, file, rows = sys.argv[1:]
    table = examples(manifest_of(REPO / "specs" / f"{name}.arec", {}), int(rows))
    pq.write_table(table, file, row_group_size=1 << 16)
