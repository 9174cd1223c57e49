"""What a scorer makes when it is loaded, made beforehand and kept in the model's folder.

Promises: scores are the same with it and without; where it is, a scorer is there sooner, and needs no C
compiler. Libraries are for processors such as the one that they were built on: another one builds its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from specc_runtime import native
from specc_runtime.encode import Encoders
from specc_runtime.encode.store import load_trained
from specc_runtime.model import Model
from specc_runtime.record import INDICES, LIBRARIES, add_recorded
from specc_runtime.score.scorer import Scorer


def prebuild(directory: str | Path) -> list[str]:
    """Put libraries of the model's C, and indices of its vocabularies, among the files of its folder;
    those of before go. The names of the files.

    Raises what loading raises, and FileError where the folder cannot be written.
    """
    (model, encoders), names = load_trained(directory), list[str]()
    add_recorded(
        Path(directory),
        lambda folder: names.extend(write_prebuilt(model, encoders, folder)),
        lambda name: not name.startswith((f"{LIBRARIES}/", f"{INDICES}/")),
    )
    return names


def write_prebuilt(model: Model, encoders: Encoders, folder: Path) -> list[str]:
    """Write them into a folder that is being filled; of a model on another device than the host, or whose
    tables are elsewhere, the indices alone. The model is in evaluation mode afterwards. The names of the
    files."""
    names = []
    if model.source is None and all(weight.device.type == "cpu" for weight in model.parameters()):
        with native.used() as libraries:
            Scorer(model, encoders).warm()
        for name, path in libraries.items():
            names.append(f"{LIBRARIES}/{name}.so")
            (folder / LIBRARIES).mkdir(exist_ok=True)
            shutil.copyfile(path, folder / names[-1])
    for name, vocabulary in encoders.vocabularies.items():
        names.append(f"{INDICES}/{name}.npy")
        (folder / INDICES).mkdir(exist_ok=True)
        np.save(folder / names[-1], vocabulary.index, allow_pickle=False)
    return names
