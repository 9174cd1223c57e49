"""Scaled dot-product attention of every position, or of one query, over all positions of a sequence.

Promises: the packed definition, `sum(softmax(scale * dot(q, k), over s) * v, over s)`; for an empty sequence
the result is 0. No tensor of the size of all pairs is saved for backward.

In C each sequence is computed by itself. Without a kernel in C, sequences of similar length form a block,
padded to the longest of the block, for torch's fused kernel. With lengths as in users' histories a tenth of
the computation is padding; with one block for all sequences most of it would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime import native
from specc_runtime.layout import Axis, Layout, Rows
from specc_runtime.native import say
from specc_runtime.ops.ended import Ended, Sequence, by_request, many, put_together
from specc_runtime.ops.regroup import apart, regroup, rejoin, together
from specc_runtime.tracing import untraced

# The longest sequence of a block is at most this many times as long as its shortest one.
GROWTH, STEP = 1.25, 3


@dataclass(frozen=True, eq=False)
class Blocks:
    """Sequences sorted by length, in blocks, each padded to its longest sequence.

    shapes: for each block (sequences, positions of queries, positions of keys). queries, keys: the row at
    each padded place; from_queries, from_keys: the place of each row. lengths: how many keys each sequence
    has, in the order of the blocks; `full`: the block has no padding.
    """

    shapes: tuple[tuple[int, int, int], ...]
    full: tuple[bool, ...]
    queries: Tensor
    from_queries: Tensor
    keys: Tensor
    from_keys: Tensor
    lengths: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Blocks:
        """Return the blocks with a function applied to every tensor."""
        queries, from_queries = change(self.queries), change(self.from_queries)
        keys, from_keys, lengths = change(self.keys), change(self.from_keys), change(self.lengths)
        return Blocks(self.shapes, self.full, queries, from_queries, keys, from_keys, lengths)

    @staticmethod
    def of(
        layout: Layout,
        queries: tuple[Axis, ...],
        keys: tuple[Axis, ...],
        query_axis: Axis | None,
        key_axis: Axis,
    ) -> Blocks:
        """Return the blocks of a batch. queries, keys: the axes of their rows."""
        return Blocks._of(layout.rows(queries), layout.rows(keys), query_axis, key_axis)

    @staticmethod
    def _of(query_rows: Rows, key_rows: Rows, query_axis: Axis | None, key_axis: Axis) -> Blocks:
        if query_axis is None:
            asked = torch.ones(query_rows.count, dtype=torch.int64, device="cpu")
        else:
            asked = query_rows.without(query_axis).lengths_of(query_axis)
        known = key_rows.without(key_axis).lengths_of(key_axis)
        order = torch.argsort(known, stable=True)
        bounds = _bounds(known[order].tolist())
        shapes, full = [], []
        for begin, end in bounds:
            inside = order[begin:end]
            shapes.append((end - begin, int(asked[inside].max()), int(known[inside].max())))
            full.append(bool((known[inside] == shapes[-1][2]).all()))
        queries, from_queries = _places(query_rows, query_axis, order, bounds, [s[1] for s in shapes])
        keys, from_keys = _places(key_rows, key_axis, order, bounds, [s[2] for s in shapes])
        return Blocks(tuple(shapes), tuple(full), queries, from_queries, keys, from_keys, known[order])


def _bounds(lengths: list[int]) -> list[tuple[int, int]]:
    """Return where blocks begin and end among ascending lengths."""
    bounds: list[tuple[int, int]] = []
    begin = 0
    for place, length in enumerate(lengths):
        if length > max(lengths[begin] * GROWTH, lengths[begin] + STEP):
            bounds.append((begin, place))
            begin = place
    return [*bounds, (begin, len(lengths))] if lengths else bounds


def _places(
    rows: Rows, axis: Axis | None, order: Tensor, bounds: list[tuple[int, int]], widths: list[int]
) -> tuple[Tensor, Tensor]:
    """Return the row at each padded place (padding repeats some row), and the place of each row."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device="cpu")
    if axis is None:
        return order, rank
    sequences = rows.without(axis)
    width = torch.repeat_interleave(
        torch.tensor(widths, device="cpu"),
        torch.tensor([e - b for b, e in bounds], device="cpu"),
        output_size=sum(e - b for b, e in bounds),
    )
    begins = width.cumsum(0) - width
    place = begins[rank[rows.index(sequences)]] + rows.position(axis)
    row = torch.zeros(int(width.sum()), dtype=torch.int64, device="cpu")
    row[place] = torch.arange(rows.count, device="cpu")
    return row, place


@untraced
def attend(
    query: Sequence,
    key: Sequence,
    value: Sequence | None,
    query_rows: Rows,
    key_rows: Rows,
    query_axis: Axis | None,
    key_axis: Axis,
    scale: float,
    where: str = "all",
    in_c_from: int = say.FROM,
    by_request_from: int = 1,
) -> Tensor:
    """Return the attention of queries over the keys of their sequence: [query_rows.count, *heads, e].

    query [query_rows.count, *heads, d], key [key_rows.count, *heads, d], value [key_rows.count, *heads, e];
    if value is None the keys are the values. A `heads` dimension is 1 where all heads share one. The two
    Rows differ only in their axis; with `query_axis` None there is one query for each sequence. `where` says
    which keys a query sees: "all", those "until" or "before" its own position, or all "others". in_c_from:
    from how many numbers in the keys on a kernel in C is used, if there is one.
    by_request_from: of sequences that are not put together, from how many candidates a request on they
    never are.
    """
    if isinstance(key, Ended) and many(key, by_request_from):
        given = key if value is None else value
        assert isinstance(given, Ended)
        return by_request(query, key, given, scale)
    if (found := _ended_in_c(query, key, value, query_axis, key_axis, scale, where, in_c_from)) is not None:
        return found
    query, key = put_together(query), put_together(key)
    value = None if value is None else put_together(value)
    given_of = key if value is None else value
    shape = torch.broadcast_shapes(query.shape[1:-1], key.shape[1:-1], given_of.shape[1:-1])
    if query_rows.count == 0 or key_rows.count == 0:
        empty = query.new_zeros(query_rows.count, *shape, given_of.shape[-1])
        return empty + 0 * (query.sum() + key.sum() + given_of.sum())
    # In C the rows of a sequence follow each other.
    in_a_row = key_rows.axes[-1] == key_axis and (query_axis is None or query_rows.axes[-1] == query_axis)
    if in_a_row and key.numel() >= in_c_from and native.wanted(query.device, query.dtype):
        asked = None if query_axis is None else query_rows.lengths
        found = _by_sequence(query, key, value, shape, asked, key_rows.lengths, scale, where)
        if found is not None:
            return found
    layout = query_rows.layout
    blocks = layout.planned(Blocks.of, query_rows.axes, key_rows.axes, query_axis, key_axis)
    sizes = [n * q for n, q, _ in blocks.shapes]
    # With one query for each sequence, the queries need no padding.
    places = blocks.queries.split(sizes) if query_axis is None else None
    whole = _heads(query, shape)
    if places is None:
        # One split, whose gradient is one concatenation; that of each slice would be as large as the whole.
        queries = regroup(whole, blocks.queries, blocks.from_queries).split(sizes)
    else:
        queries = apart(whole, places)
    # Heads that share a key are treated as more queries of one head; what a query sees depends on its place.
    shared = where == "all" and len(shape) > 0 and all(size == 1 for size in key.shape[1:-1])
    known = regroup(_heads(key, key.shape[1:-1] if shared else shape), blocks.keys, blocks.from_keys)
    if value is None:
        given = known
    else:
        alone = shared and all(size == 1 for size in value.shape[1:-1])
        values = _heads(value, value.shape[1:-1] if alone else shape)
        given = regroup(values, blocks.keys, blocks.from_keys)
    keys = known.split([n * k for n, _, k in blocks.shapes])
    values_of = keys if value is None else given.split([n * k for n, _, k in blocks.shapes])
    lengths = blocks.lengths.to(query.device).split([n for n, _, _ in blocks.shapes])
    parts = []
    for number, (n, q, k) in enumerate(blocks.shapes):
        x = queries[number].unflatten(0, (n, q))
        y = keys[number].unflatten(0, (n, k))
        z = values_of[number].unflatten(0, (n, k))
        mask = _mask(where, q, k, lengths[number], blocks.full[number])
        if shared:
            part = _of_shared_keys(x, y, z, mask, scale)
        else:
            x, y, z = x.transpose(1, 2), y.transpose(1, 2), z.transpose(1, 2)
            part = F.scaled_dot_product_attention(
                x, y, z, attn_mask=mask, is_causal=where == "until", scale=scale
            ).transpose(1, 2)
        parts.append(part.flatten(0, 1))
    if places is None:
        seen = rejoin(torch.cat(parts), blocks.from_queries, blocks.queries)
    else:
        seen = together(parts, places)
    return seen.reshape(query_rows.count, *shape, given_of.shape[-1])


def _ended_in_c(
    query: Sequence,
    key: Sequence,
    value: Sequence | None,
    query_axis: Axis | None,
    key_axis: Axis,
    scale: float,
    where: str,
    least: int,
) -> Tensor | None:
    """Return the attention of every position in C, of sequences that are not put together, if each has a
    history of its own; else, or if there are no kernels, None."""
    if not (
        isinstance(query, Ended) and isinstance(key, Ended) and (value is None or isinstance(value, Ended))
    ):
        return None
    pairs = [query, key] if value is None else [query, key, value]
    if not all(_one_each(x, axis) for x, axis in zip(pairs, (query_axis, key_axis, key_axis), strict=False)):
        return None
    numbers = key.head.numel() + key.last.numel()
    like = query.head
    if not like.numel() or numbers < least or not native.wanted(like.device, like.dtype):
        return None
    shape = torch.broadcast_shapes(*(part.shape[1:-1] for x in pairs for part in (x.head, x.last)))

    def heads(x: Ended[Rows], shared: bool) -> tuple[Tensor, Tensor]:
        alone = shared and all(size == 1 for part in (x.head, x.last) for size in part.shape[1:-1])
        own = torch.Size([1] * len(shape)) if alone else shape
        return _heads(x.head, own), _heads(x.last, own)

    given = [heads(x, n > 0) for n, x in enumerate(pairs)]
    lengths = query.of_head.lengths
    found = native.attend_ended(
        given[0], given[1], given[2] if value is not None else None, lengths, scale, where
    )
    return None if found is None else found.reshape(len(found), *shape, found.shape[-1])


def _one_each(x: Ended[Rows], axis: Axis | None) -> bool:
    """Return whether each sequence along an axis has a history of its own, whose rows follow each other."""
    outer = x.of_last.axes
    return (
        x.new == axis
        and x.of_head.axes == (*outer, x.old)
        and x.to.axes == (*outer, x.new)
        and x.to.count == x.of_head.count + x.of_last.count
    )


def _by_sequence(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    shape: torch.Size,
    asked: Tensor | None,
    known: Tensor,
    scale: float,
    where: str,
) -> Tensor | None:
    """Return the attention in C, or None if there are no kernels. asked, known: how many queries and keys
    each sequence has; one query each, if `asked` is None."""

    def heads(x: Tensor) -> Tensor:
        """Return the number of heads along the dimension: all, or 1 where they share one."""
        return _heads(x, x.shape[1:-1] if all(size == 1 for size in x.shape[1:-1]) else shape)

    given = _heads(query, shape), heads(key), None if value is None else heads(value)
    if asked is not None:
        found = native.attend_all(*given, asked, known, scale, where)
    else:
        found = native.attend(*given, known, scale) if where == "all" else None
    return None if found is None else found.reshape(len(query), *shape, found.shape[-1])


def _of_shared_keys(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Return the attention of heads that share their keys, query [n, q, heads, d], key [n, k, 1, d], value
    [n, k, heads or 1, e]: [n, q, heads, e]."""
    q, heads = query.shape[1:3]
    score = torch.bmm(query.flatten(1, 2) * scale, key.squeeze(2).mT)
    if mask is None:
        weight = score.softmax(-1)
    else:
        # In a sequence without keys every score is masked. They are not -inf, because softmax would give NaN.
        hidden = ~mask.squeeze(1)
        score = score.masked_fill(hidden, torch.finfo(score.dtype).min)
        weight = score.softmax(-1).masked_fill(hidden, 0)
    if value.shape[2] == 1:
        seen: Tensor = torch.bmm(weight, value.squeeze(2)).unflatten(1, (q, heads))
        return seen
    by_head: Tensor = weight.unflatten(1, (q, heads))
    return (by_head.transpose(1, 2) @ value.transpose(1, 2)).transpose(1, 2)


def _heads(x: Tensor, shape: torch.Size) -> Tensor:
    """Return x [rows, *heads, d] with one dimension of heads, [rows, head, d]."""
    x = x.expand(-1, *shape, -1)
    return x.flatten(1, -2) if shape else x.unsqueeze(1)


def _mask(where: str, queries: int, keys: int, lengths: Tensor, full: bool) -> Tensor | None:
    """Return True where a query may look, broadcast to [n, heads, queries, keys], or None for everywhere. If
    keys only up to a query's own position are seen, padding needs no mask, because it is at the end."""
    every = torch.ones(queries, keys, dtype=torch.bool, device=lengths.device)
    there = (torch.arange(keys, device=lengths.device) < lengths.unsqueeze(-1))[:, None, None, :]
    match where:
        case "until":
            return None
        case "before":
            return every.tril(-1)
        case "others":
            sight = every ^ torch.eye(queries, keys, dtype=torch.bool, device=lengths.device)
            return sight if full else there & sight
    return None if full else there
