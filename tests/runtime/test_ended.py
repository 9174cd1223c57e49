"""Attention in histories that candidates stand at the end of, by request and put together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specc_runtime import ops
from specc_runtime.layout import CANDIDATE, Axis, Layout
from specc_runtime.ops import ended

T = Axis("history.t", 6)
U = T.longer()
S = U.renamed("s")
LAYOUT = Layout(
    5, {"history.t": torch.tensor([3, 0, 6, 1, 2])}, torch.tensor([2, 3, 0, 1, 4])
)  # no history, no candidate


def values(count: int, heads: tuple[int, ...], width: int) -> Tensor:
    return torch.randn(count, *heads, width, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("all_positions", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("heads", [(), (2,), (2, 3)])
def test_by_request_it_is_what_it_is_put_together(
    heads: tuple[int, ...], shared: bool, all_positions: bool
) -> None:
    torch.manual_seed(1)
    rows, ends = LAYOUT[T], LAYOUT[CANDIDATE]
    own = tuple(1 for _ in heads) if shared else heads
    pairs = [
        (values(rows.count, h, w), values(ends.count, h, w)) for h, w in ((heads, 4), (own, 4), (own, 5))
    ]

    def pair_of(pair: tuple[Tensor, Tensor], new: Axis) -> ops.Ended:
        return ops.Ended(*pair, rows, ends, LAYOUT[CANDIDATE, new], T, new)

    def attended(least: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        query = pair_of(pairs[0], U) if all_positions else pairs[0][1]
        asked = LAYOUT[CANDIDATE, U] if all_positions else ends
        found = ops.attend(
            query, pair_of(pairs[1], S), pair_of(pairs[2], S), asked, LAYOUT[CANDIDATE, S],
            U if all_positions else None, S, 0.7, by_request_from=least,
        )  # fmt: skip
        given = [x for pair in pairs for x in pair if all_positions or x is not pairs[0][0]]
        weight = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).reshape(found.shape)
        return found, torch.autograd.grad((found * weight).sum(), given)

    (by_request, slopes), (whole, others) = attended(1), attended(10**9)
    torch.testing.assert_close(by_request, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes, others, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("where", ["all", "until", "before", "others"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_in_c_it_is_not_put_together(
    alone: bool, shared: bool, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """alone: the keys are the values."""
    torch.manual_seed(1)
    layout = Layout(5, LAYOUT.given, None)
    rows, ends = layout[T], layout[CANDIDATE]
    own = (1,) if shared else (3,)
    sizes = [((3,), 4), (own, 4), *([] if alone else [(own, 5)])]
    pairs = [(values(rows.count, h, w), values(ends.count, h, w)) for h, w in sizes]
    appended = []
    monkeypatch.setattr(ended, "append", lambda *x: appended.append(x) or ops.append(*x))

    def attended(least: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        query, key, *value = (
            ops.Ended(*pair, rows, ends, layout[CANDIDATE, new], T, new)
            for pair, new in zip(pairs, (U, S, S), strict=False)
        )
        given = value[0] if value else None
        asked, known = layout[CANDIDATE, U], layout[CANDIDATE, S]
        found = ops.attend(query, key, given, asked, known, U, S, 0.7, where, in_c_from=least)
        weight = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).reshape(found.shape)
        return found, torch.autograd.grad((found * weight).sum(), [x for pair in pairs for x in pair])

    (in_c, slopes), made = attended(0), len(appended)
    assert not made
    whole, others = attended(10**9)
    assert len(appended) == len(pairs)
    torch.testing.assert_close(in_c, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes, others, rtol=1e-12, atol=1e-12)


def test_candidates_that_share_a_history_are_put_together() -> None:
    query, key = (
        ops.Ended(
            values(LAYOUT[T].count, (2,), 4), values(LAYOUT[CANDIDATE].count, (2,), 4),
            LAYOUT[T], LAYOUT[CANDIDATE], LAYOUT[CANDIDATE, new], T, new,
        )
        for new in (U, S)
    )  # fmt: skip
    rows = LAYOUT[CANDIDATE, U], LAYOUT[CANDIDATE, S]
    found = [
        ops.attend(query, key, None, *rows, U, S, 0.7, in_c_from=least, by_request_from=10**9)
        for least in (0, 10**9)
    ]
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("candidates", [None, torch.tensor([1, 2, 0, 1, 3])])
def test_the_gradient_of_what_is_appended_is_that_of_a_copy(candidates: Tensor | None) -> None:
    layout = Layout(5, LAYOUT.given, candidates)
    rows, ends, to = layout[T], layout[CANDIDATE], layout[CANDIDATE, U]
    x, y = values(rows.count, (), 3), values(ends.count, (), 3)
    found = ops.append(x, y, rows, ends, to, T, U, None)
    assert found.shape == (to.count, 3)
    expected = torch.cat(
        [
            torch.cat([history, last.unsqueeze(0)])
            for history, lasts in zip(
                x.split(layout.lengths(T).tolist()),
                y.split([1] * 5 if candidates is None else candidates.tolist()),
                strict=True,
            )
            for last in lasts
        ]
    )
    weight = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).reshape(found.shape)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * weight).sum(), [x, y]),
        torch.autograd.grad((expected * weight).sum(), [x, y]),
    )
