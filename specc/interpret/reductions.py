"""Reductions and softmax, over an axis or over channels, and attention, which is made of them.

Over an axis: of the positions that exist those count at which the second input, if there is one, is
not 0. It may bring in axes of its own. Over nothing every reduction is 0 and has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from specc.interpret.meaning import Inputs, means
from specc.interpret.values import Place, Setting, Value
from specc.ir.graph import Node
from specc.ops import op
from specc.types.axis import Axis


def _counted(inputs: Inputs, axis: Axis, place: Place, s: Setting) -> list[int]:
    """Return the positions of the axis that count at a place."""
    positions = range(s.length(axis, place))
    if len(inputs) == 1:
        return list(positions)
    where = inputs[1]
    return [p for p in positions if where[{**place, axis: p}].item() != 0]


def _reduction(name: str, reduce: Callable[[Tensor], Tensor]) -> None:
    """Enter a reduction by what it makes of [n, ...] with n > 0."""

    @means(name)
    def meaning(node: Node, inputs: Inputs, s: Setting) -> Value:
        x, axis = inputs[0], node.attrs["axis"]

        def reduced(place: Place) -> Tensor:
            if axis is None:
                return reduce(x[place]).unsqueeze(0)
            found = [x[{**place, axis: p}] for p in _counted(inputs, axis, place, s)]
            return reduce(torch.stack(found)) if found else s.number(0).expand(node.type.width)

        return s.value(node.type, reduced)


_reduction(op.SUM, lambda x: x.sum(0))
_reduction(op.MEAN, lambda x: x.mean(0))
# The gradient of the largest (smallest) is shared equally among equals.
_reduction(op.MAX, lambda x: x.amax(0))
_reduction(op.MIN, lambda x: x.amin(0))
_reduction(op.LAST, lambda x: x[-1])
_reduction(op.LOGSUMEXP, lambda x: x.logsumexp(0))
_reduction(op.FIRST, lambda x: x[0])


@means(op.SOFTMAX)
def _softmax(node: Node, inputs: Inputs, s: Setting) -> Value:
    """exp(x) / sum exp(x) over the positions that count, 0 at those that do not."""
    return _shares(torch.softmax, node, inputs, s)


@means(op.LOG_SOFTMAX)
def _log_softmax(node: Node, inputs: Inputs, s: Setting) -> Value:
    """x minus the logarithm of the sum of exp(x) over the positions that count, 0 at those that do not."""
    return _shares(torch.log_softmax, node, inputs, s)


def _shares(function: Callable[[Tensor, int], Tensor], node: Node, inputs: Inputs, s: Setting) -> Value:
    """Return a function of all positions that count, which gives one value for each; 0 at
    those that do not."""
    x, axis = inputs[0], node.attrs["axis"]

    def share(place: Place) -> Tensor:
        if axis is None:
            return function(x[place], 0)
        counted = _counted(inputs, axis, place, s)
        if place[axis] not in counted:
            return s.number(0).expand(node.type.width)
        found = function(torch.stack([x[{**place, axis: p}] for p in counted]), 0)
        return found[counted.index(place[axis])]

    return s.value(node.type, share)


@means(op.CUMSUM)
def _cumsum(node: Node, inputs: Inputs, s: Setting) -> Value:
    """The sum of the positions that count up to each."""
    x, axis = inputs[0], node.attrs["axis"]

    def total(place: Place) -> Tensor:
        if axis is None:
            return x[place].cumsum(0)
        found = [x[{**place, axis: p}] for p in _counted(inputs, axis, place, s) if p <= place[axis]]
        return torch.stack(found).sum(0) if found else s.number(0).expand(node.type.width)

    return s.value(node.type, total)


@means(op.WEIGHTED_SUM)
def _weighted_sum(node: Node, inputs: Inputs, s: Setting) -> Value:
    weight, x = inputs
    axis = node.attrs["axis"]

    def total(place: Place) -> Tensor:
        places = [{**place, axis: p} for p in range(s.length(axis, place))]
        return sum((weight[p] * x[p] for p in places), start=s.number(0).expand(node.type.width))

    return s.value(node.type, total)


@means(op.CONTRACT)
def _contract(node: Node, inputs: Inputs, s: Setting) -> Value:
    (a, b), over, channels = inputs, node.attrs["over"], node.attrs["channels"]

    def total(place: Place) -> Tensor:
        products = [a[p] * b[p] for p in s.along(over, place)]
        if not products:
            return s.number(0).expand(node.type.width)
        whole = torch.stack(products).sum(0)
        return whole.sum(0, keepdim=True) if channels else whole

    return s.value(node.type, total)


_SEEN: dict[str, Callable[[int, int], bool]] = {
    "all": lambda key, query: True,
    "until": lambda key, query: key <= query,
    "before": lambda key, query: key < query,
    "others": lambda key, query: key != query,
}


@means(op.ATTENTION)
def _attention(node: Node, inputs: Inputs, s: Setting) -> Value:
    """sum(softmax(scale * dot(query, key), over s) * value, over s), s running over the keys seen. A query
    without an axis of its own (query_axis None) sees all."""
    query, key, value = inputs
    query_axis, key_axis = node.attrs["query_axis"], node.attrs["key_axis"]
    seen = _SEEN[node.attrs["where"]]  # without an axis of the query's, all are seen

    def attended(place: Place) -> Tensor:
        keys = [p for p in range(s.length(key_axis, place)) if seen(p, place.get(query_axis, 0))]
        if not keys:
            return s.number(0).expand(node.type.width)
        places = [{**place, key_axis: p} for p in keys]
        scores = torch.stack([(query[place] * key[p]).sum() for p in places]) * node.attrs["scale"]
        return (torch.softmax(scores, 0).unsqueeze(1) * torch.stack([value[p] for p in places])).sum(0)

    return s.value(node.type, attended)
