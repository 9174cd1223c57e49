"""Attention in histories with one more at their end, a candidate's, that are not put together.

Promises: what `attend` gives of the whole sequences. What the history's positions have of each other is
computed once a request; a candidate adds a key to their softmax, and a query to the history's keys.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from specc_runtime.layout import Axis, Rows
from specc_runtime.ops.rows import append

R = TypeVar("R")


class Ended(NamedTuple, Generic[R]):
    """A request's history, head [of_head.count, ..., w], and each candidate's value at its end, last
    [of_last.count, ..., w]. R: rows, those of exported programs too.

    to: the rows of the two together, along the axis `new`; old: that of the history.
    """

    head: Tensor
    last: Tensor
    of_head: R
    of_last: R
    to: R
    old: Axis
    new: Axis


Sequence = Tensor | Ended[Rows]


def put_together(x: Sequence) -> Tensor:
    """Return a value, put together if it is not: [to.count, ..., w]."""
    return append(*x, None) if isinstance(x, Ended) else x


def many(key: Ended[Rows], least: int) -> bool:
    """Return whether requests have so many candidates, on average."""
    requests = key.of_head.layout
    return requests.candidates is not None and key.of_last.count >= least * max(requests.size, 1)


def by_request(query: Sequence, key: Ended[Rows], value: Ended[Rows], scale: float) -> Tensor:
    """Return the attention of queries over all of their sequence: [rows of the queries, *heads, e].

    query: one for each candidate, [candidates, *heads, d], or Ended, for each position of the sequences.
    """
    given = (query.head, query.last) if isinstance(query, Ended) else (query,)
    among = (key.head, key.last, value.head, value.last)
    shape = torch.broadcast_shapes(*(x.shape[1:-1] for x in (*given, *among)))
    heads = [_heads(x, shape) for x in (*given, *among)]
    layout = key.of_head.layout
    assert layout.candidates is not None
    lengths = key.of_head.without(key.old).lengths_of(key.old).tolist()
    counts = layout.candidates.tolist()
    along = [lengths, counts] if isinstance(query, Ended) else [counts]
    split = [x.split(n) for x, n in zip(heads, (*along, lengths, counts, lengths, counts), strict=True)]
    attended = _of_all if isinstance(query, Ended) else _of_one
    found = torch.cat([attended(scale, *parts) for parts in zip(*split, strict=True)])
    return found.reshape(len(found), *shape, found.shape[-1])


def _heads(x: Tensor, shape: torch.Size) -> Tensor:
    """Return x [rows, *heads, d] with one dimension of heads, [rows, head, d]."""
    x = x.expand(-1, *shape, -1)
    return x.flatten(1, -2) if shape else x.unsqueeze(1)


def _of_one(
    scale: float, query: Tensor, key: Tensor, last_key: Tensor, value: Tensor, last_value: Tensor
) -> Tensor:
    """Return what candidates see: queries [c, h, d], keys [t, h, d] and [c, h, d], values [t, h, e] and
    [c, h, e]; the result is [c, h, e]."""
    near = torch.bmm((query * scale).transpose(0, 1), key.permute(1, 2, 0))
    own = (query * last_key).sum(-1).mT.unsqueeze(-1) * scale
    weight = torch.cat([near, own], -1).softmax(-1)
    seen = torch.bmm(weight[..., :-1], value.transpose(0, 1))
    return torch.addcmul(seen, weight[..., -1:], last_value.transpose(0, 1)).transpose(0, 1)


def _of_all(
    scale: float, query: Tensor, last_query: Tensor, key: Tensor, last_key: Tensor, value: Tensor,
    last_value: Tensor,
) -> Tensor:  # fmt: skip
    """Return the same of each position: queries [t, h, d] and [c, h, d]; the result is [c (t + 1), h, e]."""
    asked = (query * scale).transpose(0, 1)
    near = torch.bmm(asked, key.permute(1, 2, 0))
    seen = torch.bmm(near.softmax(-1), value.transpose(0, 1)).transpose(0, 1)
    own = torch.bmm(asked, last_key.permute(1, 2, 0))
    # What of a position's softmax does not fall on the candidate.
    share = torch.sigmoid(near.logsumexp(-1, keepdim=True) - own).permute(2, 1, 0).unsqueeze(-1)
    history = torch.lerp(last_value.unsqueeze(1), seen, share)
    last = _of_one(scale, last_query, key, last_key, value, last_value)
    return torch.cat([history, last.unsqueeze(1)], 1).flatten(0, 1)
