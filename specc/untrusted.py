"""Models of others: their spec is compiled here, and of the code that they bring nothing is run.

Promises: of a folder only data are read: texts of specs, which go through the whole compiler, weights
(safetensors), encoders (JSON and Arrow). Nothing is unpickled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from specc.driver import Compiled, SpecError, compiled, shown
from specc.report import Report

if TYPE_CHECKING:
    from specc_runtime import Model
    from specc_runtime.devices import Wanted


def load(directory: str | Path, devices: Wanted = None) -> Model:
    """The trained model of a directory, as `specc_runtime.load` gives it, with its code made from its spec.

    Raises ArtefactError, DeviceError, and SpecError where the spec has faults.
    """
    from specc_runtime import Model
    from specc_runtime import load as load_model

    Model.shows = shown
    return load_model(directory, devices, compiler=texts_of)


def texts_of(specs: Mapping[str, str]) -> Mapping[str, str]:
    """The texts of an artefact, from `spec.arec` and the files that it uses. Raises SpecError."""
    return compiled_from(specs).texts


def compiled_from(specs: Mapping[str, str]) -> Compiled:
    """What `spec.arec` and the files that it uses compile to. Raises SpecError."""
    report = Report()
    with tempfile.TemporaryDirectory(prefix="arec-") as folder:
        for name, text in specs.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(text, encoding="utf-8")
        found = compiled(Path(folder) / "spec.arec", "default", None, {}, report)
    if found is None:
        raise SpecError(report)
    return found
