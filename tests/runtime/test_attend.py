"""Fused attention against its definition, over ragged and nested sequences, with gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from specc_runtime.layout import Axis, Layout, Rows
from specc_runtime.ops import segment
from specc_runtime.ops.attention import attend
from specc_runtime.ops.rows import expand

STEP = Axis("h.t", bound=9)
COPY = STEP.renamed("s")
SESSION = Axis("v.session", bound=3)
INNER = Axis("v.step", bound=4, parent=SESSION)

KEPT = {
    "all": lambda t, s: torch.ones_like(t, dtype=torch.bool),
    "until": lambda t, s: s <= t,
    "before": lambda t, s: s < t,
    "others": lambda t, s: s != t,
}


def defined(
    q: Tensor, k: Tensor, v: Tensor, rows: Rows, t: Axis, s: Axis, scale: float, where: str
) -> Tensor:
    others = rows.layout[[s if a == t else a for a in rows.axes]]
    both = rows.layout[(*rows.axes, s)]
    score = scale * (expand(q, rows, both) * expand(k, others, both)).sum(-1, keepdim=True)
    seen = KEPT[where](both.position(t), both.position(s)).reshape(-1, *([1] * (score.dim() - 1)))
    weight = segment.softmax(score, both, s, seen)
    return segment.sum(weight * expand(v, others, both), both, s)


def check(layout: Layout, t: Axis, where: str, heads: tuple[int, ...]) -> None:
    """In C and in torch."""
    s = t.renamed("s")
    rows = layout[t]
    torch.manual_seed(0)
    q, k, v = (torch.randn(rows.count, *heads, w, dtype=torch.float64, requires_grad=True) for w in (3, 3, 2))
    expected = defined(q, k, v, rows, t, s, 0.7, where)
    seed = torch.randn_like(expected)
    theirs = torch.autograd.grad(expected, (q, k, v), seed)
    for least in (0, 2**62):
        found = attend(q, k, v, rows, layout[s], t, s, 0.7, where, in_c_from=least)
        assert torch.allclose(found, expected, atol=1e-9)
        mine = torch.autograd.grad(found, (q, k, v), seed)
        assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("where", sorted(KEPT))
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_it_is_the_definition(where: str, lengths: list[int]) -> None:
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths)}, None)
    check(layout, STEP, where, (2,))


@pytest.mark.parametrize("where", sorted(KEPT))
def test_nested_sequences_attend_within_themselves(where: str) -> None:
    given = {"v.session": torch.tensor([2, 0, 3]), "v.step": torch.tensor([4, 0, 1, 3, 2])}
    check(Layout(3, given, None), INNER, where, ())


def test_nobody_has_a_history() -> None:
    check(Layout(2, {"h.t": torch.tensor([0, 0])}, None), STEP, "all", (2,))


def test_queries_and_keys_of_different_sequences() -> None:
    other = Axis("g.u", bound=5)
    layout = Layout(3, {"h.t": torch.tensor([2, 0, 9]), "g.u": torch.tensor([1, 5, 0])}, None)
    q = torch.randn(11, 3, dtype=torch.float64)
    k = torch.randn(6, 3, dtype=torch.float64)
    for least in (0, 2**62):
        found = attend(q, k, k, layout[STEP], layout[other], STEP, other, 1.0, in_c_from=least)
        assert torch.allclose(found[:2], k[:1].expand(2, 3))
        assert torch.equal(found[2:], torch.zeros(9, 3, dtype=torch.float64))


@pytest.mark.parametrize("heads", [(), (3,), (2, 2)])
@pytest.mark.parametrize("one_key", [False, True])
@pytest.mark.parametrize("value", ["keys", "one", "all"])
@pytest.mark.parametrize("where", sorted(KEPT))
def test_every_position_in_c(where: str, value: str, one_key: bool, heads: tuple[int, ...]) -> None:
    """Heads have keys and values each, or one for all; more queries than are computed at a time."""
    long = Axis("h.t", bound=120)
    layout = Layout(4, {"h.t": torch.tensor([3, 0, 101, 1])}, None)
    rows, keys = layout[long], layout[long.renamed("s")]
    one = tuple(1 for _ in heads)
    torch.manual_seed(0)
    sizes = [
        (rows.count, *heads, 19),
        (rows.count, *(one if one_key else heads), 19),
        (rows.count, *(one if value == "one" else heads), 5),
    ]
    given = [torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in sizes]
    if value == "keys":
        given.pop()
    q, k, *v = given
    expected = defined(q, k, v[0] if v else k, rows, long, long.renamed("s"), 0.3, where)
    found = attend(q, k, v[0] if v else None, rows, keys, long, long.renamed("s"), 0.3, where, in_c_from=0)
    torch.testing.assert_close(found, expected)
    seed = torch.randn_like(expected)
    mine, theirs = torch.autograd.grad(found, given, seed), torch.autograd.grad(expected, given, seed)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kernels", ["torch", "C"])
@pytest.mark.parametrize("heads", [(), (3,), (2, 2)])
@pytest.mark.parametrize("one_key", [False, True])
@pytest.mark.parametrize("value", ["keys", "one", "all"])
@pytest.mark.parametrize("lengths", [[3, 0, 7, 1], [0, 0, 1], [9]])
def test_one_query_for_each_sequence(
    lengths: list[int],
    value: str,
    one_key: bool,
    heads: tuple[int, ...],
    kernels: str,
) -> None:
    """Heads have keys and values each, or one for all."""
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths)}, None)
    rows, queries = layout[STEP], layout[()]
    one = tuple(1 for _ in heads)
    torch.manual_seed(0)
    sizes = [
        (queries.count, *heads, 11),
        (rows.count, *(one if one_key else heads), 11),
        (rows.count, *(one if value == "one" else heads), 5),
    ]
    given = [torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in sizes]
    if value == "keys":
        given.pop()
    q, k, *v = given
    score = 0.7 * (expand(q, queries, rows) * k).sum(-1, keepdim=True)
    weight = segment.softmax(score, rows, STEP)
    expected = segment.sum(weight * (v[0] if v else k), rows, STEP)
    least = 0 if kernels == "C" else 2**62
    found = attend(q, k, v[0] if v else None, queries, rows, None, STEP, 0.7, in_c_from=least)
    torch.testing.assert_close(found, expected)
    seed = torch.randn_like(expected)
    mine = torch.autograd.grad(found, given, seed)
    theirs = torch.autograd.grad(expected, given, seed)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_single_precision() -> None:
    """Kernels or not, to within rounding; scores may be far apart, and what is no number stays none."""
    layout = Layout(2, {"h.t": torch.tensor([9, 3])}, None)
    rows, queries = layout[STEP], layout[()]
    torch.manual_seed(0)
    q, k = 8 * torch.randn(2, 4, 16), torch.randn(12, 1, 16)
    found = [attend(q, k, None, queries, rows, None, STEP, 1.0, in_c_from=n) for n in (0, 2**62)]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
    every = torch.randn(12, 4, 16)
    both = [attend(every, k, None, rows, layout[COPY], STEP, COPY, 1.0, in_c_from=n) for n in (0, 2**62)]
    torch.testing.assert_close(*both, rtol=1e-5, atol=1e-6)
    k[10, 0, 3] = float("nan")
    seen = attend(every, k, None, rows, layout[COPY], STEP, COPY, 1.0, in_c_from=0)
    assert seen[:9].isfinite().all()
    assert seen[9:].isnan().all()
    seen = attend(q, k, None, queries, rows, None, STEP, 1.0, in_c_from=0)
    assert seen[0].isfinite().all()
    assert seen[1].isnan().all()
