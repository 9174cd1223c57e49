"""Products of a sequence's rows with a factor of the whole sequence, in C: values and gradients of torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from specc_runtime import stale
from specc_runtime.layout import Axis, Layout
from specc_runtime.native import paired as in_c
from specc_runtime.ops import fields, lookup
from specc_runtime.ops.tile import Factor, paired

STEP = Axis("h.t", bound=120)


def drawn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("turned", [False, True])
@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 15), min_size=1, max_size=7),
    sizes=st.sampled_from([(5, 3), (16, 33), (19, 1)]),
    own=st.booleans(),
    other=st.booleans(),
    bias=st.booleans(),
)
def test_it_is_the_definition(
    turned: bool, lengths: list[int], sizes: tuple[int, int], own: bool, other: bool, bias: bool
) -> None:
    w, n = sizes
    lengths = [*lengths, 101]  # more than are computed at a time
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths)}, None)
    rows, one = layout[STEP], layout[()]
    x, y, matrix = drawn(rows.count, w), drawn(len(lengths), w), drawn(n, w)
    more = [drawn(n, w) if own else None, drawn(n, w) if other else None, drawn(n) if bias else None]
    learnt = [x, y, matrix, *(m for m in more if m is not None)]
    factors = [Factor(y, one, more[1]), Factor(x, rows, more[0])]
    first, second = factors[::-1] if turned else factors
    found = paired(first, second, matrix, more[2], rows, in_c_from=0)
    assert rows.count < 6 * len(lengths) or "_Paired" in str(found.grad_fn) or bias
    expected = paired(first, second, matrix, more[2], rows)
    torch.testing.assert_close(found, expected)
    seed = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad(each, learnt, seed) for each in (found, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_rows_that_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large looked-up value is not saved, and is read piece by piece."""
    monkeypatch.setattr(fields, "_LARGE", 0)
    monkeypatch.setattr(in_c, "_PIECE", 40)
    lengths = [3, 0, 9, 14, 1, 30]
    layout = Layout(len(lengths), {"h.t": torch.tensor(lengths)}, None)
    rows, one = layout[STEP], layout[()]
    table, y, matrix = drawn(11, 4), drawn(len(lengths), 4), drawn(3, 4)
    part = (table, torch.randint(0, 11, (rows.count,)))
    grads = []
    for least in (0, None):
        (x,) = lookup([part])
        factors = Factor(y, one), Factor(x, rows, matrix.detach(), looked_up=[part])
        found = paired(*factors, matrix, None, rows, in_c_from=least)
        grads.append(torch.autograd.grad(found.sin().sum(), (table, y, matrix)))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)
    assert stale.owner_of(table) is None


def test_short_sequences_and_small_batches_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(in_c, "paired", never)
    for lengths, least in (([2, 3], 0), ([40, 40], 2**14)):
        layout = Layout(2, {"h.t": torch.tensor(lengths)}, None)
        rows = layout[STEP]
        factors = Factor(drawn(2, 4), layout[()]), Factor(drawn(rows.count, 4), rows)
        assert len(paired(*factors, drawn(3, 4), None, rows, in_c_from=least)) == rows.count
