"""What a trained model's values mean: the attention of an example over its own history (`example`), which
fields matter (`importance`), and which rows of a table are alike (`nearest`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from specc.inspect.example import Example, example_of
from specc.inspect.rows import in_files, in_memory, read, said_of
from specc_runtime import Model
from specc_runtime.data import find_tests
from specc_runtime.data.frames import encoders_of
from specc_runtime.encode import DataError, Fault, load_trained

__all__ = ["Example", "attention"]


def attention(source: Model | str | Path, data: Any, example: int = 1) -> Example:
    """Return the weights of every attention in one example, beside the items that they are on.

    source: a trained model as `fit` leaves it or `load` gives it, or its directory, whose `model.py` is run.
    data: files or folders, of which those called test count, or data in memory as `encoded` takes it.
    example: which row, counted from 1. Raises DataError, ArtefactError.
    """
    if example < 1:
        raise DataError([Fault("example", f"rows are counted from 1, and row {example} is asked for")])
    if isinstance(source, Model):
        model, encoders = source, encoders_of(source)
    else:
        model, encoders = load_trained(source)
    paths = _paths(data)
    if paths is None:
        rows = in_memory(model.manifest, data)
    else:
        rows = in_files(model.manifest, find_tests(paths)[0])
    batch, table = read(rows, encoders, example - 1, 1)
    return example_of(model, encoders, batch, said_of(model.manifest, table))


def _paths(data: Any) -> list[Path] | None:
    """The files and folders that data is, None where it is in memory."""
    if isinstance(data, str | Path):
        return [Path(data)]
    if isinstance(data, Sequence) and data and all(isinstance(one, str | Path) for one in data):
        return [Path(one) for one in data]
    return None
