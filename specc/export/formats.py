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
from specc.export.onnx_ops import translations
from specc_runtime.engines import WEIGHTS, about
from specc_runtime.portable.inputs import Signature

OPSET = 20
# A value that is part of a concatenation lies in its memory. Where its last use overwrites it in place,
# Inductor (torch 2.13) takes that memory for free, and gives it to others while the new value is read.
INDUCTOR = {"inplace_buffers": False}
LARGE = 3 << 29  # bytes of weights beyond which ONNX has them in a file of their own: one holds 2 GB


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
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(package), inductor_configs=INDUCTOR
        )
    package.rename(path)


def write_onnx(program: ExportedProgram, signature: Signature, path: Path) -> None:
    """A model that ONNX Runtime runs. Large weights are in a file of their own, in the folder beside it."""
    found = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=[entry.name for entry in signature.inputs],
        output_names=[entry.name for entry in signature.outputs],
        custom_translation_table=translations(),
        verbose=False,
        optimize=False,  # whose rules take 1e-9 for 0, so that of x + 1e-9, below a division, x is left
    )
    assert found is not None
    _simplify(found.model)
    weights: Any = found.model.graph.initializers
    if sum(weight.const_value.nbytes for weight in weights.values()) <= LARGE:
        found.save(str(path))
        return
    from onnxscript import ir

    about(path).mkdir(exist_ok=True)
    ir.save(found.model, str(path), external_data=f"{about(path).name}/{WEIGHTS}")


def _simplify(model: Any) -> None:
    """Fold constants, and remove what changes shapes in vain, by rules that compare no numbers."""
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules import common

    rules = (
        common.cast_cast_rule,
        common.no_op_cast_rule,
        common.no_op_expand_rule,
        common.reshape_reshape_rule,
        common.no_op_transpose_rule,
        common.transpose_transpose_rule,  # of weights in the body of a loop
        common.unsqueeze_unsqueeze_rule,
        common.squeeze_reshape_1d_rule,
    )
    optimizer.inline(model)
    for _ in range(2):  # rules show more constants
        optimizer.fold_constants(model, onnx_shape_inference=True)
        rewriter.rewrite(model, rules)
        optimizer.remove_unused_nodes(model)


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
