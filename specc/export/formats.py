"""An exported program as a file of each format."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from specc.export import ExportError
from specc_runtime.portable.inputs import Signature

OPSET = 20


def write_pt2(program: ExportedProgram, signature: Signature, path: Path) -> None:
    """A program that `torch.export.load` reads."""
    # By file object: torch warns of other suffixes than its own.
    with _Lenient(path, "w") as file:
        torch.export.save(program, file)
    if file.fault is not None:
        raise file.fault


class _Lenient(io.FileIO):
    """A file that keeps its first fault and takes what follows: where a write raises, torch aborts."""

    fault: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        while self.fault is None and rest:
            try:
                rest = rest[super().write(rest) :]
            except OSError as fault:
                self.fault = fault
        return len(data)


def write_aoti(program: ExportedProgram, signature: Signature, path: Path) -> None:
    """Machine code for this kind of processor, as AOTInductor packs it; needs a C++ compiler."""
    package = path.with_name(path.name + ".pt2")
    with torch.no_grad():
        torch._inductor.aoti_compile_and_package(program, package_path=str(package))
    package.rename(path)


def write_onnx(program: ExportedProgram, signature: Signature, path: Path) -> None:
    """A model that ONNX Runtime runs."""
    found = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=[entry.name for entry in signature.inputs],
        output_names=[entry.name for entry in signature.outputs],
        verbose=False,
        optimize=True,
    )
    assert found is not None
    found.save(str(path))


WRITERS: Mapping[str, Callable[[ExportedProgram, Signature, Path], None]] = {
    "pt2": write_pt2,
    "aoti": write_aoti,
    "onnx": write_onnx,
}
_NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime")}


def require(format: str) -> None:
    """Raises ExportError where this machine lacks what a format needs."""
    lacking = [name for name in _NEEDED.get(format, ()) if find_spec(name) is None]
    if lacking:
        raise ExportError(
            f"the format {format} needs {', '.join(lacking)}, which is not installed: "
            "pip install 'arec[onnx]'"
        )
    if format == "aoti":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise ExportError(
                "the format aoti compiles C++, and there is no C++ compiler here: install g++"
            ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what torch's exporters tell of themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
