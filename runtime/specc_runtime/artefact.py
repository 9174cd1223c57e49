"""A compiled model as a directory: model.py, manifest.json, spec.arec, weights.safetensors.

Promises: nothing is unpickled; weights that are missing, unknown or of another shape are all named
in one error, and nothing is assigned then.
Leaves to others: the encoders' state beside the weights (encode).
"""

from __future__ import annotations

import importlib.util
import json
import linecache
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from specc_runtime.devices import Wanted, keep_freed
from specc_runtime.model import Model

MODEL, MANIFEST, WEIGHTS = "model.py", "manifest.json", "weights.safetensors"
FORMAT = 1


class ArtefactError(ValueError):
    """A directory that is no compiled model, or weights that do not fit one. The message lists
    every fault."""


def save(model: Model, directory: str | Path) -> None:
    """Write a model's texts and weights to a directory, which is made if need be."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in model.files.items():
        (directory / name).write_text(text, encoding="utf-8")
    weights = {path: value.detach().cpu().contiguous() for path, value in model.state_dict().items()}
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})


def load(directory: str | Path, devices: Wanted = None) -> Model:
    """The model of a directory, with its trained weights, or initial ones if it has none yet.

    devices: targets by the names of the spec's devices, {"dense": "cuda:1"}, or one for all; without
        it the spec's own, and the CPU for a model without places.
    Raises ArtefactError if the directory is not a compiled model, was written by a newer version,
    or its weights do not fit; DeviceError if this machine lacks a device.
    """
    directory = Path(directory)
    missing = [name for name in (MODEL, MANIFEST) if not (directory / name).is_file()]
    if missing:
        raise ArtefactError(
            f"{directory} is not a compiled model: it has no {' and no '.join(missing)}; "
            "`specc compile FILE -o DIRECTORY` makes one"
        )
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtefactError(f"{directory / MANIFEST} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtefactError(f"{directory / MANIFEST} is not of format {FORMAT}; compile the spec again")
    model = model_in(_module(directory / MODEL))
    model.manifest = manifest
    texts = (MODEL, MANIFEST, "spec.arec")
    model.files = {
        name: (directory / name).read_text(encoding="utf-8") for name in texts if (directory / name).is_file()
    }
    if (directory / WEIGHTS).is_file():
        try:
            assign_weights(model, load_file(directory / WEIGHTS))
        except SafetensorError as error:
            raise ArtefactError(f"{directory / WEIGHTS} cannot be read: {error}") from None
    model.directory = directory
    return model.place(devices)


def from_texts(files: Mapping[str, str], origin: str = "model") -> Model:
    """The model of an artefact's texts (`model.py`, `manifest.json` and what belongs to them), untrained.

    origin: what tracebacks call the source. It is on the CPU until `place` puts it elsewhere.
    """
    manifest = json.loads(files[MANIFEST])
    number = next(_numbers)
    module = ModuleType(f"arec_{manifest['name']}_{number}")
    module.__file__ = f"<{origin}:{number}>"
    source = files[MODEL]
    # So that tracebacks and `inspect` show the lines, each with its place in the spec.
    linecache.cache[module.__file__] = (len(source), None, source.splitlines(True), module.__file__)
    sys.modules[module.__name__] = module
    # The compiler's own text: of the spec it holds names that the checker admitted, and numbers.
    exec(compile(source, module.__file__, "exec"), vars(module))  # noqa: S102
    model = model_in(module)
    model.manifest = manifest
    model.files = dict(files)
    return model


_numbers = count()


def _module(path: Path) -> ModuleType:
    name = f"arec_{path.parent.name}_{abs(hash(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and torch.compile look a class's module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def model_in(module: ModuleType) -> Model:
    """An instance of the one compiled model that a module defines."""
    keep_freed()
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Model) and value.__module__ == module.__name__:
            return value()
    raise ArtefactError(f"{module.__file__} defines no model")


def assign_weights(model: Model, arrays: Mapping[str, Any]) -> None:
    """Give every weight of a model its values, from arrays or tensors by weight path.

    Values are converted to each weight's type and device. Raises ArtefactError, naming every fault,
    if a weight would be left without values, an array is for no weight, or a shape differs; no
    weight is changed then.
    """
    weights = model.state_dict()
    faults = [f"{path} {_shape(w)} has no values" for path, w in weights.items() if path not in arrays]
    faults += [
        f"{path} {_shape(a)} is no weight of the model" for path, a in arrays.items() if path not in weights
    ]
    faults += [
        f"{path} is {_shape(w)}, and the values for it are {_shape(arrays[path])}"
        for path, w in weights.items()
        if path in arrays and tuple(arrays[path].shape) != tuple(w.shape)
    ]
    if faults:
        raise ArtefactError(
            f"the weights do not fit the model ({len(faults)} fault{'s' if len(faults) > 1 else ''}):\n"
            + "\n".join(f"  {fault}" for fault in faults)
        )
    with torch.no_grad():
        for path, weight in weights.items():
            weight.copy_(torch.as_tensor(arrays[path]))


def _shape(values: Tensor | Any) -> str:
    return "[" + ", ".join(str(n) for n in values.shape) + "]"
