"""Functions of numbers in engines that have their own of each: what the model gives, for every number."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from specc.export.export import program_of, written
from specc.export.formats import WRITERS, quiet
from specc.ops import OPS
from specc.ops.definition import Pointwise
from specc_runtime import Batch, Schema
from specc_runtime.engines import engine
from tests.export.test_alone import HAS_ONNX, KINDS
from tests.export.test_portable import untrained

BY_SIGN = {
    "add": "a + b", "sub": "a - b", "mul": "a * b", "div": "a / b", "pow": "a ^ b", "mod": "a % b",
    "neg": "-a",
}  # fmt: skip
OPTIONS = {"leaky_relu": "slope = 0.1", "clamp": "low = -1, high = 2"}
# No function of two numbers, or one that only a condition may ask for.
APART = {
    "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "same_key", "log_frequency", "stop_gradient",
}  # fmt: skip
# Of what is far off where a number near 0 is taken for 0, or one near 1 for 1.
NEAR = {
    "above": "log(zero + 1e-9)",
    "below": "1 / (zero - 1e-8)",
    "scaled": "a * 1.000009",
    "shared": "a / 1.000009",
    "faint": "log(softplus(-30 - abs(a)))",
}
SOME = (0, 0.5, 1, 1.5, 2.5, 3, 1e-8, 1e-30, 17, 30, 88, 100, 1e4, 1e20)


def functions() -> dict[str, str]:
    """By name an expression of `a` and `b` for every operation of one or two numbers."""
    found = {}
    for name, definition in OPS.items():
        if isinstance(definition.lowering, Pointwise) and name not in APART:
            given = ", ".join(
                [*"ab"[: len(definition.inputs)], *([OPTIONS[name]] if name in OPTIONS else [])]
            )
            found[name] = BY_SIGN.get(name, f"{name}({given})")
    return found


EQUAL = """\
model equal
space ad from candidate { item: ids(31, 2) }
parts = ad |> fan(4, linear(3), as part)
best  = top(parts, 2, by floor(sum(parts)), over part as place)
predict click: binary = concat(first(best, over place), last(best, over place)) |> linear(1)
"""


def test_of_equal_scores_onnx_chooses_the_earlier(tmp_path: Path) -> None:
    if not HAS_ONNX:
        pytest.skip("the extra onnx is not installed")
    model, found = untrained(EQUAL)
    assert written(model, program_of(model, "batch", written=found.written), "onnx", tmp_path / "o") <= 1e-5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pt2"])
def test_an_engine_computes_what_the_model_does_of_every_number(kind: str, tmp_path: Path) -> None:
    if kind == "onnx" and not HAS_ONNX:
        pytest.skip("the extra onnx is not installed")
    outputs = "".join(f"output of_{name} = {text}\n" for name, text in (functions() | NEAR).items())
    model, found = untrained(
        "model numbers\nspace offer from candidate { a: number(none), b: number(none) }\n"
        f"a = offer.a\nb = offer.b\nzero = relu(0 - a * a)\n{outputs}"
        "predict click: binary = offer |> linear(1)\n"
    )
    program = program_of(model, "batch", written=found.written)
    with quiet():
        WRITERS[kind](program.program, program.signature, tmp_path / kind)
    run = engine(kind, tmp_path / kind, 1, program.signature)
    both = [sign * x for x in SOME for sign in (1.0, -1.0)]
    a, b = torch.tensor([*product(both, both)]).T.unsqueeze(-1)
    batch = Batch(Schema.of(model.manifest), 1, {"offer.a": a, "offer.b": b}, {}, {}, torch.tensor([len(a)]))
    with torch.no_grad():
        wanted = model(batch)
    for name, value in program.signature.results(run(program.signature.tensors(batch))).items():
        torch.testing.assert_close(
            value,
            wanted[name],
            rtol=1e-5,
            atol=1e-6,
            equal_nan=True,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_aotinductor_gets_contiguous_tensors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of others it reads the wrong memory."""
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda path: lambda *tensors: tensors)
    (found,) = engine("aoti", tmp_path)([torch.arange(6.0).reshape(3, 2)[:, :1]])
    assert found.is_contiguous()
    assert found.flatten().tolist() == [0, 2, 4]


def test_aotinductor_overwrites_no_value_in_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That it is wrong where it does, `residual` of test_alone shows, which takes a minute."""

    def compiled(program: object, *, package_path: str, inductor_configs: dict[str, object]) -> None:
        Path(package_path).write_text(str(inductor_configs["inplace_buffers"]))

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compiled)
    model, found = untrained("model one\nspace ad from candidate { item: ids(7, 4) }\n"
                             "predict click: binary = ad |> linear(1)\n")  # fmt: skip
    program = program_of(model, "batch", written=found.written)
    WRITERS["aoti"](program.program, program.signature, tmp_path / "aoti")
    assert (tmp_path / "aoti").read_text() == "False"
