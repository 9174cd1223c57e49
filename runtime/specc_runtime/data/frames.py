"""Data that is in memory already: pandas and polars frames, Arrow tables, dicts of arrays, lists of dicts.

Promises: values are read by the spec's kinds, as those of files are, and faults have the row (from 1) and
column. No data frame library is imported; a frame is known by what it offers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from specc_runtime.batch import Batch
from specc_runtime.data.columns import Column, Typing, columns_of, present
from specc_runtime.data.dialect import Dialect
from specc_runtime.data.json_lines import built, table_of
from specc_runtime.encode import Encoders
from specc_runtime.encode.faults import DataError, Fault, Origin, PartlyRead, Unfit, fault_of, with_names
from specc_runtime.encode.store import encoders_beside, load_trained
from specc_runtime.model import Model
from specc_runtime.record import ArtefactError, consistent

PLAIN = Dialect()
_ORIGIN = Origin("data", given=True)
# By model the encoders that were saved with it, and the hash of the weights that it had then.
_KNOWN: WeakKeyDictionary[Model, tuple[str | None, Encoders]] = WeakKeyDictionary()


def encoded(
    source: Encoders | Model | str | Path,
    data: Any,
    *,
    candidates: bool = False,
    labels: bool | None = None,
    dialect: Dialect = PLAIN,
) -> Batch:
    """The batch of data in memory, for a trained model.

    source: the model as `load` gives it, its directory, or encoders. data: a pandas or polars frame, an Arrow
        table, a dict of columns, or a list of dicts. candidates: columns of candidates hold lists. labels:
        whether labels are read too; None: if all their columns are there.
    Raises DataError with every fault, and ArtefactError if the model has not been trained.
    """
    encoders = encoders_of(source)
    names = set(column_names(data))
    if labels is None:
        labels = all(p["column"] in names for p in encoders.manifest["predictions"])
    columns = columns_of(encoders.manifest, candidates=candidates, labels=labels)
    return batch_in(encoders, data, columns, Typing(dialect), candidates=candidates, labels=labels)


def batch_in(
    encoders: Encoders,
    data: Any,
    columns: Mapping[str, Column],
    typing: Typing,
    origin: Origin = _ORIGIN,
    *,
    candidates: bool = False,
    labels: bool = False,
) -> Batch:
    """The batch of data in memory, of which these are the wanted columns. Raises DataError with every
    fault."""

    def encoded_of(table: pa.Table) -> Batch:
        return encoders.encode(table, origin, candidates=candidates, labels=labels)

    try:
        return encoded_of(table_in(data, columns, typing, origin))
    except PartlyRead as read:
        bad = {fault.column for fault in read.faults}
        for entry in encoders.manifest["fields"]:
            names = {entry["column"], entry["fallback"]}
            bad |= names if names & bad else set()
        faults = [*read.faults]
        try:
            encoded_of(read.table)
        except DataError as error:
            faults += [f for f in error.faults if f.column is not None and f.column not in bad]
        raise DataError(faults) from None


def encoders_of(source: Encoders | Model | str | Path) -> Encoders:
    """Raises ArtefactError."""
    if isinstance(source, Encoders):
        return source
    if isinstance(source, Model):
        if source.directory is None:
            raise ArtefactError(
                "the model was neither loaded from a folder nor trained into one: give that, or its encoders"
            )
        known = _KNOWN.get(source)
        if known is None or known[0] != source.saved_as or source.saved_as is None:
            found = consistent(source.directory, lambda files: encoders_beside(source, files))
            known = _KNOWN[source] = (source.saved_as, found)
        return known[1]
    return load_trained(source)[1]


def column_names(data: Any) -> list[str]:
    """Raises TypeError for what is no data."""
    if isinstance(data, pa.Table | pa.RecordBatch):
        return list(data.schema.names)
    if isinstance(data, Mapping):
        return [str(name) for name in data]
    if hasattr(data, "columns"):
        return [str(name) for name in data.columns]
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return list(dict.fromkeys(str(name) for row in data for name in row))
    raise TypeError(
        f"{type(data).__name__} is none of: a pandas or polars frame, an Arrow table, a dict of columns, "
        "a list of dicts"
    )


def table_in(data: Any, columns: Mapping[str, Column], typing: Typing, origin: Origin = _ORIGIN) -> pa.Table:
    """The wanted columns of data in memory, typed. Raises DataError with every fault."""
    names = column_names(data)
    twice = [n for n in dict.fromkeys(names) if names.count(n) > 1 and n in columns]
    if twice:
        raise DataError(
            Fault(origin.file, "the column is there twice", n, help="rename one of them") for n in twice
        )
    if isinstance(data, Sequence):
        return table_of(data, columns, False, typing, origin)
    arrays: dict[str, pa.Array] = {}
    faults: list[Fault] = []
    for name, column in present(columns, names).items():
        try:
            values = _array(_column(data, name), column)
            arrays[name] = typing.typed(name, values, column, blank=False)
        except Unfit as unfit:
            faults.append(fault_of(unfit, origin, name, unfit.index))
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"`{name}` has {n}" for name, n in lengths.items())
        raise DataError([*faults, Fault(origin.file, f"the columns are not equally long: {said}")])
    rows = _rows(data, names)
    table = pa.table(arrays) if arrays else pa.table({"": pa.nulls(rows)}).select([])
    table = with_names(table, names, typing.texts)
    if faults:
        raise PartlyRead(faults, table)
    return table


def _rows(data: Any, names: Sequence[str]) -> int:
    if hasattr(data, "num_rows"):
        return int(data.num_rows)
    if isinstance(data, Mapping):
        return len(data[names[0]]) if names else 0
    return len(data)


def _column(data: Any, name: str) -> Any:
    if isinstance(data, pa.Table | pa.RecordBatch):
        return data.column(name)
    if isinstance(data, Mapping):
        return data[name] if name in data else next(v for k, v in data.items() if str(k) == name)
    if name not in data.columns:
        name = next(given for given in data.columns if str(given) == name)
    return data[name]


def _array(values: Any, column: Column) -> Any:
    """An Arrow array of any array, with nothing guessed from its values."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if hasattr(values, "to_arrow"):  # polars
        return values.to_arrow()
    if hasattr(values, "detach"):  # torch
        values = values.detach().cpu().numpy()
    kind = getattr(values, "dtype", None)
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return _array(values.tolist(), column)
    if kind is not None and str(kind) != "object":
        # NaN is no value in a frame. Frames' own types (nullable, categories) are Arrow's, too.
        return pa.array(values, from_pandas=True)
    return built([_plain(value) for value in values], column)


def _plain(value: Any) -> Any:
    """A Python value, None for what frames have in its place."""
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or (isinstance(value, float) and value != value):
        return None
    # pandas.NA and NaT, which are equal to nothing.
    return None if type(value).__name__ in ("NAType", "NaTType") else value
