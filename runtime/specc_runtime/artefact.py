"""A compiled model as a directory: model.py, manifest.json, spec.arec, weights.safetensors, and what else
belongs to them; `artefact.json` records their hashes.

Promises: nothing is unpickled. What of a directory was changed, lost or mixed up with another's does not
load. A model has the weights that were saved, and initial ones only where that is asked for. Weights that
are missing, unknown or of another shape are all named in one error, and nothing is assigned then.
Leaves to others: the encoders' state beside the weights (encode), how files are replaced (record).
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from specc_runtime import native
from specc_runtime.devices import Wanted, keep_freed
from specc_runtime.files import FileError
from specc_runtime.generated import run
from specc_runtime.model import Model
from specc_runtime.packages import missing
from specc_runtime.record import (
    KERNELS,
    LIBRARIES,
    MANIFEST,
    MODEL,
    RECORD,
    SPEC,
    WEIGHTS,
    Held,
    compiled_by,
    consistent,
    damaged,
    digest,
    held,
    is_text,
    models_in,
    replace_recorded,
    settle,
)
from specc_runtime.record import ArtefactError as ArtefactError
from specc_runtime.version import INTERFACE, OLDEST_INTERFACE, __version__
from specc_runtime.weights import read_weights, write_pieces

FORMATS = (1, 2)
_log = logging.getLogger("specc_runtime")

Compiler = Callable[[Mapping[str, str]], Mapping[str, str]]
"""From the texts of a spec and of the files that it uses, by name, to those of an artefact."""


def save(model: Model, directory: str | Path, beside: Iterable[Callable[[Path], None]] = ()) -> None:
    """Write a model's texts and weights to a directory, which is made if need be, all at once.

    beside: each writes further files that belong to them into the folder it is given, such as
        `lambda folder: write_encoders(encoders, folder)`. Those of an earlier save stay if the model is the
        one that was saved or loaded there; those of another model are removed.
    Raises FileError where the directory cannot be written, ArtefactError where tables were divided between
    processes, and the model has none of their rows.
    """
    directory = Path(directory)
    if model.source is None:
        held_here = model.state_dict().keys()
        gone = [w["path"] for w in model.manifest.get("weights", ()) if w["path"] not in held_here]
        if gone:
            raise ArtefactError(
                f"the model has no rows of {', '.join(gone)}, which were divided between processes in its "
                "training: load what that has saved"
            )
    settle(directory)
    before = held(directory)
    saved = directory / WEIGHTS if before.has(WEIGHTS) else None
    keep: list[str] = []
    if saved is None or (saved.is_file() and digest(saved) == model.saved_as):
        keep = [name for name in before.names() if name != WEIGHTS and not is_text(name)]
    before.check(keep)
    with replace_recorded(directory, trained=True, keep=keep) as fresh:
        write_model(model, fresh)
        for write in beside:
            write(fresh)
        model.saved_as = digest(fresh / WEIGHTS)


def write_model(model: Model, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write a model's texts and weights, or other weights, into a folder that is being filled."""
    for name, text in model.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if weights is None and model.source is not None:
        elsewhere = {p: (s, model.source.pieces(p)) for p, s in model.source.shapes.items()}
        write_pieces(folder / WEIGHTS, model.state_dict(), elsewhere)
    else:
        write_tensors(model.state_dict() if weights is None else weights, folder / WEIGHTS)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, **about: str) -> None:
    """A safetensors file. about: texts that go along."""
    arrays = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    path.touch()
    mode = path.stat().st_mode  # as the user's other files have it: safetensors lets nobody else read
    try:
        save_file(arrays, path, metadata={"format": "pt", **about})
    except SafetensorError as error:
        raise FileError(f"{path} cannot be written: {error}") from None
    path.chmod(mode)


def load(
    directory: str | Path,
    devices: Wanted = None,
    *,
    untrained: bool = False,
    compiler: Compiler | None = None,
) -> Model:
    """The model of a directory, with its trained weights.

    devices: targets by the names of the spec's devices, {"dense": "cuda:1"}, or one for all; without
        it the spec's own, and the CPU for a model without places.
    untrained: give a model that is compiled only its initial weights.
    compiler: makes the texts of the model anew from its spec. With it no Python of the directory is run;
        without it `model.py` is, as it was recorded. `specc.load` gives specc's own.
    Raises ArtefactError if the directory is not a compiled model, or not a trained one, was written by a
    newer version, its files are not those that were written together, or the weights do not fit; DeviceError
    if this machine lacks a device.
    """
    return consistent(directory, lambda files: loaded(files, devices, untrained=untrained, compiler=compiler))


def loaded(
    files: Held, devices: Wanted = None, *, untrained: bool = False, compiler: Compiler | None = None
) -> Model:
    """The model that a directory holds while it is read. As `load`; raises what it does."""
    model = _untrained(files, compiler) if untrained and not is_trained(files) else _trained(files, compiler)
    model.directory = files.folder
    return model.place(devices)


def texts_of(files: Held) -> dict[str, str]:
    """`model.py`, `manifest.json` and the specs of a directory, whose files are all as recorded. Raises
    ArtefactError."""
    return _sound(files, set())


def _texts(files: Held) -> dict[str, str]:
    missing = [name for name in (MODEL, MANIFEST) if not files.has(name)]
    if missing:
        what = f"it has no {' and no '.join(missing)}" if files.folder.exists() else "there is no such folder"
        raise ArtefactError(
            f"{files.folder} is not a compiled model: {what}"
            + (models_in(files.folder) or "; name a folder that `specc train` or `specc compile` wrote")
        )
    texts = {name: files.text(name) for name in files.names() if is_text(name)}
    try:
        manifest = json.loads(texts[MANIFEST])
    except ValueError as error:
        raise ArtefactError(f"{files.folder / MANIFEST} is not JSON: {error}") from None
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if number not in FORMATS:
        newer = isinstance(number, int) and number > FORMATS[-1]
        raise ArtefactError(
            f"{files.folder / MANIFEST} is not of format {FORMATS[-1]}: "
            + (f"upgrade arec-runtime, which is {__version__}" if newer else "compile the spec again")
        )
    if number > 1 and files.record is None:
        raise damaged(files.folder, [f"{RECORD} is missing"])
    return texts


def is_trained(files: Held) -> bool:
    return files.has(WEIGHTS) if files.record is None else files.record.trained


def _trained(files: Held, compiler: Compiler | None) -> Model:
    """The model with its weights, which are read and hashed while the rest is made."""
    folder = files.folder
    with ThreadPoolExecutor(1) as reading:
        arrays = reading.submit(read_weights, files.place(WEIGHTS)) if is_trained(files) else None
        texts = _sound(files, {WEIGHTS})
        if arrays is None:
            if files.record is None and files.has("encoders.json"):
                raise damaged(folder, [f"{WEIGHTS} is missing"])
            raise ArtefactError(
                f"{folder} is compiled and not trained: `specc train {folder} DATA` trains it; "
                "load(…, untrained=True) gives it initial weights"
            )
        if files.record is None:
            warnings.warn(
                f"{folder} was written by an earlier version of arec, which recorded no hashes: whether its "
                "files are whole and belong together is not known; saving or training it anew records them",
                stacklevel=5,
            )
        # Nothing is initialised that is about to be replaced.
        with torch.device("meta"):
            model = _made(files, texts, compiler)
        try:
            weights, found = arrays.result()
        except (ValueError, OSError) as error:
            files.check()
            raise ArtefactError(f"{folder / WEIGHTS} cannot be read: {error}") from None
    if files.record is not None and found != files.record.files.get(WEIGHTS):
        raise damaged(folder, [f"{WEIGHTS} is not the file that was saved"])
    files.whole.add(WEIGHTS)
    take_weights(model, weights)
    model.saved_as = found
    return model


def _untrained(files: Held, compiler: Compiler | None) -> Model:
    texts = _sound(files, set())
    if files.record is None and files.has("encoders.json"):
        raise damaged(files.folder, [f"{WEIGHTS} is missing"])
    return _made(files, texts, compiler)


def _sound(files: Held, later: set[str]) -> dict[str, str]:
    """The texts of a directory whose files are as recorded; some are compared later, unless there are other
    faults, which are told together with theirs. Raises ArtefactError."""
    try:
        texts = _texts(files)
        if files.record is not None:
            files.check(name for name in files.record.files if name not in later)
    except ArtefactError:
        if files.record is not None:
            files.check()
        raise
    return texts


def _made(files: Held, texts: Mapping[str, str], compiler: Compiler | None) -> Model:
    """The model of a directory's texts, with initial weights."""
    folder = files.folder
    _require_packages(texts[MANIFEST], str(folder / MODEL))
    if compiler is not None:
        texts = {**compiler({name: text for name, text in texts.items() if name.endswith(".arec")})}
        _log.info("running the code that was compiled now from %s", folder / SPEC)
    else:
        _log.info("running %s", folder / MODEL)
        brought = [name for name in files.names() if name.startswith(f"{LIBRARIES}/")]
        native.offer({PurePath(name).stem: files.path(name) for name in brought})
        _tell_of_age(texts[MANIFEST], folder)
    return from_texts(texts, str(folder / MODEL))


def _tell_of_age(manifest: str, folder: Path) -> None:
    """Warn of a model that was compiled for an older interface, as it is slower than it could be."""
    compiled = compiled_by(manifest)
    number = compiled.interface
    if OLDEST_INTERFACE <= number < INTERFACE:
        warnings.warn(
            f"{folder} was compiled by arec {compiled.compiler} for runtime interface {number}: it "
            f"gives what it gave, more slowly than what is compiled for interface {INTERFACE}. {_AGAIN}",
            stacklevel=5,
        )


# How a folder is compiled again; FOLDER is for the reader to fill in.
_AGAIN = (
    "Compiled again it keeps its weights:\n"
    "  python -c \"import specc, specc_runtime as r; r.save(specc.load('FOLDER'), 'FOLDER')\""
)


def from_texts(files: Mapping[str, str], origin: str = "model") -> Model:
    """Return the untrained model of an artefact's texts (`model.py`, `manifest.json` and what belongs to
    them).

    It is on the CPU until `place` puts it elsewhere. origin: what tracebacks call the source. Raises
    ArtefactError where the texts were compiled for a runtime that is too new or too old for this one.
    """
    _require_packages(files[MANIFEST], origin)
    compiled = compiled_by(files[MANIFEST])
    number, by = compiled.interface, f"{origin} was compiled by arec {compiled.compiler}"
    if number > INTERFACE:
        raise ArtefactError(
            f"{by} for runtime interface {number}; this is arec-runtime {__version__}, which has interface "
            f"{INTERFACE}: upgrade arec-runtime, or compile the spec with arec {__version__}"
        )
    if number < OLDEST_INTERFACE:
        raise ArtefactError(
            f"{by} for runtime interface {number}, which arec-runtime {__version__} no longer has. {_AGAIN}"
        )
    manifest = json.loads(files[MANIFEST])
    if KERNELS in files:
        native.enter(files[KERNELS])
    model = model_in(run(files[MODEL], f"arec_{manifest['name']}", origin))
    model.manifest = manifest
    model.files = dict(files) if isinstance(files, dict) else files
    return model


def _require_packages(manifest: str, origin: str) -> None:
    """Raises ArtefactError unless the packages whose operations a model calls are installed."""
    if lacking := missing(json.loads(manifest).get("packages", ())):
        raise ArtefactError(
            f"{origin} needs other packages: {'; '.join(lacking)}. Install what is missing "
            "with pip, if you know where it comes from"
        )


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
    _check_fit(weights, arrays)
    with torch.no_grad():
        for path, weight in weights.items():
            weight.copy_(torch.as_tensor(arrays[path]))


def take_weights(model: Model, arrays: Mapping[str, Tensor]) -> None:
    """Have tensors on the CPU, in memory that is the model's from now on, be the weights of a model without
    values (on the device "meta"). Converts, and raises, as `assign_weights`."""
    weights = model.state_dict()
    _check_fit(weights, arrays)
    own = {path: arrays[path].to(weight.dtype) for path, weight in weights.items()}
    model.load_state_dict(own, assign=True)


def _check_fit(weights: Mapping[str, Tensor], arrays: Mapping[str, Any]) -> None:
    """Raises ArtefactError unless there is an array of its shape for each weight, and no other."""
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


def _shape(values: Tensor | Any) -> str:
    return "[" + ", ".join(str(n) for n in values.shape) + "]"
