"""The compiled derivative of a step, against autograd through the plain loop."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from specc.emit.c import function_text
from specc.emit.cell import key_of
from specc.emit.rows import function_lines
from specc.emit.steps import PRODUCT, rooms, steps_text
from specc.ir.graph import Node, Region
from specc.lower.cell import Cell as Lowered
from specc.lower.cell import cell_of
from specc.lower.native import Native
from specc.ops.products import Columns, Product
from specc.source import Source, Span
from specc.types.axis import Type
from specc_runtime import native as native_runtime
from specc_runtime.layout import Axis, Layout
from specc_runtime.ops.cell import recur
from specc_runtime.ops.cells import Cell
from specc_runtime.ops.recurrent import scan
from specc_runtime.ops.steps_in_c import StepsInC

SPAN = Span(Source("test.arec", ""), 0, 0)
T = Axis("h.t", bound=7)
WIDTH = 3


class Step:
    """A region, written a node at a time."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, op: str, *inputs: int, width: int = WIDTH, name: str | None = None, **attrs: Any) -> int:
        id = len(self.nodes)
        self.nodes.append(Node(id, op, inputs, Type((), width), SPAN, attrs, name=name))
        return id

    def product(self, x: int, width: int, name: str, bias: bool = False) -> int:
        block = ((Columns(1.0, 0, self.nodes[x].type.width),),)
        made = Product(f"{name}.weight", f"{name}.bias" if bias else None, width, block)
        return self.add("project", x, width=width, name=name, products=(made,))


def augru() -> tuple[Region, tuple[bool, ...], Callable[..., tuple[Tensor]]]:
    s = Step()
    given, fresh_in = s.add("capture", index=0, width=2 * WIDTH), s.add("capture", index=1)
    weight, gain = s.add("capture", index=2, width=1), s.add("capture", index=3)
    h = s.add("state", index=0, name="h")
    both = s.product(h, 2 * WIDTH, "gates", bias=True)
    gates = s.add("sigmoid", s.add("add", given, both, width=2 * WIDTH), width=2 * WIDTH)
    reset = s.add("slice", gates, start=0, stop=WIDTH, name="reset")
    open_ = s.add("slice", gates, start=WIDTH, stop=2 * WIDTH, name="open")
    update = s.add("mul", weight, open_, name="update")
    fresh = s.add(
        "tanh", s.add("add", s.product(s.add("mul", reset, h), WIDTH, "fresh_h"), fresh_in), name="fresh"
    )
    one = s.add("constant", value=1.0, width=1)
    kept = s.add("mul", s.add("sub", one, update), h)
    following = s.add("add", kept, s.add("mul", s.add("mul", update, fresh), gain))
    region = Region(tuple(s.nodes), (given, fresh_in, weight, gain), (h,), (None,), (following,))

    def plain(
        given: Tensor,
        fresh_in: Tensor,
        weight: Tensor,
        gain: Tensor,
        h: Tensor,
        w: Tensor,
        v: Tensor,
        b: Tensor,
    ) -> tuple[Tensor]:
        gates = torch.sigmoid(given + h @ w.t() + b)
        reset, update = gates[:, :WIDTH], weight * gates[:, WIDTH:]
        fresh = torch.tanh((reset * h) @ v.t() + fresh_in)
        return ((1 - update) * h + update * fresh * gain,)

    return region, (True, True, True, False), plain


def lowered(region: Region, varying: tuple[bool, ...]) -> Lowered:
    scan = Node(-1, "recurrence", (), Type((), WIDTH), SPAN, {}, region=region)
    return cell_of(scan, varying)


def cells(cell: Lowered, folder: Path) -> list[Cell]:
    """A cell in Python alone, with C between its products, and with all steps in C; few at a time, too."""
    module = loaded(cell, folder)
    plain = Cell(module.step, module.back, cell.sloped, cell.places, cell.biased)
    assert isinstance(cell.native, Native)
    whole = replace(plain, in_c=StepsInC(module.KEY, "cell", *rooms(cell.native), least=0))
    functions = native_runtime.functions(module.KEY, torch.float64)
    assert functions is not None
    step, back = partial(module.step_in_c, functions), partial(module.back_in_c, functions)
    by_step = replace(plain, step=step, back=back)
    return [plain, by_step, whole, replace(plain, at_once=2), replace(whole, at_once=2)]


def loaded(cell: Lowered, folder: Path) -> ModuleType:
    """The functions of a cell in both forms."""
    native = cell.native
    assert not isinstance(native, str), native
    runs = {run: f"run_{number}" for number, run in enumerate(native.runs)}
    calls = {run: f"c.{name}" for run, name in runs.items()}
    lines = ["import torch", "from torch.nn import functional as F", "from specc_runtime import ops"]
    step = "values, constants, matrices, biases, states, nexts"
    back = "values, constants, matrices, states, kept, d_next, d_values, d_products"
    for name, parameters, texts in (
        ("step", step, function_lines(cell.step, {})),
        ("back", back, function_lines(cell.back, {})),
        ("step_in_c", f"c, {step}", function_lines(native.step, calls, "c")),
        ("back_in_c", f"c, {back}", function_lines(native.back, calls, "c")),
    ):
        lines += ["", f"def {name}({parameters}):", *(f"    {x}" for x in texts)]
    texts = [PRODUCT, *(function_text(name, run) for run, name in runs.items())]
    text = "\n".join([*texts, steps_text("cell", cell, runs)])
    native_runtime.enter(text)
    lines += ["", f"KEY = {key_of(text)!r}"]
    path = folder / "generated.py"
    path.write_text("\n".join(lines) + "\n")
    spec = importlib.util.spec_from_file_location("generated_cell", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the first step's states are 0 is asked however few they are."""
    monkeypatch.setattr("specc_runtime.ops.cell._WORTH_ASKING", 0)


@pytest.mark.parametrize("trained", [True, False], ids=["start", "zeros"])
def test_the_derivative_is_that_of_autograd(tmp_path: Path, trained: bool) -> None:
    region, varying, plain = augru()
    source = lowered(replace(region, inits=(0,) if trained else (None,)), varying)
    lengths = [3, 0, 6, 1]
    layout = Layout(4, {"h.t": torch.tensor(lengths)}, None)
    rows = layout[T]
    torch.manual_seed(0)

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    n = rows.count
    given, fresh_in, weight, gain = made(n, 2 * WIDTH), made(n, WIDTH), made(n, 1), made(4, WIDTH)
    w, v, b, start = made(2 * WIDTH, WIDTH), made(WIDTH, WIDTH), made(2 * WIDTH), made(4, WIDTH)

    def step(given: Tensor, fresh_in: Tensor, weight: Tensor, gain: Tensor, h: Tensor) -> tuple[Tensor]:
        return plain(given, fresh_in, weight, gain, h, w, v, b)

    everything = [given, fresh_in, weight, gain, w, v, b, start]
    if not trained:
        start = torch.zeros_like(everything.pop())
    (expected,) = scan(step, rows, T, [given, fresh_in, weight], [gain], [start])
    for cell in cells(source, tmp_path):
        (found,) = recur(cell, rows, T, [given, fresh_in, weight], [gain], [w, v], [b], [start])
        same(found, expected, everything)


def held_against_the_loop(
    s: Step, x: int, h: int, following: int, plain: Callable[..., tuple[Tensor]], matrices: int, folder: Path
) -> None:
    """A step of one value and one state against what it means, value and gradient."""
    region = Region(tuple(s.nodes), (x,), (h,), (0,), (following,))
    layout = Layout(3, {"h.t": torch.tensor([3, 0, 6])}, None)
    rows = layout[T]
    torch.manual_seed(0)
    shapes = [(rows.count, WIDTH), (3, WIDTH), *[(WIDTH, WIDTH)] * matrices]
    given = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    value, start, *ws = given
    (expected,) = scan(lambda x, h: plain(x, h, *ws), rows, T, [value], [], [start])
    for cell in cells(lowered(region, (True,)), folder):
        (found,) = recur(cell, rows, T, [value], [], ws, [], [start])
        same(found, expected, given)
    zeros = torch.zeros_like(start)
    (expected,) = scan(lambda x, h: plain(x, h, *ws), rows, T, [value], [], [zeros])
    for cell in cells(lowered(replace(region, inits=(None,)), (True,)), folder):
        (found,) = recur(cell, rows, T, [value], [], ws, [], [zeros])
        same(found, expected, [value, *ws])


def same(found: Tensor | None, expected: Tensor, given: list[Tensor]) -> None:
    """Value and gradients."""
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-12)
    seed = torch.randn_like(expected)
    theirs = torch.autograd.grad(expected, given, seed, retain_graph=True)
    for mine, other in zip(torch.autograd.grad(found, given, seed), theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-12)


def test_a_product_that_is_added_to_a_product_has_its_own_derivative(tmp_path: Path) -> None:
    s = Step()
    x, h = s.add("capture", index=0), s.add("state", index=0, name="h")
    total = s.add("add", s.product(x, WIDTH, "of_x"), s.product(h, WIDTH, "of_h"))
    following = s.add("tanh", total)

    def plain(x: Tensor, h: Tensor, w: Tensor, v: Tensor) -> tuple[Tensor]:
        return (torch.tanh(x @ w.t() + h @ v.t()),)

    held_against_the_loop(s, x, h, following, plain, 2, tmp_path)


def test_a_derivative_that_two_read_is_not_written_over(tmp_path: Path) -> None:
    s = Step()
    x, h = s.add("capture", index=0), s.add("state", index=0, name="h")
    first = s.product(h, WIDTH, "first")
    squashed = s.add("tanh", s.product(first, WIDTH, "second"))
    residual = s.add("add", first, squashed)
    following = s.add("tanh", s.add("add", s.product(residual, WIDTH, "third"), s.add("sigmoid", x)))

    def plain(x: Tensor, h: Tensor, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor]:
        first = h @ u.t()
        return (torch.tanh((first + torch.tanh(first @ v.t())) @ w.t() + torch.sigmoid(x)),)

    held_against_the_loop(s, x, h, following, plain, 3, tmp_path)


def test_only_what_the_derivative_reads_is_kept() -> None:
    region, varying, _ = augru()
    source = lowered(region, varying)
    assert "fresh_h" not in {name for value in source.kept for name in value.names}
    assert source.step.results == list(source.kept) == source.back.groups["kept"]
    assert (source.seen, source.held) == ((0, 1, 2), (3,))
