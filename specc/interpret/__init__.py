"""The definition of the language: what a graph means, for one example.

Promises: no batch, no padding, no masks, no layout; every value is a table from positions to vectors of
channels, filled one position after another, in the order in which a reader would do it by hand. Slow and
obvious: compiled models are held against it in value, and by autograd in gradient.
What looks across examples, batch statistics, is evaluated for several examples side by side.

Leaves to others: soundness of the graph (ir/verify), speed (everything else).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from specc.interpret import axes, batches, layers, pointwise, recurrences, reductions, sources
from specc.interpret.examples import examples_of
from specc.interpret.meaning import ACROSS, MEANINGS, evaluate
from specc.interpret.sources import labelled
from specc.interpret.values import Example, Setting, Value, Weighted, dtype_of
from specc.ir.graph import ExtraLoss, Graph, Node, Prediction, Weight, readings
from specc.ir.inputs import labels_read
from specc.ops import op

__all__ = [
    "ACROSS",
    "MEANINGS",
    "Example",
    "Result",
    "Value",
    "axes",
    "batches",
    "examples_of",
    "interpret",
    "interpret_together",
    "layers",
    "losses",
    "pointwise",
    "recurrences",
    "reductions",
    "sources",
]


@dataclass(frozen=True)
class Result:
    """What a graph gives for one example.

    values: by node id, every value outside of regions. predictions: by name, the logit or value [1], or the
    logits [classes], and the vector of every other result. losses: by name, each extra loss, and each weight
    of a prediction's loss, a scalar. attention: by path, the weights of every `attention` block's instances.
    """

    values: Mapping[int, Value]
    predictions: Mapping[str, Tensor]
    losses: Mapping[str, Tensor]
    attention: Mapping[str, Value]


def interpret(
    graph: Graph, weights: Mapping[str, Tensor], example: Example, training: bool = False
) -> Result:
    """Return what a graph gives for one example, with weights by path."""
    return interpret_together(graph, weights, [example], training)[0]


def interpret_together(
    graph: Graph, weights: Mapping[str, Tensor], examples: Sequence[Example], training: bool = False
) -> list[Result]:
    """Return what a graph gives for each example of a batch. Only operations across the batch can tell that
    there are others."""
    settings = [
        Setting(example, weights, training, number, tuple(examples))
        for number, example in enumerate(examples)
    ]
    known = evaluate(graph.nodes, settings)
    return [
        Result(
            values,
            {name: values[node].only for name, node in graph.named.items()},
            {x.name: values[x.node].only.squeeze(0) for x in graph.losses},
            {a.path: values[a.weight] for a in graph.attentions},
        )
        for values in known
    ]


def losses(
    graph: Graph,
    weights: Mapping[str, Tensor],
    examples: Sequence[Example],
    training: bool = False,
    counts: Mapping[str, Tensor] | None = None,
    results: Sequence[Result] | None = None,
) -> dict[str, Tensor]:
    """Return the losses: for each prediction the mean over the examples that have its label (0 if none has),
    for each extra loss the mean over all examples, as scalars; "l2" is the sum of penalties, and only there
    if a trained weight has one.

    counts: by path, how often each row of a table occurs in the training data. results: what
    `interpret_together` gave for these examples, if it is known already.
    """
    if results is None:
        results = interpret_together(graph, weights, examples, training)
    found: dict[str, Tensor] = {}
    nothing = torch.zeros((), dtype=dtype_of(weights))
    for prediction in graph.predictions:
        weight, choice = graph.loss_weights.get(prediction.name), graph.choices.get(prediction.name)
        kept = [
            (r, e)
            for r, e in zip(results, examples, strict=True)
            if all(labelled(e.labels[name]) for name in _labels(graph, prediction.name, weight))
        ]
        if prediction.among == "request":
            each = _of_requests(prediction.name, weight, kept)
        else:
            each = [
                _each(prediction, choice, r, e) * (1.0 if weight is None else r.losses[weight.name])
                for r, e in kept
                if prediction.among != "batch" or float(e.labels[prediction.name]) > 0
            ]
        found[prediction.name] = _mean(each) if each else nothing
    for extra in graph.terms:
        read = _labels(graph, None, extra)
        each = [
            r.losses[extra.name]
            for r, e in zip(results, examples, strict=True)
            if all(labelled(e.labels[name]) for name in read)
        ]
        found[extra.name] = _mean(each) if each else nothing
    penalties = [
        w.l2 * _penalty(graph, w, weights[w.path], examples, counts or {})
        for w in graph.weights.values()
        if w.l2 and not w.frozen  # a frozen weight has no penalty
    ]
    if penalties:
        found["l2"] = torch.stack(penalties).sum()
    return found


def _each(prediction: Prediction, choice: ExtraLoss | None, result: Result, example: Example) -> Tensor:
    """Return the loss of one example that has the labels; of a choice times the label."""
    label = example.labels[prediction.name]
    if choice is None:
        return _loss(prediction, result.predictions[prediction.name], label)
    return result.losses[choice.name] * (float(label) if prediction.among == "batch" else 1)


def _of_requests(name: str, weight: ExtraLoss | None, kept: Sequence[tuple[Result, Example]]) -> list[Tensor]:
    """Return the losses of a choice among the candidates of each request in which some are chosen: the mean
    negative log softmax of the chosen ones, in proportion to their labels, each times its weight."""
    found = []
    for request in dict.fromkeys(e.request for _, e in kept):
        own = [(r, e) for r, e in kept if e.request == request]
        shares = [float(e.labels[name]) for _, e in own]
        if sum(shares) > 0:
            logs = torch.log_softmax(torch.cat([r.predictions[name] for r, _ in own]), 0)
            weights = [1.0 if weight is None else r.losses[weight.name] for r, _ in own]
            parts = [-y / sum(shares) * w * x for y, w, x in zip(shares, weights, logs, strict=True)]
            found.append(torch.stack(parts).sum())
    return found


def _mean(values: object) -> Tensor:
    return torch.stack(list(values)).mean()  # type: ignore[call-overload]


def _labels(graph: Graph, prediction: str | None, loss: ExtraLoss | None) -> set[str]:
    """Return the predictions whose labels an example must have: its own, and those that a loss or weight
    reads."""
    read = set() if loss is None else {n.attrs["prediction"] for n in labels_read(graph, loss.node)}
    return read if prediction is None else {prediction, *read}


def _loss(prediction: Prediction, value: Tensor, label: Tensor) -> Tensor:
    """Return the loss of one example's prediction."""
    match prediction.kind:
        case "binary":
            share = label.to(value.dtype)
            found = -prediction.positive * share * F.logsigmoid(value) - (1 - share) * F.logsigmoid(-value)
            return found.squeeze(0)
        case "real":
            return _distance(prediction.loss, value.squeeze(0) - label.to(value.dtype))
        case "class":
            return -torch.log_softmax(value, 0)[int(label)]
    raise AssertionError(prediction.kind)


def _distance(loss: tuple[Any, ...], error: Tensor) -> Tensor:
    """Return the loss of an error of a real prediction."""
    if loss[0] == "mae":
        return error.abs()
    if loss[0] == "huber" and abs(float(error.detach())) > loss[1]:
        return loss[1] * (error.abs() - loss[1] / 2)  # type: ignore[no-any-return]
    return error**2 / 2 if loss[0] == "huber" else error**2


def _penalty(
    graph: Graph, weight: Weight, tensor: Tensor, examples: Sequence[Example], counts: Mapping[str, Tensor]
) -> Tensor:
    """Return the penalty: the sum of a weight's squares. Of a table only rows that occur in the batch count,
    each once, and with `l2_by_frequency` each divided by its count in the training data (DIN, eq. 6; 1 if
    that is not known)."""
    if weight.kind != "table":
        return (tensor**2).sum()
    rows = sorted({row for node in graph.nodes for row in _rows(node, weight, examples)})
    squares = [(tensor[row] ** 2).sum() for row in rows]
    if weight.l2_by_frequency and weight.path in counts:
        squares = [s / max(int(counts[weight.path][r]), 1) for s, r in zip(squares, rows, strict=True)]
    return torch.stack(squares).sum() if squares else tensor.new_zeros(())


def _rows(node: Node, weight: Weight, examples: Sequence[Example]) -> set[int]:
    """Return the rows of a table that a node reads."""
    if node.op == op.ROWS and weight.path in node.weights:
        return set(range(weight.shape[0]))
    found: set[int] = set()
    for field in (r.field for r in readings(node) if r.table == weight.path):
        for example in examples:
            for held in example.fields[field].values():
                ids = held.ids if isinstance(held, Weighted) else held
                found.update(ids if isinstance(ids, tuple) else (int(ids),))
    return found
