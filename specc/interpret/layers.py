"""Layers: products with matrices, normalisation, and activations that have weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.interpret.axes import window
from specc.interpret.meaning import Inputs, means, means_across
from specc.interpret.values import Place, Positions, Setting, Value
from specc.ir.graph import Node
from specc.ops import op
from specc.ops.products import Product


@means(op.LINEAR)
def _linear(node: Node, inputs: Inputs, s: Setting) -> Value:
    """x W^T + b."""
    (x,) = inputs
    matrix, *bias = (s.weights[path] for path in node.weights)
    return s.value(node.type, lambda place: matrix @ x[place] + (bias[0] if bias else 0))


@means(op.PROJECT)
def _project(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Several products of x, side by side."""
    (x,) = inputs
    products: tuple[Product, ...] = node.attrs["products"]
    return s.value(node.type, lambda place: torch.cat([_product(p, x[place], s) for p in products]))


@means(op.CONVOLVE)
def _convolve(node: Node, inputs: Inputs, s: Setting) -> Value:
    """A product of what stands at some shifts from each position, side by side."""
    (x,), (product,) = inputs, node.attrs["products"]
    width = sum(block[0].stop - block[0].start for block in product.blocks) // len(node.attrs["shifts"])

    def convolved(place: Place) -> Tensor:
        seen = [window(x, node.attrs["axis"], shift, place, s, width) for shift in node.attrs["shifts"]]
        return _product(product, torch.cat(seen), s)

    return s.value(node.type, convolved)


def _product(product: Product, x: Tensor, s: Setting) -> Tensor:
    """Return the product: each run of x's channels times its columns of the matrix; a run is as wide as its
    columns."""
    matrix = s.weights[product.matrix]
    total = s.weights[product.bias] if product.bias else matrix.new_zeros(product.width)
    start = 0
    for block in product.blocks:
        stop = start + block[0].stop - block[0].start
        for columns in block:
            total = total + columns.coefficient * (matrix[:, columns.start : columns.stop] @ x[start:stop])
        start = stop
    assert start == len(x)
    return total


@means(op.PAIRED)
def _paired(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Products of a * b, and of a and b alone, side by side; or the sum of a * b over channels."""
    a, b = inputs
    products: tuple[Product, ...] | None = node.attrs["products"]

    def multiplied(place: Place) -> Tensor:
        both = a[place] * b[place]
        if products is None:
            return both.sum(0, keepdim=True)
        total = torch.cat([_product(p, both, s) for p in products])
        for x, own in zip(inputs, node.attrs["own"], strict=True):
            if own is not None:
                total = total + torch.cat([_product(p, x[place], s) for p in own])
        return total

    return s.value(node.type, multiplied)


@means(op.HEADS)
def _heads(node: Node, inputs: Inputs, s: Setting) -> Value:
    """At each position of the axis its rows of a matrix times x, or x times them."""
    (x,) = inputs
    axis, slabs = node.attrs["axis"], node.attrs["slabs"]

    def multiplied(place: Place) -> Tensor:
        slab = slabs[0 if axis is None else place[axis]]
        matrix = s.weights[slab.matrix][slab.start : slab.stop]
        return (matrix.T if node.attrs["transposed"] else matrix) @ x[place]

    return s.value(node.type, multiplied)


@means(op.NORM)
def _norm(node: Node, inputs: Inputs, s: Setting) -> Value:
    """Each vector to mean 0 and (biased) variance 1, then scale and shift."""
    (x,) = inputs
    scale, shift = (s.weights[path] for path in node.weights)

    def normal(place: Place) -> Tensor:
        centred = x[place] - x[place].mean()
        return centred / torch.sqrt((centred**2).mean() + node.attrs["eps"]) * scale + shift

    return s.value(node.type, normal)


@means(op.DROPOUT)
def _dropout(node: Node, inputs: Inputs, s: Setting) -> Value:
    """In training each channel is 0 with probability p, else scaled by 1 / (1 - p)."""
    (x,) = inputs
    return s.value(node.type, lambda place: F.dropout(x[place], node.attrs["p"], s.training))


@means(op.BERNOULLI)
def _bernoulli(node: Node, inputs: Inputs, s: Setting) -> Value:
    """In training 1 with the chance p, else 0; else p."""
    (p,) = inputs

    def drawn(place: Place) -> Tensor:
        chance = p[place]
        return (torch.rand_like(chance) < chance).to(chance) if s.training else chance

    return s.value(node.type, drawn)


@means(op.PRELU)
def _prelu(node: Node, inputs: Inputs, s: Setting) -> Value:
    """x where it is positive, else slope * x, a slope a channel."""
    (x,), slope = inputs, s.weights[node.weights[0]]
    return s.value(node.type, lambda place: torch.where(x[place] > 0, x[place], slope * x[place]))


@means_across(op.BATCH_NORM)
def _batch_norm(node: Node, inputs: list[Inputs], settings: list[Setting]) -> list[Value]:
    """Each channel to mean 0 and variance 1, then scale and shift, if it has them."""
    *affine, running_mean, running_variance = (settings[0].weights[path] for path in node.weights)
    normal = _normaliser(node, inputs, settings, running_mean, running_variance)
    if not affine:
        return [_each(x, normal) for (x,) in inputs]
    scale, shift = affine
    return [_each(x, lambda channels: normal(channels) * scale + shift) for (x,) in inputs]


@means_across(op.BATCH_NORM_BY)
def _batch_norm_by(node: Node, inputs: list[Inputs], settings: list[Setting]) -> list[Value]:
    """The same with what is of each vector's group: its number rounded down; what is beyond the first or the
    last group is of that one."""
    *affine, means, variances = (settings[0].weights[path] for path in node.weights)

    def group_of(place: Positions, x: Value, group: Value) -> int:
        number = group[dict(zip(x.axes, place, strict=True))].item()
        return int(min(max(number, 0), node.attrs["groups"] - 1))

    groups = [{place: group_of(place, x, group) for place in x.at} for x, group in inputs]
    found: list[dict[Positions, Tensor]] = [{} for _ in inputs]
    for number in range(node.attrs["groups"]):
        mine = [[place for place, own in each.items() if own == number] for each in groups]
        there = [
            (Value(x.axes, {p: x.at[p] for p in places}),)
            for (x, _), places in zip(inputs, mine, strict=True)
        ]
        normal = _normaliser(node, there, settings, means[number], variances[number])
        for result, (x,) in zip(found, there, strict=True):
            for place, channels in x.at.items():
                result[place] = normal(channels)
                if affine:
                    result[place] = result[place] * affine[0][number] + affine[1][number]
    return [Value(x.axes, {p: own[p] for p in x.at}) for (x, _), own in zip(inputs, found, strict=True)]


@means_across(op.DICE)
def _dice(node: Node, inputs: list[Inputs], settings: list[Setting]) -> list[Value]:
    """p x + (1 - p) slope x, p = sigmoid of the normalised x."""
    slope, running_mean, running_variance = (settings[0].weights[path] for path in node.weights)
    normal = _normaliser(node, inputs, settings, running_mean, running_variance)

    def gated(x: Tensor) -> Tensor:
        p = torch.sigmoid(normal(x))
        return p * x + (1 - p) * slope * x

    return [_each(x, gated) for (x,) in inputs]


def _each(x: Value, change: Callable[[Tensor], Tensor]) -> Value:
    return Value(x.axes, {place: change(channels) for place, channels in x.at.items()})


def _normaliser(
    node: Node, inputs: Sequence[Inputs], settings: list[Setting], mean: Tensor, variance: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the function (x - mean) / sqrt(variance + eps), for each channel.

    `running`: in training, with the mean and (biased) variance over all positions of all examples, if there
    are two or more of them; else with the stored ones. `batch`: those of the batch in evaluation too.
    `fixed`: always the stored ones. Inside of a scan there is no batch, because examples are at different
    positions or ended, so training there allows only `fixed`.
    """
    statistics, training = node.attrs["statistics"], settings[0].training
    vectors = [x for (value,) in inputs for x in value.at.values()]
    if statistics != "fixed" and (training or statistics == "batch"):
        assert not settings[0].here, f"{node.op} is trained inside of a scan"
        if len(vectors) > 1 or (vectors and not training):
            together = torch.stack(vectors)
            mean, variance = together.mean(0), together.var(0, correction=0)
    return lambda x: (x - mean) / torch.sqrt(variance + node.attrs["eps"])
