"""Exported programs where their engine is all that is installed: no specc, no runtime of its models."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from specc.export.export import export
from specc.export.verify import batches
from specc_runtime.engines import load_exported
from tests.export.test_portable import untrained

SPEC = """\
model small
space user from request { id: ids(50, 4) }
space ad from candidate { item: ids(70, 4) }
space offer from candidate { price: number(none) }
space history[t <= 8] from request { item: ids(70, 4) }
seen = sum(softmax(dot(history, ad), over t) * history, over t)
predict click: binary = concat(user, ad, offer, seen) |> linear(1)
"""
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
    numpy.savez(found, **{{size: program(*tensors)[0].numpy() for size, tensors in sizes.items()}})
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
        sizes.setdefault(size, {})[name] = file[key]
    numpy.savez(found, **{size: session.run(None, taken)[0] for size, taken in sizes.items()})
"""
HAS_ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
# AOTInductor compiles for half a minute.
KINDS = ("pt2", "onnx", "aoti") if os.environ.get("AREC_LONG") else ("pt2", "onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_needs_its_engine_alone(kind: str, tmp_path: Path) -> None:
    if kind == "onnx" and not HAS_ONNX:
        pytest.skip("the extra onnx is not installed")
    model, _ = untrained(SPEC)
    path, given, results = (tmp_path / name for name in ("program", "given.npz", "results.npz"))
    export(model, path, kind, form="request")
    signature = load_exported(path).signature
    tried = [*batches(model.manifest, signature)]
    tensors = {
        f"{number} {entry.name}": tensor.numpy()
        for number, batch in enumerate(tried)
        for entry, tensor in zip(signature.inputs, signature.tensors(batch), strict=True)
    }
    assert {0, 1} < {len(x) for x in tensors.values()}
    np.savez(given, allow_pickle=False, **tensors)
    code = ONNX if kind == "onnx" else TORCH.format(load=LOADING[kind])
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", code, *map(str, (path, given, results))]
    done = subprocess.run(command, capture_output=True, text=True, env=clean, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(results) as file:
        for number, batch in enumerate(tried):
            with torch.no_grad():
                wanted = model(batch)["click"]
            torch.testing.assert_close(torch.from_numpy(file[str(number)]), wanted, atol=1e-5, rtol=1e-5)
