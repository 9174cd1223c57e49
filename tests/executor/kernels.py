"""What each kernel of a lowered program computes, row by row; some of them in `sources` and `views`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specc.interpret.values import Weighted
from specc.lower.kernels import LAYERS
from specc.lower.program import Kernel
from specc.ops import OPS
from specc.ops.definition import Along, Called
from specc.types.axis import Axis
from specc_runtime.model import Weights
from tests.executor import losses, meanings
from tests.executor.forms import FORMS, form
from tests.executor.places import Rows
from tests.executor.sources import empty
from tests.executor.views import append, flattened, later

if TYPE_CHECKING:
    from tests.executor.program import Execution

Options = Mapping[str, Any]


def compute(run: Execution, kernel: Kernel, args: Sequence[Any], options: Options) -> Any:
    """The value of a kernel, or the tuple of its values."""
    name, _, of = kernel.name.rpartition(".")
    if kernel.name in FORMS:
        return FORMS[kernel.name](run, *args, **options)
    if losses.is_loss(kernel.name):
        return losses.of_labels(kernel.name, *args, **options)
    if kernel.name in LAYERS:
        return meanings.layer(run.layer(args[0]), *args[1:], setting=run.setting)
    if of in OPS and name and isinstance(OPS[of].lowering, Along):
        return _along(run, kernel, name, of, args, options)
    if meanings.is_pointwise(kernel.name):
        return _pointwise(run, kernel, args)
    if isinstance(OPS[kernel.name].lowering, Called):
        found = meanings.aligned(kernel.name, [_real(run, a) for a in args], kernel.result.width, run.setting)
        return found != 0 if kernel.result.dtype == "mask" else found
    raise AssertionError(f"nobody has said what `{kernel.name}` computes")


def record(run: Execution, name: str, args: list[Any], options: Options) -> Any:
    """Arguments that belong together."""
    match name:
        case "sum":
            return sum(args[1:], start=args[0])
        case "in_training":
            return args[0] if run.setting.training else 0
        case "count":
            return len(args[0])
        case "heads" | "tails":
            return later(run, *args, by=int(name == "tails"))
        case "Ended":
            return append(run, *args, None)
        case "Projected":
            return (*args, *[None] * (5 - len(args)), options.get("in_steps"))
    return tuple(args)


def _real(run: Execution, x: Any) -> Tensor:
    """A value as numbers; keys are whole ones."""
    if not isinstance(x, Tensor):
        return torch.full((1, 1), float(x), dtype=run.setting.dtype)
    return x.to(run.setting.dtype) if x.dtype == torch.bool else x


def _pointwise(run: Execution, kernel: Kernel, args: Sequence[Any]) -> Tensor:
    count = len(OPS[kernel.name].inputs)
    inputs = [_real(run, a) for a in args[:count]]
    scalar = all(isinstance(a, Tensor) and a.dim() == 0 for a in args[:count])
    found = meanings.pointwise(kernel.name, inputs, args[count:], run.setting)
    found = found.reshape(()) if scalar else found
    return found != 0 if kernel.result.dtype == "mask" else found


FORMS |= {
    "unsqueeze": lambda run, x, *dims: _unsqueezed(x, dims),
    "squeeze": lambda run, x: x.squeeze(-1),
    "movedim": lambda run, x, old, new: x.movedim(old, new),
    "narrow": lambda run, x, dim, start, size: x.narrow(dim, start, size),
    "slice": lambda run, x, start, stop: x[..., start:stop],
    "unbind": lambda run, x, dim: list(x.unbind(dim)),
    "expand_as": lambda run, x, like: x.expand_as(like),
    "same": lambda run, x: x,
    "real": lambda run, x: x.to(run.setting.dtype),
    "nonzero": lambda run, x: x != 0,
    "transfer": lambda run, x, *device: x,
    "stop_gradient": lambda run, x: x.detach(),
    "cat": lambda run, parts: torch.cat(parts, -1),
    "split": lambda run, x, size, width, *to: _to_dim(x.unflatten(-1, (size, width)), to),
    "join": lambda run, x, *dim: (x.movedim(dim[0], -2) if dim else x).flatten(-2),
    "stack": lambda run, parts, dim: torch.stack(torch.broadcast_tensors(*parts), dim),
    "firsts": lambda run, x, dim: _members(x, dim, 0),
    "seconds": lambda run, x, dim: _members(x, dim, 1),
    "pairs": lambda run, x, dim: _members(x, dim, 0) * _members(x, dim, 1),
    "product_of": lambda run, x, matrix, *bias: x @ matrix.t() + (bias[0] if bias else 0),
    "add_product": lambda run, total, x, matrix: total + x @ matrix.t(),
    "matmul": lambda run, x, matrix: x @ matrix,
    "fan": lambda run, x, matrices, dim: torch.stack([x @ m for m in matrices], dim),
    "per_head": lambda run, x, matrices, dim: torch.stack(
        [part @ m for part, m in zip(x.unbind(dim), matrices, strict=True)], dim
    ),
    "mean_of_labelled": lambda run, x, others: losses.of_labelled(x, others),
    "square_sum": lambda run, factor, weight: factor * (weight**2).sum(),
}


@form("row_loss")
def _row_loss(
    run: Execution, x: Tensor, label: Tensor, weight: Tensor, counts: Tensor, bias: Tensor | None, first: int,
    sampled: int = 0,
) -> Tensor:  # fmt: skip
    logits = x @ weight.t() + (0 if bias is None else bias)
    known = counts > 0
    known[:first] = False
    own = torch.stack([row[int(y)] for row, y in zip(logits, label, strict=True)]) if len(x) else x.sum(1)
    return (logits[:, known].logsumexp(1) - own).unsqueeze(1)


@form("request_loss")
def _request_loss(
    run: Execution, scores: Tensor, labels: Sequence[Tensor], rows: Rows, weight: Tensor | None = None,
    others: Sequence[Sequence[Tensor]] = (),
) -> Tensor:  # fmt: skip
    requests = [run.layout.first[example] for example, _ in rows.places]
    return losses.of_requests(scores, labels, requests, weight, others)


@form("contract")
def _contract(run: Execution, a: Tensor, b: Tensor, *dims: int, channels: bool = False) -> Tensor:
    whole = a * b
    whole = whole.sum(dims) if dims else whole
    return whole.sum(-1, keepdim=True) if channels else whole


@form("dot_by_sequence")
def _dot_by_sequence(run: Execution, a: Tensor, b: Tensor, rows: Rows, of: Rows, axis: Axis) -> Tensor:
    return _contract(run, a, b[run.layout.index(of, rows)], channels=True)


@form("contract_rows")
def _contract_rows(
    run: Execution, a: Tensor, b: Tensor, rows: Rows, axis: Axis, *dims: int, channels: bool = False
) -> Tensor:
    whole = _contract(run, a, b, *dims, channels=channels)
    sums = [
        whole[sequence].sum(0)
        for sequence in run.layout.sequences(rows, axis, run.layout.without(rows, axis))
    ]
    return torch.stack(sums) if sums else whole[:0]


def _unsqueezed(x: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in dims:
        x = x.unsqueeze(dim)
    return x


def _to_dim(x: Tensor, to: Sequence[int]) -> Tensor:
    return x.movedim(-2, to[0]) if to else x


def _members(x: Tensor, dim: int, which: int) -> Tensor:
    pairs = [pair[which] for pair in itertools.combinations(range(x.shape[dim]), 2)]
    return x.index_select(dim, torch.tensor(pairs, dtype=torch.int64))


@form("concat")
def _concat(run: Execution, *parts: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
    return torch.cat([p.expand(*shape, p.shape[-1]) for p in parts], -1)


@form("bernoulli")
def _bernoulli(run: Execution, p: Tensor) -> Tensor:
    assert not run.model.training, "what is drawn cannot be compared"
    return p


@form("dropout")
def _dropout(run: Execution, x: Tensor, p: float) -> Tensor:
    assert not run.model.training, "what is drawn cannot be compared"
    return x


@form("product")
def _product(
    run: Execution, x: Tensor, matrix: Tensor, bias: Tensor | None, at: Tensor, plus: Tensor | None = None
) -> Tensor:
    return x[at] @ matrix.t() + (0 if bias is None else bias) + (0 if plus is None else plus)


@form("weights")
def _weights(run: Execution, value: Tensor, rows: Rows, axes: Sequence[Axis]) -> Weights:
    positions = {a.name: torch.tensor([p[a] for _, p in rows.places], dtype=torch.int64) for a in axes}
    return Weights(value, torch.tensor([e for e, _ in rows.places], dtype=torch.int64), positions)


@form("penalty", "penalty_by_frequency")
def _penalty(run: Execution, factor: float, path: str, *fields: list[Any]) -> Tensor:
    named = {i for held in fields for ids in held for i in _ids(ids)}
    weight = run.model.weights[f"{path}.weight"]
    return factor * (weight[sorted(named)] ** 2).sum()


@form("penalty_of_all", "penalty_of_all_by_frequency")
def _penalty_of_all(run: Execution, factor: float, path: str) -> Tensor:
    return factor * (run.model.weights[f"{path}.weight"] ** 2).sum()


def _ids(held: Any) -> tuple[int, ...]:
    return held.ids if isinstance(held, Weighted) else held if isinstance(held, tuple) else (int(held),)


# ------------------------------------------------------------------- reductions


def _along(
    run: Execution, kernel: Kernel, form: str, of: str, args: Sequence[Any], options: Options
) -> Tensor:
    x = _real(run, args[0])
    if form == "channels":
        return meanings.over_channels(of, x, kernel.result.width, options, run.setting)
    if form != "segment":
        dim, *mask = args[1:]
        moved = (
            [y.movedim(dim, 0) for y in torch.broadcast_tensors(x, *mask)] if mask else [x.movedim(dim, 0)]
        )
        found = _sequence(run, of, moved[0], moved[1][..., :1] if mask else None, options)
        return found.movedim(0, dim) if OPS[of].traits.keeps_axis else found
    rows, axis, *mask = args[1:]
    without = run.layout.without(rows, axis)
    if not OPS[of].traits.keeps_axis:
        each = [_sequence(run, of, x[s], mask[0][s] if mask else None, options)
                for s in run.layout.sequences(rows, axis, without)]  # fmt: skip
        return torch.stack(each) if each else x[:0]
    by_row: dict[int, Tensor] = {}
    for sequence in run.layout.sequences(rows, axis, without):
        found = _sequence(run, of, x[sequence], mask[0][sequence] if mask else None, options)
        by_row |= dict(zip(sequence, found, strict=True))
    return torch.stack([by_row[n] for n in range(len(x))]) if by_row else x


def _sequence(run: Execution, of: str, x: Tensor, mask: Tensor | None, options: Options) -> Tensor:
    """Of one sequence x [n, *dims, w]; the dimensions are by themselves."""
    flat = flattened(x)
    masks = None if mask is None else flattened(mask.expand(*x.shape[:-1], 1))
    each = [
        meanings.along(of, flat[:, d], None if masks is None else masks[:, d], options, run.setting)
        for d in range(flat.shape[1])
    ]
    if not each:
        return x if OPS[of].traits.keeps_axis else x.sum(0)
    found = torch.stack(each, -2)
    return found.reshape(x.shape if OPS[of].traits.keeps_axis else x.shape[1:])


@form("additive_score")
def _additive_score(
    run: Execution, layer: str, activation: str, a: Tensor, of_a: Rows, b: Tensor, of_b: Rows, rows: Rows
) -> Tensor:
    total = sum(x[run.layout.index(of, rows)] for x, of in ((a, of_a), (b, of_b)))
    return meanings.layer(run.layer(layer), getattr(torch, activation)(total), setting=run.setting)


@form("weighted_sum")
def _weighted_sum(
    run: Execution, weight: Tensor, x: Tensor, rows: Rows, axis: Axis, of: Rows | None = None
) -> Tensor:
    whole = weight * (x if of is None else x[run.layout.index(of, rows)])
    without = run.layout.without(rows, axis)
    each = [whole[sequence].sum(0) for sequence in run.layout.sequences(rows, axis, without)]
    return torch.stack(each) if each else whole[:0]


@form("paired")
def _paired(run: Execution, a: Any, b: Any, matrix: Tensor | None, bias: Tensor | None, rows: Rows) -> Tensor:
    found = []
    for x, of, *_ in (a, b):
        found.append(x[run.layout.index(of, rows)])
    both = found[0] * found[1]
    total = both.sum(-1, keepdim=True) if matrix is None else both @ matrix.t()
    for at, (_, _, *own) in zip(found, (a, b), strict=True):
        if own and own[0] is not None:
            total = total + at @ own[0].t()
    return total if bias is None else total + bias


_SEEN: dict[str, Callable[[int, int], bool]] = {
    "all": lambda key, query: True,
    "until": lambda key, query: key <= query,
    "before": lambda key, query: key < query,
    "others": lambda key, query: key != query,
}


@form("attend")
def _attend(
    run: Execution, query: Tensor, key: Tensor, value: Tensor | None, asked: Rows, known: Rows,
    query_axis: Axis | None, key_axis: Axis, scale: float, where: str = "all", **choice: Any,
) -> Tensor:  # fmt: skip
    given = key if value is None else value
    shape = torch.broadcast_shapes(query.shape[1:-1], key.shape[1:-1], given.shape[1:-1])
    found = []
    for n, place in enumerate(asked.places):
        own = -1 if query_axis is None else place[1][query_axis]
        seen = [p for p in range(run.layout.length(key_axis, place)) if _SEEN[where](p, own)]
        rows = [run.layout.row_of(known, place, {key_axis: p}) for p in seen]
        if not rows:
            found.append(given.new_zeros(*shape, given.shape[-1]))
            continue
        weight = torch.softmax((query[n] * key[rows]).sum(-1) * scale, 0)
        found.append((weight.unsqueeze(-1) * given[rows]).sum(0).expand(*shape, -1))
    return torch.stack(found) if found else empty(run, *shape, given.shape[-1])
