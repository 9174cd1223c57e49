"""What a compiled model needs to run: packed batches, layers, operations, saving and loading.

A name's module is imported when the name is first asked for: what only writes files needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from specc_runtime.version import __version__

if TYPE_CHECKING:
    from specc_runtime.artefact import ArtefactError, assign_weights, from_texts, load, save
    from specc_runtime.batch import Bag, Batch, Schema, labelled
    from specc_runtime.data.examples import Examples
    from specc_runtime.data.frames import encoded
    from specc_runtime.data.stream import Stream
    from specc_runtime.devices import DeviceError
    from specc_runtime.encode.encoders import Encoders
    from specc_runtime.encode.faults import DataError
    from specc_runtime.encode.store import load_trained
    from specc_runtime.layout import CANDIDATE, Axis, Layout, Rows
    from specc_runtime.model import Model, Weights
    from specc_runtime.train.choice import TrainingError
    from specc_runtime.train.recipe import Recipe
    from specc_runtime.train.session import evaluate_files, fit

_HOMES = {
    "artefact": ("ArtefactError", "assign_weights", "from_texts", "load", "save"),
    "batch": ("Bag", "Batch", "Schema", "labelled"),
    "data.examples": ("Examples",),
    "data.frames": ("encoded",),
    "data.stream": ("Stream",),
    "devices": ("DeviceError",),
    "encode.encoders": ("Encoders",),
    "encode.faults": ("DataError",),
    "encode.store": ("load_trained",),
    "layout": ("CANDIDATE", "Axis", "Layout", "Rows"),
    "model": ("Model", "Weights"),
    "train.choice": ("TrainingError",),
    "train.recipe": ("Recipe",),
    "train.session": ("evaluate_files", "fit"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CANDIDATE",
    "ArtefactError",
    "Axis",
    "Bag",
    "Batch",
    "DataError",
    "DeviceError",
    "Encoders",
    "Examples",
    "Layout",
    "Model",
    "Recipe",
    "Rows",
    "Schema",
    "Stream",
    "TrainingError",
    "Weights",
    "__version__",
    "assign_weights",
    "encoded",
    "evaluate_files",
    "fit",
    "from_texts",
    "labelled",
    "load",
    "load_trained",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
