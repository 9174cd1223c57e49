"""Tables that start from vectors learnt elsewhere: `vocab(1000, 16, pretrained = "vectors.parquet")`.

Promises: every table that the spec starts from a file gets its values, or one error names all that is wrong
and nothing is changed. Files are looked for in the folders given and nowhere else; nothing is unpickled.

What a file may be:
    NAME.parquet        columns `value` and `vector`: the rows of the values that the table knows; rows of
                        values that the file lacks keep their start
    NAME.npy            [rows, width], row by row; for tables whose rows are numbered (ids, hash, bucket)
    NAME.safetensors    the same, as the tensor of the table's path, or the only one
    a trained model's directory   its table of the same path, value by value where both have vocabularies
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from specc_runtime.encode.encoders import Encoders
from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.kinds import keys_of
from specc_runtime.encode.store import load_encoders
from specc_runtime.encode.vocabulary import Vocabulary
from specc_runtime.model import Model
from specc_runtime.record import MANIFEST, WEIGHTS, ArtefactError, held

Rows = tuple[Tensor | None, Tensor]
"""Which rows of the table (None: all, in order), and their values."""


def load_pretrained(model: Model, encoders: Encoders, folders: Sequence[Path]) -> list[str]:
    """Give the model's tables the values that its spec says they start from; the paths of those tables.

    folders: where files are looked for, in this order. Raises ArtefactError.
    """
    weights = {**model.state_dict(keep_vars=True), **elsewhere(model)}
    found: dict[str, Rows] = {}
    faults: list[str] = []
    for entry in model.manifest["weights"]:
        if entry["pretrained"] is None:
            continue
        path, name = entry["path"], entry["pretrained"]
        try:
            vocabulary = encoders.vocabularies.get(vocabulary_of(entry))
            found[path] = _rows(path, _file(name, folders), weights[path], vocabulary)
        except (OSError, ValueError, KeyError, Unfit, SafetensorError, pa.ArrowException) as fault:
            faults.append(f"{path} starts from {name}: {fault}")
    if faults:
        raise ArtefactError("\n".join(faults))
    for path, (rows, values) in found.items():
        model.put(path, rows, values)
    return list(found)


def elsewhere(model: Model) -> dict[str, Tensor]:
    """By path, the tables that a model does not hold, without values."""
    shapes = {} if model.source is None else model.source.shapes
    return {path: torch.empty(shape, device="meta") for path, shape in shapes.items()}


def _file(name: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        path = (folder / name).resolve()
        if folder.resolve() not in path.parents:
            raise ValueError("a file is named by a path below the spec's folder, without `..`")
        if path.exists():
            return path
    raise ValueError(f"there is no such file in {' or '.join(str(f) for f in dict.fromkeys(folders))}")


def vocabulary_of(entry: Mapping[str, Any]) -> str:
    """The vocabulary that a weight's rows go by, by its name. Older manifests do not say it."""
    name: str = entry.get("vocabulary") or entry["path"].removesuffix(".weight")
    return name


def _rows(path: str, file: Path, weight: Tensor, vocabulary: Vocabulary | None) -> Rows:
    if file.is_dir():
        return _of_model(path, file, weight, vocabulary)
    if file.suffix == ".parquet":
        return _of_values(file, weight, vocabulary)
    if vocabulary is not None:
        raise ValueError(
            "the table's rows go by its vocabulary, so the file must say which value each is of: "
            "a .parquet file with columns `value` and `vector`, or a trained model's directory"
        )
    if file.suffix == ".npy":
        return None, _fitting(torch.from_numpy(np.load(file, allow_pickle=False)), weight)
    if file.suffix == ".safetensors":
        arrays = load_file(file)
        if path not in arrays and len(arrays) != 1:
            raise ValueError(f"it has no tensor {path}, but {', '.join(sorted(arrays)) or 'none'}")
        return None, _fitting(arrays.get(path, next(iter(arrays.values()))), weight)
    raise ValueError(f"{file.suffix or 'it'} is none of .parquet, .npy, .safetensors, or a model's directory")


def _fitting(values: Tensor, weight: Tensor) -> Tensor:
    if values.shape != weight.shape:
        raise ValueError(f"it is {list(values.shape)}, and the table {list(weight.shape)}")
    return values


def _of_values(file: Path, weight: Tensor, vocabulary: Vocabulary | None) -> Rows:
    table = pq.read_table(file)
    missing = [c for c in ("value", "vector") if c not in table.column_names]
    if missing:
        raise ValueError(f"it has no column `{'` and no `'.join(missing)}`, but {table.column_names}")
    vectors = table.column("vector").combine_chunks()
    width = weight.shape[1]
    if not (pa.types.is_list(vectors.type) or pa.types.is_fixed_size_list(vectors.type)):
        raise ValueError(f"`vector` is {vectors.type}, not a list of numbers")
    lengths = (
        np.diff(np.asarray(vectors.offsets)) if pa.types.is_list(vectors.type) else [vectors.type.list_size]
    )
    if vectors.null_count or any(length != width for length in np.unique(lengths)):
        raise ValueError(f"every `vector` needs {width} numbers, as wide as the table is")
    values = np.asarray(vectors.flatten(), dtype=np.float32).reshape(-1, width)
    keys = keys_of(table.column("value").combine_chunks())
    if vocabulary is not None:
        rows = vocabulary.rows(keys)
    else:
        rows = np.asarray(keys, dtype=np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(weight)):
            raise ValueError(f"`value` is a row of the table, 0 to {len(weight) - 1}")
    # Row 0 of a vocabulary is for what it does not know.
    known = rows > 0 if vocabulary is not None else np.ones(len(rows), dtype=bool)
    return torch.from_numpy(rows[known]), torch.from_numpy(values[known])


def _of_model(path: str, directory: Path, weight: Tensor, vocabulary: Vocabulary | None) -> Rows:
    files = held(directory)
    arrays = load_file(files.path(WEIGHTS))
    if path not in arrays:
        raise ValueError(f"that model has no table {path}")
    values = arrays[path]
    if vocabulary is None:
        return None, _fitting(values, weight)
    if values.shape[1] != weight.shape[1]:
        raise ValueError(f"that model's table is {values.shape[1]} wide, and this one {weight.shape[1]}")
    manifest: Mapping[str, Any] = json.loads(files.text(MANIFEST))
    entry = next(w for w in manifest["weights"] if w["path"] == path)
    theirs = load_encoders(directory, manifest).vocabularies[vocabulary_of(entry)]
    rows = vocabulary.rows(theirs.keys)
    there = torch.from_numpy(np.flatnonzero(rows > 0) + 1)
    return torch.from_numpy(rows[rows > 0]), values[there]
