"""What each kernel of a lowered program computes, row by row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specc.interpret.sources import NO_KEY, labelled
from specc.interpret.values import Weighted
from specc.lower.kernels import LAYERS
from specc.lower.program import Kernel
from specc.ops import OPS
from specc.ops.definition import Along, Called
from specc.types import kinds
from specc.types.axis import Axis
from specc_runtime.model import Weights
from tests.executor import losses, meanings, reading
from tests.executor.places import Rows

if TYPE_CHECKING:
    from tests.executor.program import Execution

Options = Mapping[str, Any]
_FORMS: dict[str, Callable[..., Any]] = dict(reading.FORMS)


def compute(run: Execution, kernel: Kernel, args: Sequence[Any], options: Options) -> Any:
    """The value of a kernel, or the tuple of its values."""
    name, _, of = kernel.name.rpartition(".")
    if kernel.name in _FORMS:
        return _FORMS[kernel.name](run, *args, **options)
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
            return _later(run, *args, by=int(name == "tails"))
        case "Ended":
            return _append(run, *args, None)
        case "Projected":
            return (*args, *[None] * (5 - len(args)), options.get("in_steps"))
    return tuple(args)


def form(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter what kernels compute."""

    def enter(computed: Callable[..., Any]) -> Callable[..., Any]:
        _FORMS.update(dict.fromkeys(names, computed))
        return computed

    return enter


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


# ------------------------------------------------------------------- sources


@form("input")
def _input(run: Execution, held: list[Any]) -> Tensor:
    return torch.stack([x.reshape(-1).to(run.setting.dtype) for x in held]) if held else empty(run, 1)


@form("keys")
def _keys(run: Execution, held: list[Any]) -> Tensor:
    return torch.stack([x.reshape(1) for x in held]) if held else torch.zeros(0, 1, dtype=torch.int64)


@form("same_key")
def _same_key(run: Execution, a: Tensor, b: Tensor) -> Tensor:
    return (a == b) & (a != NO_KEY)


@form("embed")
def _embed(run: Execution, table: Tensor, held: list[int]) -> Tensor:
    return _looked_up(run, [[table, held]])


@form("embed_bag")
def _embed_bag(run: Execution, table: Tensor, held: list[Any], mode: str) -> Tensor:
    return _looked_up(run, [[table, held, mode]])


@form("lookup")
def _lookup(run: Execution, *values: Any) -> tuple[Tensor, ...]:
    return tuple(_looked_up(run, parts) for parts in values)


def _looked_up(run: Execution, parts: Sequence[Any]) -> Tensor:
    found = []
    for table, held, *mode in parts:
        rows = [_bag(table, ids, mode[0]) if mode else table[ids] for ids in held]
        found.append(torch.stack(rows) if rows else table[:0])
    return torch.cat(found, 1)


def _bag(table: Tensor, held: Any, mode: str) -> Tensor:
    ids = list(held.ids if isinstance(held, Weighted) else held)
    rows = table[ids]
    if isinstance(held, Weighted):
        rows = rows * torch.tensor(held.weights, dtype=table.dtype).unsqueeze(1)
    if not ids:
        return table.new_zeros(table.shape[1])
    return rows.amax(0) if mode == "max" else rows.mean(0) if mode == "mean" else rows.sum(0)


@form("whole")
def _whole(run: Execution, weight: Tensor) -> Tensor:
    return weight.unsqueeze(0)


@form("learned")
def _learned(run: Execution, weight: Tensor, *turned: int) -> Tensor:
    return (weight.permute(turned) if turned else weight).unsqueeze(0)


@form("along")
def _by_position(run: Execution, weight: Tensor, *given: Any) -> Tensor:
    turned = [g for g in given if not isinstance(g, Tensor)]
    positions = [g for g in given if isinstance(g, Tensor)]
    return (weight.permute(turned) if turned else weight)[tuple(positions)]


@form("constant")
def _constant(run: Execution, value: float, *device: str) -> Tensor:
    return torch.full((1, 1), value, dtype=run.setting.dtype)


@form("label")
def _label(run: Execution, labels: list[Tensor]) -> Tensor:
    return torch.tensor([[float(x) if labelled(x) else 0.0] for x in labels], dtype=run.setting.dtype)


@form("log_frequency")
def _log_frequency(run: Execution, counts: Tensor, held: list[int]) -> Tensor:
    counts = counts.clamp(min=1)
    return (counts[held] / counts.sum()).log().unsqueeze(1)


@form("positions")
def _positions(run: Execution, size: int, *device: str) -> Tensor:
    return torch.arange(size, dtype=run.setting.dtype).reshape(1, size, 1)


@form("numbers")
def _numbers(run: Execution, values: Tensor) -> Tensor:
    return values.to(run.setting.dtype).unsqueeze(1)


@form("zeros")
def _zeros(run: Execution, rows: Rows, *sizes: int) -> Tensor:
    return torch.zeros(len(rows), *sizes, dtype=run.setting.dtype)


@form("across")
def _across(run: Execution, x: Tensor, dim: int) -> Tensor:
    return x.movedim(0, dim - 1).unsqueeze(0)


@form("across_each")
def _across_each(
    run: Execution, x: Tensor, of: Rows, to: Rows, old: Sequence[Axis], new: Sequence[Axis]
) -> Tensor:
    pairs = list(zip(old, new, strict=True))

    def row(positions: Mapping[Axis, int]) -> int:
        (example,) = (p for axis, p in positions.items() if axis.kind == "batch")
        return of.number(example, {a: positions[b] for a, b in pairs})

    return x[[row(positions) for _, positions in to.places]]


@form("from_rows")
def _from_rows(run: Execution, x: Tensor, of: Rows, to: Rows, axis: Axis, dim: int) -> Tensor:
    examples = range(len(run.layout.examples))
    rows = [[run.layout.row_of(of, place, {axis: n}) for n in examples] for place in to.places]
    index = torch.tensor(rows, dtype=torch.int64).reshape(len(to.places), len(examples))
    return x[index.flatten()].unflatten(0, index.shape).movedim(1, dim)


@form("own")
def _own(run: Execution, rows: Rows) -> Tensor:
    return torch.eye(len(rows), dtype=torch.bool).unsqueeze(-1)


@form("predicted")
def _predicted(run: Execution, name: str) -> Tensor:
    return run.predicted[name]


def empty(run: Execution, *shape: int) -> Tensor:
    return torch.zeros(0, *shape, dtype=run.setting.dtype)


# --------------------------------------------------------------- rows and views


@form("expand")
def _expand(run: Execution, x: Tensor, of: Rows, to: Rows) -> Tensor:
    return x[run.layout.index(of, to)]


@form("repeat")
def _repeat(run: Execution, x: Tensor, rows: Rows) -> Tensor:
    return x.expand(len(rows), *x.shape[1:])


@form("rename", "head")
def _head(run: Execution, x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    return x[_later(run, of, to, old, new)]


@form("tail")
def _tail(run: Execution, x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    return x[_later(run, of, to, old, new, by=1)]


def _later(run: Execution, of: Rows, to: Rows, old: Axis, new: Axis, by: int = 0) -> Tensor:
    return _from(run, of, to, old, lambda place: place[new] + by)


@form("chunk")
def _chunk(run: Execution, x: Tensor, of: Rows, to: Rows, old: Axis, part: Axis) -> Tensor:
    return x[_from(run, of, to, old, lambda place: kinds.position(part, place))]


def _from(
    run: Execution, of: Rows, to: Rows, old: Axis, position: Callable[[dict[Axis, int]], int]
) -> Tensor:
    """The row of each place at a position along the old axis; what lives in it comes along."""
    carried = kinds.carried(to.axes, of.axes)
    rows = []
    for place in to.places:
        within = {before: place[1][axis] for axis, before in carried.items()}
        rows.append(run.layout.row_of(of, place, {old: position(place[1]), **within}))
    return torch.tensor(rows, dtype=torch.int64)


@form("ranked")
def _ranked(run: Execution, score: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    found = []
    for place in to.places:
        along = range(run.layout.length(old, place))
        scores = [score[run.layout.row_of(of, place, {old: p})].item() for p in along]
        found.append([sorted(along, key=lambda p: -scores[p])[place[1][new]]])
    places = torch.tensor(found, dtype=torch.int64).reshape(len(to), 1)
    run.layout.rank(new, to, places)
    return places


@form("picked")
def _picked(run: Execution, x: Tensor, of: Rows, to: Rows, old: Axis, new: Axis) -> Tensor:
    carried = kinds.carried(to.axes, of.axes)
    rows = []
    for place in to.places:
        within = {before: place[1][axis] for axis, before in carried.items()}
        there = run.layout.settings[place[0]].stands(new, place[1])
        rows.append(run.layout.row_of(of, place, {old: there, **within}))
    return x[torch.tensor(rows, dtype=torch.int64)]


@form("unchunk")
def _unchunk(run: Execution, x: Tensor, of: Rows, to: Rows, part: Axis, axis: Axis) -> Tensor:
    carried = kinds.carried(of.axes, to.axes)
    rows = []
    for place in to.places:
        chunk, position = divmod(place[1][axis], part.number)
        within = {old: place[1][new] for old, new in carried.items()}
        assert part.parent is not None
        rows.append(run.layout.row_of(of, place, {part.parent: chunk, part: position, **within}))
    return x[torch.tensor(rows, dtype=torch.int64)]


@form("append")
def _append(
    run: Execution,
    x: Tensor,
    y: Tensor,
    of_x: Rows,
    of_y: Rows,
    to: Rows,
    old: Axis,
    new: Axis,
    second: Axis | None,
) -> Tensor:
    shape = torch.broadcast_shapes(x.shape[1:], y.shape[1:])
    rows = []
    for place in to.places:
        position, length = place[1][new], run.layout.length(old, place)
        if position < length:
            rows.append(x[run.layout.row_of(of_x, place, {old: position})].expand(shape))
        else:
            instead = {second: position - length} if second is not None else {}
            rows.append(y[run.layout.row_of(of_y, place, instead)].expand(shape))
    return torch.stack(rows) if rows else empty(run, *shape)


@form("unroll")
def _unroll(run: Execution, x: Tensor, of: Rows, to: Rows, axis: Axis, dim: int) -> Tensor:
    rows = [x[run.layout.row_of(of, place)].select(dim - 1, place[1][axis]) for place in to.places]
    return torch.stack(rows) if rows else x.select(dim, 0)[:0]


@form("flatten")
def _flatten(run: Execution, x: Tensor, of: Rows, to: Rows, axis: Axis) -> Tensor:
    rows = []
    for sequence in run.layout.sequences(of, axis, to):
        zeros = [x.new_zeros(x.shape[1:])] * (axis.bound - len(sequence))
        rows.append(torch.cat([*(x[row] for row in sequence), *zeros], -1))
    return torch.stack(rows) if rows else empty(run, *x.shape[1:-1], axis.bound * x.shape[-1])


@form("top")
def _top(
    run: Execution,
    x: Tensor,
    score: Tensor,
    of: Rows,
    to: Rows,
    old: Axis,
    new: Axis,
    own: Rows | None = None,
) -> Tensor:
    x = x if own is None else x[run.layout.index(own, of)]
    score, flat = _flat(score.detach().expand(*x.shape[:-1], 1)).squeeze(-1), _flat(x)
    rows = []
    for place in to.places:
        positions = range(run.layout.length(old, place))
        inside = [run.layout.row_of(of, place, {old: p}) for p in positions]
        best = [
            sorted(inside, key=lambda row, d=d: -float(score[row, d]))[place[1][new]]
            for d in range(flat.shape[1])
        ]
        rows.append(torch.stack([flat[row, d] for d, row in enumerate(best)]).reshape(x.shape[1:]))
    return torch.stack(rows) if rows else x[:0]


@form("dense.top")
def _dense_top(run: Execution, x: Tensor, score: Tensor, dim: int, k: int) -> Tensor:
    order = torch.argsort(-score.detach(), dim=dim, stable=True)
    return torch.take_along_dim(x, order.narrow(dim, 0, k), dim)


@form("dense.append")
def _dense_append(run: Execution, x: Tensor, y: Tensor, dim: int) -> Tensor:
    a, b = x.movedim(dim, 0), y.movedim(dim, 0)
    shape = torch.broadcast_shapes(a.shape[1:], b.shape[1:])
    return torch.cat([a.expand(-1, *shape), b.expand(-1, *shape)]).movedim(0, dim)


_FORMS |= {
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
    flat = _flat(x)
    masks = None if mask is None else _flat(mask.expand(*x.shape[:-1], 1))
    each = [
        meanings.along(of, flat[:, d], None if masks is None else masks[:, d], options, run.setting)
        for d in range(flat.shape[1])
    ]
    if not each:
        return x if OPS[of].traits.keeps_axis else x.sum(0)
    found = torch.stack(each, -2)
    return found.reshape(x.shape if OPS[of].traits.keeps_axis else x.shape[1:])


def _flat(x: Tensor) -> Tensor:
    """[n, *dims, w] as [n, d, w]."""
    return x.unsqueeze(1) if x.dim() == 2 else x.flatten(1, -2)


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
