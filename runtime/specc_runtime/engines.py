"""Exported models (`specc export`) in this process, without specc: one face for every format.

    model = load_exported("din.onnx")
    scores = model(batch)  # by name, as the model that was exported gives them

Promises: what is loaded is the file that was verified when it was written, by its hash. Leaves encoding to
`specc_runtime.encode`, whose state lies beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specc_runtime.batch import Batch
from specc_runtime.portable.inputs import Signature
from specc_runtime.record import ArtefactError, digest

ABOUT = ".about"  # what the folder beside an exported file ends in
EXPORT = "export.json"
WEIGHTS = "weights"  # of an ONNX program that is too large for one file, in that folder
NATIVE = "native"  # the model's own code
SUFFIXES = {"pt2": ".pt2", "aoti": ".aoti.pt2", "onnx": ".onnx"}  # of files beside a model's folder
FORMAT = 1
Run = Callable[[Sequence[Tensor]], list[Tensor]]


@dataclass(frozen=True, eq=False)
class Exported:
    """An exported model. manifest: that of the model it was made from. version: the hash of the weights that
    this had, where they were saved."""

    path: Path
    format: str
    signature: Signature
    manifest: Mapping[str, Any]
    run: Run
    version: str | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """By name each result, of a batch of requests with candidates; of one request, if the form is that.

        Raises ValueError for a batch of more.
        """
        return self.signature.results(self.run(self.signature.tensors(batch)))


def about(path: str | Path) -> Path:
    """The folder beside an exported file: export.json, manifest.json and the encoders."""
    path = Path(path)
    return path.with_name(path.name + ABOUT)


def beside(model: str | Path, format: str) -> Path:
    """Where `specc export` puts a model of a folder if it is not told where."""
    folder = Path(model)
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return folder.with_name(folder.name + SUFFIXES[format])


def exported_by(model: str | Path, engine: str) -> Path | None:
    """The exported file that an engine runs of a folder's model; None for its own code.

    Raises ArtefactError where it is not there.
    """
    if engine == NATIVE:
        return None
    path = beside(model, engine)
    if not path.is_file():
        raise ArtefactError(
            f"{path} is not there, which the engine {engine} runs: `specc export {model} --format {engine}` "
            "writes it; --exported FILE names another file"
        )
    return path


def load_exported(path: str | Path, threads: int | None = None) -> Exported:
    """The exported model of a file that `specc export` wrote.

    threads: how many ONNX Runtime uses for one run; the other formats go by torch.set_num_threads.
    Raises ArtefactError where it is no such file, is not the one that was written, or the engine is not
    installed.
    """
    path = Path(path)
    try:
        entry = json.loads((about(path) / EXPORT).read_text(encoding="utf-8"))
        manifest = json.loads((about(path) / "manifest.json").read_text(encoding="utf-8"))
        number, kind, known = entry["version"], entry["format"], entry["sha256"]
        weights = entry.get("weights")
        made_of = entry.get("model")
        if number == FORMAT:
            signature = Signature.from_json(entry["signature"])
    except OSError as error:
        raise ArtefactError(
            f"{path} was not written by `specc export`: {error.filename} cannot be read"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{about(path) / EXPORT} is damaged: export the model again") from error
    if number != FORMAT:
        raise ArtefactError(f"{path} was written by a newer version of arec: upgrade arec-runtime")
    if not path.is_file() or digest(path) != known:
        raise ArtefactError(f"{path} is not the file that was exported: export the model again")
    if weights is not None:
        _require_weights(path, weights)
    try:
        run = engine(kind, path, threads, signature)
    except ArtefactError:
        raise
    except Exception as error:  # engines raise many kinds
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArtefactError(f"{path} cannot be loaded here ({why}): export the model again") from error
    return Exported(path, kind, signature, manifest, run, made_of)


def _require_weights(path: Path, known: Mapping[str, str]) -> None:
    """Raises ArtefactError where the weights beside a file are not those that were written with it."""
    folder, _, name = str(known["file"]).partition("/")
    if about(path).name != folder:
        raise ArtefactError(
            f"{path} has its weights in {folder}, and was renamed: call it {folder.removesuffix(ABOUT)} again"
        )
    if not (about(path) / name).is_file() or digest(about(path) / name) != known["sha256"]:
        raise ArtefactError(f"{about(path) / name} is not the file that was exported: export the model again")


def engine(kind: str, path: Path, threads: int | None = None, signature: Signature | None = None) -> Run:
    """What runs a file of a format: from its inputs in order to its results in order."""
    match kind:
        case "pt2":
            with path.open("rb") as file:
                program = torch.export.load(file).module()
            return lambda tensors: list(_unrecorded(program, tensors))
        case "aoti":
            loaded = torch._inductor.aoti_load_package(str(path))
            # Its code reads memory as that of the tensors it was compiled with, and checks no strides.
            return lambda tensors: list(_unrecorded(loaded, [x.contiguous() for x in tensors]))
        case "onnx":
            return _onnx(path, threads, signature)
    raise ArtefactError(f"{path} is of a format that this version does not know: {kind}")


def _unrecorded(program: Callable[..., Sequence[Tensor]], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    with torch.no_grad():
        return program(*tensors)


def _onnx(path: Path, threads: int | None, signature: Signature | None) -> Run:
    if find_spec("onnxruntime") is None:
        raise ArtefactError(f"{path} needs onnxruntime: pip install 'arec-runtime[onnx]'")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    taken = {entry.name for entry in session.get_inputs()}
    names = [entry.name for entry in signature.inputs] if signature is not None else [*taken]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        given = zip(names, tensors, strict=True)
        found = session.run(None, {name: x.numpy() for name, x in given if name in taken})
        return [torch.from_numpy(x) for x in found]

    return run
