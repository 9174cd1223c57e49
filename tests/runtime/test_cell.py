"""A step with its derivative, walked: the values and gradients of the plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from specc_runtime.layout import Axis, Layout
from specc_runtime.ops import fields, segment
from specc_runtime.ops.cell import ALL, BOTH, FINAL, NONE, Projected, recur
from specc_runtime.ops.cells import Cell, Perhaps, Tensors
from specc_runtime.ops.fields import embed, lookup, repeated
from specc_runtime.ops.recurrent import scan
from specc_runtime.ops.slopes import tanh_

T = Axis("h.t", bound=7)


def gated(x: Tensor, gain: Tensor, w: Tensor, h: Tensor) -> Tensor:
    """h' = h + gain * tanh(x + h W^T)."""
    return h + gain * torch.tanh(x + h @ w.t())


def step(
    values: Tensors, constants: Tensors, matrices: Tensors, biases: Tensors, states: Tensors, nexts: Tensors
) -> Tensors:
    fresh = values[0].addmm_(states[0], matrices[0]).tanh_()
    torch.addcmul(states[0], constants[0], fresh, out=nexts[0])
    return (fresh,)


def back(
    values: Tensors,
    constants: Tensors,
    matrices: Tensors,
    states: Tensors,
    kept: Tensors,
    d_next: Tensors,
    d_values: Perhaps,
    d_products: Tensors,
) -> tuple[Perhaps, Perhaps, Tensors]:
    (fresh,), (d,), (d_gate,) = kept, d_next, d_values
    assert d_gate is not None
    torch.mul(d * constants[0], 1 - fresh * fresh, out=d_gate)
    d_gain = (d * fresh).sum(-1, keepdim=True)
    return (d_gain,), (d + d_gate @ matrices[0],), (states[0],)


# The product's derivative is that of the value it is added to.
CELL = Cell(step, back, places=((0, 0, 4),))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("lengths", [[3, 0, 7, 1, 1], [0, 0], [2]])
def test_walking_is_the_plain_loop(lengths: list[int], backward: bool) -> None:
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths)}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(rows.count, 4), (len(lengths), 1), (4, 4), (len(lengths), 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    x, gain, w, start = given

    def plain(x: Tensor, gain: Tensor, h: Tensor) -> Tensors:
        return (gated(x, gain, w, h),)

    (expected,) = scan(plain, rows, T, [x], [gain], [start], backward)
    (found,) = recur(CELL, rows, T, [x], [gain], [w], [], [start], backward)
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-12)
    if rows.count:
        seed = torch.randn_like(expected)
        for mine, theirs in zip(
            torch.autograd.grad(found, given, seed), torch.autograd.grad(expected, given, seed), strict=True
        ):
            assert torch.allclose(mine, theirs, atol=1e-12)


def test_a_product_is_put_in_order_before_it_is_multiplied() -> None:
    layout = Layout(3, {"h.t": torch.tensor([2, 5, 0])}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(rows.count, 3), (4, 3), (4,), (3, 1), (4, 4), (3, 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    x, matrix, bias, gain, w, start = given
    whole = torch.nn.functional.linear(x, matrix, bias)
    (expected,) = recur(CELL, rows, T, [whole], [gain], [w], [], [start])
    seed = torch.randn_like(expected)
    for projected in (Projected(x, matrix, bias), Projected(x, matrix, bias, rows, rows)):
        (found,) = recur(CELL, rows, T, [projected], [gain], [w], [], [start])
        assert torch.allclose(found, expected, atol=1e-12)
        for mine, theirs in zip(
            torch.autograd.grad(found, given, seed),
            torch.autograd.grad(expected, given, seed, retain_graph=True),
            strict=True,
        ):
            assert torch.allclose(mine, theirs, atol=1e-12)


def test_a_graph_may_be_gone_through_twice() -> None:
    layout = Layout(2, {"h.t": torch.tensor([2, 5])}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(rows.count, 4), (2, 1), (4, 4), (2, 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    (found,) = recur(CELL, rows, T, [given[0]], [given[1]], [given[2]], [], [given[3]])
    first = torch.autograd.grad(found.sum(), given, retain_graph=True)
    second = torch.autograd.grad(found.sum(), given)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def same_gradients(found: Tensor, expected: Tensor, given: list[Tensor]) -> None:
    """Both values, and what comes back from them; the graph of `expected` stays."""
    assert torch.allclose(found, expected, atol=1e-12)
    seed = torch.randn_like(expected)
    mine = torch.autograd.grad(found, given, seed, retain_graph=True)
    theirs = torch.autograd.grad(expected, given, seed, retain_graph=True)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def pair_step(values: Tensors, *given: Tensors) -> Tensors:
    """a' = tanh(x + b), b' = a."""
    *_, states, nexts = given
    fresh = torch.tanh(values[0] + states[1], out=nexts[0])
    nexts[1].copy_(states[0])
    return (fresh,)


def pair_back(*given: Any) -> tuple[Perhaps, Perhaps, Tensors]:
    *_, (fresh,), (d_a, d_b), (d_x,), _ = given
    torch.mul(d_a, 1 - fresh * fresh, out=d_x)
    return (), (d_b, d_x.clone()), ()


PAIR = Cell(pair_step, pair_back)


def forgetful_step(values: Tensors, *given: Tensors) -> Tensors:
    """a' = x."""
    given[-1][0].copy_(values[0])
    return ()


def forgetful_back(*given: Any) -> tuple[Perhaps, Perhaps, Tensors]:
    *_, d_next, d_values, _ = given
    d_values[0].copy_(d_next[0])
    return (), (None,), ()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("lengths", [[3, 0, 7, 1, 1], [0, 0], [2]])
@pytest.mark.parametrize(
    "wanted", [(ALL, ALL), (FINAL, NONE), (NONE, FINAL), (FINAL, ALL), (FINAL, FINAL), (NONE, ALL)]
)
def test_what_is_wanted_of_a_state(wanted: tuple[str, str], lengths: list[int], backward: bool) -> None:
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths)}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(rows.count, 4), (len(lengths), 4), (len(lengths), 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    x, *starts = given
    whole = recur(PAIR, rows, T, [x], [], [], [], starts, backward)
    found = recur(PAIR, rows, T, [x], [], [], [], starts, backward, wanted)
    end = segment.first if backward else segment.last
    parts = []
    for want, state, expected in zip(wanted, found, whole, strict=True):
        assert expected is not None
        assert (state is None) == (want == NONE)
        if state is not None:
            parts.append((state, end(expected, rows, T) if want == FINAL else expected))
    if rows.count:
        mine, theirs = (torch.cat([part.flatten() for part in side]) for side in zip(*parts, strict=True))
        same_gradients(mine, theirs, given)
    else:
        assert all(torch.equal(a, b) for a, b in parts)


def test_the_end_of_a_state_that_forgets() -> None:
    layout = Layout(3, {"h.t": torch.tensor([2, 5, 0])}, None)
    rows = layout[T]
    x, start = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (rows.count, 3))
    cell = Cell(forgetful_step, forgetful_back)
    (found,) = recur(cell, rows, T, [x], [], [], [], [start], wanted=(FINAL,))
    assert found is not None
    same_gradients(found, segment.last(x, rows, T), [x])


@pytest.mark.parametrize("few", [(), (1,), (0,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_rows_that_are_named_over_and_over_are_multiplied_once(
    few: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side are parts of three tables, of some of which few rows are named."""
    monkeypatch.setattr(fields, "_WORTH", 0)  # in a test all is small
    layout = Layout(3, {"h.t": torch.tensor([6, 7, 0])}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(20, 2), (20, 3), (20, 1), (4, 6), (4,), (3, 1), (4, 4), (3, 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    *tables, matrix, bias, gain, w, start = given
    many = [torch.randperm(20)[: rows.count] for _ in tables]
    ids = [torch.randint(4, 7, (rows.count,)) if i in few else some for i, some in enumerate(many)]
    (x,) = lookup(list(zip(tables, ids, strict=True)))
    # In the middle there is nothing to gain: what is left to multiply lies together.
    middle = few == (1,)
    parts = list(zip(tables, ids, strict=True))
    assert {part.start for part in repeated(x, parts, 4)[0]} == (
        set() if middle else {(0, 2, 5)[i] for i in few}
    )
    plain = torch.cat([embed(table, i) for table, i in zip(tables, ids, strict=True)], 1)
    for offset in (bias, None):
        used = given if offset is not None else [g for g in given if g is not bias]
        (expected,) = recur(CELL, rows, T, [Projected(plain, matrix, offset)], [gain], [w], [], [start])
        value = Projected(x, matrix, offset, looked_up=parts)
        (found,) = recur(CELL, rows, T, [value], [gain], [w], [], [start])
        assert found is not None
        assert expected is not None
        same_gradients(found, expected, used)


@pytest.mark.parametrize("backward", [False, True])
def test_one_recurrence_reads_another(backward: bool) -> None:
    """Along the same steps its input stays in their order."""
    layout = Layout(3, {"h.t": torch.tensor([2, 5, 0])}, None)
    rows = layout[T]
    torch.manual_seed(0)
    sizes = [(rows.count, 4), (4, 4), (3, 1), (4, 4), (3, 4)]
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in sizes]
    x, matrix, gain, w, start = given
    first, in_steps = recur(CELL, rows, T, [x], [gain], [w], [], [start], backward, wanted=(BOTH,))
    assert first is not None
    assert in_steps is not None
    assert not torch.equal(first, in_steps)
    found, expected = (
        recur(CELL, rows, T, [value], [gain], [w], [], [start], backward)[0]
        for value in (Projected(first, matrix, in_steps=in_steps), Projected(first, matrix))
    )
    assert found is not None
    assert expected is not None
    same_gradients(found + first, expected + first, given)


def test_tanh_in_place() -> None:
    x = torch.linspace(-9, 9, 100_001)
    assert (tanh_(x.clone()).double() - torch.tanh(x.double())).abs().max() < 2e-7
    assert (tanh_(x.double()) - torch.tanh(x.double())).abs().max() < 1e-15
