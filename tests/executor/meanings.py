"""What an operation means, of whole tensors: `specc.interpret` asked place by place.

So the executor knows no operation by itself, and those of other packages run in it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from specc.interpret.meaning import ACROSS, evaluate
from specc.interpret.values import Setting, Value
from specc.ir.graph import Node
from specc.ops import OPS
from specc.ops.definition import Pointwise
from specc.source import Source, Span
from specc.types.axis import Axis, Type

_SPAN = Span(Source("executor.arec", ""), 0, 0)


def _asked(node: Node, inputs: Sequence[Value], setting: Setting) -> Value:
    """The value of a node whose inputs are known."""
    captures = [
        Node(n, "capture", (), Type(x.axes, len(next(iter(x.at.values())))), _SPAN, {"index": n})
        for n, x in enumerate(inputs)
    ]
    inside = setting.inside({}, tuple(inputs), ())
    return evaluate((*captures, node), [inside])[0][node.id]


def _node(
    name: str, inputs: int, type_: Type, attrs: Mapping[str, Any], weights: tuple[str, ...] = ()
) -> Node:
    return Node(-1, name, tuple(range(inputs)), type_, _SPAN, attrs, weights)


def _only(x: Tensor) -> Value:
    return Value((), {(): x})


def is_pointwise(name: str) -> bool:
    return name in OPS and isinstance(OPS[name].lowering, Pointwise)


def pointwise(name: str, inputs: Sequence[Tensor], attrs: Sequence[Any], setting: Setting) -> Tensor:
    """Every number by itself; the inputs broadcast."""
    known = dict(zip(OPS[name].attrs, attrs, strict=True))
    whole = torch.broadcast_tensors(*inputs)
    flat = [x.reshape(-1) for x in whole]
    if not whole[0].numel():
        return sum(whole[1:], start=whole[0]) * 1.0
    found = _asked(_node(name, len(flat), Type((), len(flat[0])), known), [_only(x) for x in flat], setting)
    return found.only.reshape(whole[0].shape)


def aligned(name: str, inputs: Sequence[Tensor], width: int, setting: Setting) -> Tensor:
    """A function of the inputs' channels at one place."""
    shape = torch.broadcast_shapes(*(x.shape[:-1] for x in inputs))
    given = [x.expand(*shape, -1).reshape(-1, x.shape[-1]) for x in inputs]
    node = _node(name, len(given), Type((), width), {})
    found = [_asked(node, [_only(x[n]) for x in given], setting).only for n in range(len(given[0]))]
    return torch.stack(found).reshape(*shape, width) if found else _nothing(given, (*shape, width))


def over_channels(name: str, x: Tensor, width: int, attrs: Mapping[str, Any], setting: Setting) -> Tensor:
    node = _node(name, 1, Type((), width), {**attrs, "axis": None})
    found = [_asked(node, [_only(row)], setting).only for row in x.reshape(-1, x.shape[-1])]
    return (
        torch.stack(found).reshape(*x.shape[:-1], width) if found else _nothing([x], (*x.shape[:-1], width))
    )


def along(name: str, x: Tensor, mask: Tensor | None, attrs: Mapping[str, Any], setting: Setting) -> Tensor:
    """One sequence x [n, w], of whose positions those count that a mask [n, 1] has: [w], or [n, w]."""
    axis = Axis(("static", "along", len(x), ""), "along", len(x), len(x))
    keeps = OPS[name].traits.keeps_axis
    node = _node(
        name, 1 + (mask is not None), Type((axis,) if keeps else (), x.shape[1]), {**attrs, "axis": axis}
    )
    given = [x] if mask is None else [x, mask.to(x.dtype)]
    if not len(x):
        return x if keeps else x.sum(0)
    values = [Value((axis,), {(n,): row for n, row in enumerate(rows)}) for rows in given]
    found = _asked(node, values, setting)
    return torch.stack([found.at[n,] for n in range(len(x))]) if keeps else found.only


def layer(node: Node, x: Tensor, *others: Tensor, setting: Setting) -> Tensor:
    """A layer of rows x [..., w], each one an example where it looks at all of them. others: what else it is
    given, [..., n]."""
    given = [x, *(other.expand(*x.shape[:-1], -1) for other in others)]
    rows = [tuple(map(_only, row)) for row in zip(*(y.reshape(-1, y.shape[-1]) for y in given), strict=True)]
    if not rows:
        return _nothing([x], (*x.shape[:-1], node.type.width))
    one = _node(node.op, len(given), Type((), node.type.width), node.attrs, node.weights)
    if node.op in ACROSS:
        found = ACROSS[node.op](one, rows, [setting] * len(rows))
    else:
        found = [_asked(one, [*row], setting) for row in rows]
    return torch.stack([value.only for value in found]).reshape(*x.shape[:-1], node.type.width)


def _nothing(inputs: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """No rows, of which the inputs have no gradient."""
    return inputs[0].new_zeros(shape)
