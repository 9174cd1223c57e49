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

from specc import resources
from specc.driver import load
from specc.export.export import Export, program_of, written
from specc.export.verify import batches
from specc.testing.subject import Subject
from specc_runtime import Model
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
# Of what is added to a history a window is read, whose values are a concatenation.
RESIDUAL = """\
model residual
space ad from candidate { item: ids(31, 8) }
space history[t <= 8] from request { item: ids(31, 8) }
encoder unit(x[t, d]) -> [t, d] {
  return x + (x |> conv(size = 2) |> relu)
}
wanted = history.item |> unit |> unit |> linear(8)
predict click: binary = dot(last(wanted, over t), ad.item)
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
SMALL = {"small": SPEC, "residual": RESIDUAL}
HAS_ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
LONG = bool(os.environ.get("AREC_LONG"))
# AOTInductor compiles for half a minute.
KINDS = ("pt2", "onnx", "aoti") if LONG else ("pt2", "onnx")
# Loops, nested axes, several results, convolutions, the best of a history, tables that are shared.
SHIPPED = ("dien", "dsin", "atrank", "two_tower", "caser", "sim", "mind", "star", "gru4rec", "can")


def subject_of(name: str, form: str) -> tuple[Model, Export]:
    """A small model or a shipped one, with weights that hide nothing, and its program."""
    if name in SMALL:
        model, found = untrained(SMALL[name])
        return model, program_of(model, form, written=found.written)
    folder = resources.specs()
    path = folder / f"{name}.arec"
    graph, _ = load(path if path.exists() else folder / "more" / path.name)
    assert graph is not None
    subject = Subject.of(graph, 0)
    model = subject.model.float().eval()
    return model, program_of(model, form, written=subject.graph)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["request", "batch"])
@pytest.mark.parametrize("name", ["small", *(("residual", *SHIPPED) if LONG else ())])
def test_a_program_needs_its_engine_alone(name: str, form: str, kind: str, tmp_path: Path) -> None:
    if kind == "onnx" and not HAS_ONNX:
        pytest.skip("the extra onnx is not installed")
    model, program = subject_of(name, form)
    path, given, results = (tmp_path / name for name in ("program", "given.npz", "results.npz"))
    written(model, program, kind, path)
    signature = program.signature
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
                wanted = model(batch)
            for place, output in enumerate(signature.outputs):
                value = torch.from_numpy(file[f"{number} {place}"])
                torch.testing.assert_close(value, wanted[output.name], atol=1e-5, rtol=1e-5)
