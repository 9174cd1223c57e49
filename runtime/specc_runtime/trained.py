"""What a model was trained on and how: `training.json` in its folder.

Promises: the file names the weights that it is of by their hash; `read_training` gives nothing where the
folder's are others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from specc_runtime.record import WEIGHTS, Held, digest

TRAINING = "training.json"
TIME = "example_time"  # of prepared examples, in seconds since 1970


def write_training(
    facts: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]], best: int, folder: Path
) -> None:
    """Write what is known of a training into a folder that is being filled, and has the weights already.

    facts: recipe and data. epochs, best: as in `Outcome`.
    """
    found = {"weights": digest(folder / WEIGHTS), **facts, "epochs": list(epochs), "best": best}
    (folder / TRAINING).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_training(files: Held) -> dict[str, Any] | None:
    """What a folder says of the training of its weights; None where nothing is known of it."""
    if files.record is None or not files.has(TRAINING):
        return None
    found: dict[str, Any] = json.loads(files.text(TRAINING))
    return found if found["weights"] == files.record.files.get(WEIGHTS) else None


def period_of(files: Sequence[Path]) -> tuple[str, str] | None:
    """The first and the last time of prepared examples, by what Parquet files say of their own content; None
    where one says nothing."""
    ends: list[int] = []
    for file in files:
        try:
            about = pq.read_metadata(file)
        except (OSError, pa.ArrowInvalid):
            return None
        if TIME not in about.schema.names:
            return None
        column = about.schema.names.index(TIME)
        for group in range(about.num_row_groups):
            known = about.row_group(group).column(column).statistics
            if known is None or not known.has_min_max or not isinstance(known.min, int):
                return None
            ends += [known.min, known.max]
    if not ends:
        return None
    first, last = (
        datetime.fromtimestamp(end, UTC).isoformat(timespec="seconds") for end in (min(ends), max(ends))
    )
    return first, last
