"""What a compiled model needs to run: packed batches, layers, operations, saving and loading."""

from specc_runtime.artefact import ArtefactError, assign_weights, from_texts, load, save
from specc_runtime.batch import Bag, Batch, Schema
from specc_runtime.devices import DeviceError
from specc_runtime.layout import CANDIDATE, Axis, Layout, Rows
from specc_runtime.model import Model, Weights

__all__ = [
    "CANDIDATE",
    "ArtefactError",
    "Axis",
    "Bag",
    "Batch",
    "DeviceError",
    "Layout",
    "Model",
    "Rows",
    "Schema",
    "Weights",
    "assign_weights",
    "from_texts",
    "load",
    "save",
]
