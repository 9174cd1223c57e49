"""Exported programs where their engine is all that is installed: no specc, no runtime of its models.

`bench.export_matrix` does the same with every shipped spec.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.alone import furthest_alone
from specc.export.export import program_of, written
from specc.export.verify import TOLERANCE, batches
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
SMALL = {"small": SPEC, "residual": RESIDUAL}
HAS_ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
LONG = bool(os.environ.get("AREC_LONG"))
# AOTInductor compiles for half a minute.
KINDS = ("pt2", "onnx", "aoti") if LONG else ("pt2", "onnx")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["request", "batch"])
@pytest.mark.parametrize("name", SMALL if LONG else ["small"])
def test_a_program_needs_its_engine_alone(name: str, form: str, kind: str, tmp_path: Path) -> None:
    if kind == "onnx" and not HAS_ONNX:
        pytest.skip("the extra onnx is not installed")
    model, found = untrained(SMALL[name])
    program = program_of(model, form, written=found.written)
    path = tmp_path / "program"
    written(model, program, kind, path)
    tried = [program.signature.tensors(batch) for batch in batches(model.manifest, program.signature)]
    assert {0, 1} < {len(tensor) for tensors in tried for tensor in tensors}
    assert furthest_alone(model, program, kind, path, tmp_path) <= TOLERANCE
