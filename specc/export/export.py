"""A trained model exported: traced, written, held against the model, and only then put where it belongs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from specc.export import ExportError, told
from specc.export.formats import WRITERS, quiet, require
from specc.export.graph import exported
from specc.export.signature import signature_of
from specc.export.trace import portable, traced, views
from specc.export.verify import furthest
from specc.ir.graph import Graph
from specc.untrusted import compiled_from
from specc_runtime import Model
from specc_runtime.encode.encoders import Encoders
from specc_runtime.encode.store import write_encoders
from specc_runtime.engines import EXPORT, FORMAT, WEIGHTS, about, engine
from specc_runtime.files import FileError, replace_file, replace_folder
from specc_runtime.portable.inputs import Signature
from specc_runtime.portable.model import Portable
from specc_runtime.record import digest

_BESIDE = (EXPORT, WEIGHTS, "manifest.json", "encoders.json", "vocabularies")


@dataclass(frozen=True, eq=False)
class Export:
    """A model as a program. alone: the one result that it gives by itself, if it does."""

    portable: Portable
    program: ExportedProgram
    signature: Signature
    alone: str | None


def program_of(model: Model, form: str, only: Iterable[str] = (), written: Graph | None = None) -> Export:
    """Trace a model. written: its graph as it was written; without it the model's own spec is compiled.

    Raises ExportError, and SpecError where the spec has faults.
    """
    if written is None:
        specs = {name: text for name, text in model.files.items() if name.endswith(".arec")}
        written = compiled_from(specs).written
    graph, alone = exported(written, only)
    signature = signature_of(graph, form, alone, str(model.dtype).removeprefix("torch."))
    weights = model.state_dict()
    try:
        module = portable(graph, signature, alone, weights)
    except KeyError as error:
        raise ExportError(f"the model has no weight {error}: compile its spec again, and train it") from None
    try:
        with quiet():
            program = traced(module)
    except Exception as error:  # torch.export raises many kinds
        raise ExportError(f"torch.export cannot trace {graph.name}: {told(error)}") from error
    return Export(module, program, signature, alone)


def export(
    model: Model,
    path: str | Path,
    format: str = "pt2",
    form: str = "batch",
    only: Iterable[str] = (),
    encoders: Encoders | None = None,
) -> float:
    """Write a model as a program to a file, and beside it what is known of it, whole or not at all.

    format: "pt2", "aoti" or "onnx". form: "batch", of requests with candidates each, or "request", one. only:
    the results that are wanted. Returns the largest difference from the model at the sizes that were tried.
    Raises ExportError, SpecError, and FileError where it cannot be written.
    """
    require(format)
    path = Path(path)
    _require_own(path)
    # Both at first, so that what cannot be written is told before anything is traced.
    with replace_folder(about(path), lambda name: name in _BESIDE) as folder, replace_file(path) as fresh:
        model = model.eval()
        found = program_of(model, form, only)
        apart = written(model, found, format, fresh)
        entry = {
            "version": FORMAT,
            "format": format,
            "sha256": digest(fresh),
            "torch": torch.__version__,
            "model": model.saved_as,
            "difference": apart,
            "signature": found.signature.as_json(),
        }
        if about(fresh).is_dir():
            os.replace(about(fresh) / WEIGHTS, folder / WEIGHTS)
            entry["weights"] = {
                "file": f"{about(fresh).name}/{WEIGHTS}",
                "sha256": digest(folder / WEIGHTS),
            }
        _write(folder / EXPORT, entry)
        _write(folder / "manifest.json", model.manifest)
        if encoders is not None:
            write_encoders(encoders, folder)
    return apart


def written(model: Model, found: Export, format: str, path: Path, threads: int | None = None) -> float:
    """Write a program as a format, load it, and hold it against its model: the largest difference.

    ONNX's exporter leaves symbols in a program that AOTInductor takes for sizes which nothing gives: trace a
    model again for another format. threads: as for `engine`. Raises ExportError and OSError.
    """
    try:
        with quiet(), views():
            WRITERS[format](found.program, found.signature, path)
    except OSError:
        raise
    except Exception as error:  # exporters raise many kinds
        name = model.manifest["name"]
        raise ExportError(f"{name} cannot be written as {format}: {told(error)}") from error
    with quiet():
        run = engine(format, path, threads, found.signature)
    return furthest(model, run, found.signature, found.alone)


def _require_own(path: Path) -> None:
    """Raises FileError for a path at which there is something that `export` did not write."""
    if path.exists() and not path.is_file():
        raise FileError(f"{path} cannot be written: it is not a file")
    if path.exists() and not (about(path) / EXPORT).is_file():
        raise FileError(
            f"{path} cannot be replaced: it is not known to be of `specc export`, which would have written "
            f"{about(path)}; move it away, or name another file"
        )


def _write(path: Path, entry: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
