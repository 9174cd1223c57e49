"""Encoders beside a model's weights: `encoders.json`, and one Arrow file a vocabulary.

Promises: what is loaded encodes as what was saved, also by an earlier version (`earlier`). Nothing is
unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather

from specc_runtime.artefact import Compiler, loaded
from specc_runtime.devices import Wanted
from specc_runtime.encode.encoders import Encoders
from specc_runtime.encode.kinds import Scale
from specc_runtime.encode.vocabulary import Learnt, Vocabulary
from specc_runtime.model import Model
from specc_runtime.record import INDICES, WEIGHTS, ArtefactError, Held, add_recorded, consistent

ENCODERS, FOLDER, FORMAT = "encoders.json", "vocabularies", 2


def save_encoders(encoders: Encoders, directory: Path) -> None:
    """Put encoders into a model's directory, in place of those that it has."""
    add_recorded(
        directory,
        lambda folder: write_encoders(encoders, folder),
        lambda name: name != ENCODERS and not name.startswith((f"{FOLDER}/", f"{INDICES}/")),
    )


def write_encoders(encoders: Encoders, directory: Path) -> None:
    """Write encoders into a folder, and record nothing."""
    (directory / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, vocabulary in encoders.vocabularies.items():
        table = pa.table({"key": vocabulary.keys, "count": vocabulary.counts})
        feather.write_feather(table, str(directory / FOLDER / f"{name}.arrow"), compression="zstd")
    state = {
        "format": encoders.format,
        "vocabularies": sorted(encoders.vocabularies),
        "learnt": {name: asdict(v.learnt) for name, v in encoders.vocabularies.items() if v.learnt},
        "classes": {name: list(names) for name, names in encoders.classes.items()},
        "scales": {path: {"shift": s.shift, "by": s.by} for path, s in encoders.scales.items()},
    }
    (directory / ENCODERS).write_text(json.dumps(state, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_encoders(directory: str | Path, manifest: Mapping[str, Any]) -> Encoders:
    """The encoders of a trained model's directory. Raises ArtefactError if it has none that can be read."""
    return consistent(directory, lambda files: encoders_of(files, manifest))


def load_trained(
    directory: str | Path, devices: Wanted = None, compiler: Compiler | None = None
) -> tuple[Model, Encoders]:
    """A trained model and its encoders, saved together. As `load`; raises what it does."""

    def both(files: Held) -> tuple[Model, Encoders]:
        with ThreadPoolExecutor(1) as beside:
            encoders = beside.submit(encoders_of, files, {})
            model = loaded(files, devices, compiler=compiler)
            return model, replace(encoders.result(), manifest=model.manifest)

    return consistent(directory, both)


def encoders_beside(model: Model, files: Held) -> Encoders:
    """The encoders among the files of the folder that a model was loaded from or saved to. Raises
    ArtefactError if the folder has another model by now."""
    now = files.record.files.get(WEIGHTS) if files.record is not None else None
    if None not in (now, model.saved_as) and now != model.saved_as:
        raise ArtefactError(
            f"{files.folder} has another model than the one that was loaded or saved there before: it was "
            "trained or saved anew meanwhile; load it again"
        )
    return encoders_of(files, model.manifest)


def encoders_of(files: Held, manifest: Mapping[str, Any]) -> Encoders:
    """The encoders among a folder's files. Raises ArtefactError."""
    path = files.folder / ENCODERS
    if not files.has(ENCODERS):
        raise ArtefactError(
            f"{files.folder} has no {ENCODERS}: the model has not been trained; "
            f"`specc train {files.folder} DATA`"
        )
    try:
        state = json.loads(files.text(ENCODERS))
        if state["format"] not in (1, FORMAT):
            raise ArtefactError(f"{path} is not of format {FORMAT}; train the model again")
        vocabularies, learnt = {}, state.get("learnt", {})
        classes = {name: tuple(map(str, names)) for name, names in state.get("classes", {}).items()}
        for name in state["vocabularies"]:
            table = feather.read_table(str(files.path(f"{FOLDER}/{name}.arrow")), memory_map=False)
            about = learnt.get(name)
            vocabularies[name] = Vocabulary(
                table.column("key").combine_chunks(),
                table.column("count").combine_chunks().to_numpy(),
                None if about is None else Learnt(**about),
            )
            if files.has(index := f"{INDICES}/{name}.npy"):
                found = np.load(files.path(index), mmap_mode="r", allow_pickle=False)
                vocabularies[name].take_index(found)
        scales = {name: Scale(s["shift"], s["by"]) for name, s in state["scales"].items()}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{path} cannot be read: {error}") from None
    return Encoders(manifest, vocabularies, scales, classes, state["format"])
