"""Classes that are the rows of a table: their losses, and the best of many rows, a piece of the table at a
time.

A row is a class if it is counted: `counts` [rows] is how often labels of the training data name it, at least
1; 0 marks a row without a key.

Promises: at most `PIECE` products are in memory at a time, beside the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from specc_runtime import ranks, stale
from specc_runtime.ops.autocast import in_single
from specc_runtime.ops.fields import embed
from specc_runtime.tracing import untraced

PIECE = 2**22


@untraced
def row_loss(
    x: Tensor,
    label: Tensor,
    weight: Tensor,
    counts: Tensor,
    bias: Tensor | None,
    first: int,
    sampled: int = 0,
) -> Tensor:
    """Return the negative log softmax of x [n, width] among the classes, at the labels' rows [n, 1]: [n, 1].

    first: the row of the first class. sampled: if not 0, this many rows are drawn by their counts, with
    replacement, to estimate the sum over all classes but the label's; each draw is weighted by how many
    classes it stands for.
    """
    ids = label.squeeze(-1).long()
    if sampled:
        return _sampled(x, ids, weight, counts, bias, first, sampled)
    stale.catch_up(weight)
    own = (x * weight.index_select(0, ids)).sum(-1)
    if bias is not None:
        own = own + bias.index_select(0, ids)
    total: Tensor = _LogSum.apply(x, weight, bias, counts, first)  # type: ignore[no-untyped-call]
    return (total - own).unsqueeze(-1)


def _sampled(
    x: Tensor, ids: Tensor, weight: Tensor, counts: Tensor, bias: Tensor | None, first: int, sampled: int
) -> Tensor:
    often = counts[first:].double().cumsum(0)
    place = ranks.drawn(lambda: torch.rand(sampled, dtype=torch.float64, device=counts.device)) * often[-1]
    drawn = torch.searchsorted(often, place, right=True).clamp(max=len(often) - 1) + first
    found = embed(weight, torch.cat([ids, drawn]))
    own, others = (x * found[: len(ids)]).sum(-1), x @ found[len(ids) :].t()
    if bias is not None:
        own, others = own + bias.index_select(0, ids), others + bias.index_select(0, drawn)
    expected = sampled * counts.index_select(0, drawn).double() / often[-1]
    others = others - expected.log().to(others.dtype)
    others = others.masked_fill(drawn == ids.unsqueeze(1), -torch.inf)
    total = torch.cat([own.unsqueeze(1), others], 1).logsumexp(1)
    return (total - own).unsqueeze(-1)


def logits(
    x: Tensor, weight: Tensor, bias: Tensor | None, counts: Tensor, first: int
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the products of x [n, width] with the rows, a piece at a time, each with its first row and the
    row after its last one. Rows that are no class have -inf."""
    size = max(PIECE // max(len(x), 1), 1)
    for begin in range(first, len(weight), size):
        end = min(begin + size, len(weight))
        found = x @ weight[begin:end].t()
        if bias is not None:
            found = found + bias[begin:end]
        yield begin, end, found.masked_fill_(counts[begin:end] <= 0, -torch.inf)


@in_single
class _LogSum(torch.autograd.Function):
    """The log sum exp of all classes' logits, [n]. Backward computes the logits again."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, counts: Tensor, first: int
    ) -> Tensor:
        total = log_sum(x, weight, bias, counts, first)
        ctx.save_for_backward(x, weight, bias, counts, total)
        ctx.first = first
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, counts, total = ctx.saved_tensors
        of_x = torch.zeros_like(x)
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias) if bias is not None else None
        for begin, end, found in logits(x, weight, bias, counts, ctx.first):
            share = found.sub_(total.unsqueeze(1)).exp_().mul_(grad.unsqueeze(1))
            of_x.addmm_(share, weight[begin:end])
            if of_weight is not None:
                torch.mm(share.t(), x, out=of_weight[begin:end])
            if of_bias is not None:
                of_bias[begin:end] = share.sum(0)
        return of_x, of_weight, of_bias, None, None


def log_sum(x: Tensor, weight: Tensor, bias: Tensor | None, counts: Tensor, first: int) -> Tensor:
    """Return the log sum exp of the logits of all classes, [n]."""
    total = x.new_full((len(x),), -torch.inf)
    for _, _, found in logits(x, weight, bias, counts, first):
        total = torch.logaddexp(total, found.logsumexp(1))
    return total
