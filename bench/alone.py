"""Exported programs where their engine is all that is installed: no specc, no runtime of its models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from specc.export.export import Export
from specc.export.verify import batches, furthest
from specc_runtime import Model

LOADING = {
    "pt2": "program = torch.export.load(path).module()",
    "aoti": "program = torch._inductor.aoti_load_package(path)",
}
TORCH = """
import sys
sys.modules.update({{"specc": None, "specc_runtime": None}})
import numpy, torch
path, given, found = sys.argv[1:]
{load}
with torch.no_grad(), numpy.load(given) as file:
    sizes = {{}}
    for key in file:
        sizes.setdefault(key.split()[0], []).append(torch.from_numpy(file[key]))
    results = {{
        f"{{size}} {{place}}": value.numpy()
        for size, tensors in sizes.items()
        for place, value in enumerate(program(*tensors))
    }}
    numpy.savez(found, **results)
"""
ONNX = """
import sys
sys.modules.update({"specc": None, "specc_runtime": None, "torch": None})
import numpy, onnxruntime
path, given, found = sys.argv[1:]
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
with numpy.load(given) as file:
    sizes = {}
    for key in file:
        size, name = key.split()
        sizes.setdefault(size, {})
        if name in {entry.name for entry in session.get_inputs()}:
            sizes[size][name] = file[key]
    results = {
        f"{size} {place}": value
        for size, tensors in sizes.items()
        for place, value in enumerate(session.run(None, tensors))
    }
    numpy.savez(found, **results)
"""


def furthest_alone(model: Model, program: Export, kind: str, path: Path, folder: Path) -> float:
    """How far a written program is from its model where it runs in a process of its own: as `furthest`.

    folder: where what goes to that process and comes from it is put. Raises ExportError as `furthest` does,
    and RuntimeError with what the process said where it failed.
    """
    signature = program.signature
    tensors = [signature.tensors(batch) for batch in batches(model.manifest, signature)]
    found = _alone(program, kind, path, tensors, folder)
    return furthest(model, lambda _: next(found), signature, program.alone)


def _alone(
    program: Export, kind: str, path: Path, tensors: list[tuple[Tensor, ...]], folder: Path
) -> Iterator[list[Tensor]]:
    """The results for each of several inputs."""
    given, results = folder / "given.npz", folder / "results.npz"
    named = {
        f"{number} {entry.name}": tensor.numpy()
        for number, own in enumerate(tensors)
        for entry, tensor in zip(program.signature.inputs, own, strict=True)
    }
    np.savez(given, allow_pickle=False, **named)
    code = ONNX if kind == "onnx" else TORCH.format(load=LOADING[kind])
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", code, *map(str, (path, given, results))]
    done = subprocess.run(command, capture_output=True, text=True, env=clean, cwd=folder, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr)
    with np.load(results) as file:
        for number in range(len(tensors)):
            yield [torch.from_numpy(file[f"{number} {i}"]) for i, _ in enumerate(program.signature.outputs)]
