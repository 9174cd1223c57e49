"""A compiled model held against the definition: in value, loss, attention and gradient.

Promises: `differences` names everything that differs by more than a tolerance, and changes nothing of the
model but, in training, its running statistics. The tolerance is relative to the largest number beside
which a number stands: of one prediction, one weight's gradient, one attention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from specc.interpret import examples_of, interpret_together, losses
from specc.interpret.values import Positions, Value
from specc.ir.graph import Graph
from specc_runtime.encode.labels import of_requests

if TYPE_CHECKING:
    from specc_runtime import Batch, Model
    from specc_runtime.model import Weights


@dataclass(frozen=True)
class Difference:
    """What differs ("gradient of items.weight"), and how: the numbers where it differs most."""

    what: str
    expected: float
    found: float

    def __str__(self) -> str:
        return f"{self.what} should be {self.expected!r} and is {self.found!r}"


@dataclass(frozen=True)
class Expected:
    """What the definition says of a batch: each example's predictions, the losses, each example's
    attentions, and the gradient of every parameter."""

    predictions: Mapping[str, Tensor]
    losses: Mapping[str, Tensor]
    attentions: Mapping[str, list[Value]]
    gradients: Mapping[str, Tensor]

    @staticmethod
    def of(graph: Graph, model: Model, batch: Batch) -> Expected:
        """Return what the definition expects for a batch, with a model's weights, in training or evaluation
        as the model is. graph: as elaborated, or after any pass."""
        known = dict(model.state_dict(keep_vars=True))
        trained = {path: w for path, w in known.items() if w.requires_grad}
        weights = {path: w.detach().clone().requires_grad_(path in trained) for path, w in known.items()}
        examples = examples_of(graph, batch)
        results = interpret_together(graph, weights, examples, model.training)
        predictions = {
            name: torch.stack([r.predictions[name] for r in results]) for name in graph.named if results
        }
        terms = {}
        if batch.candidates is None or graph.of_requests:
            terms = losses(graph, weights, examples, model.training, results=results)
        attentions = {a.path: [r.attention[a.path] for r in results] for a in graph.attentions}
        gradients = gradients_of(predictions, terms, {path: weights[path] for path in trained})
        return Expected(predictions, terms, attentions, gradients)


def differences(graph: Graph, model: Model, batch: Batch, tolerance: float = 1e-9) -> list[Difference]:
    """Return where a compiled model differs from the definition on a batch."""
    return unexpected(model, batch, Expected.of(graph, model, batch), tolerance)


def unexpected(model: Model, batch: Batch, expected: Expected, tolerance: float = 1e-9) -> list[Difference]:
    """Return where a model differs from what is expected.

    Losses and attention are per example, so they are not compared for a batch with several candidates a
    request, but for losses of a model that is trained on such batches; in them a request counts once, so that
    they have other batch statistics, too.
    """
    predictions = model(batch)
    found = list(_values("prediction", expected.predictions, predictions, tolerance))
    terms = {}
    if batch.candidates is None or of_requests(model.manifest):
        terms = model.losses(batch)
        found += _values("loss", expected.losses, terms, tolerance)
    if batch.candidates is None:
        found += _attention(model, batch, expected.attentions, tolerance)
    parameters = {path: w for path, w in model.state_dict(keep_vars=True).items() if w.requires_grad}
    gradients = gradients_of(predictions, terms, parameters)
    return found + list(_values("gradient of", expected.gradients, gradients, tolerance))


def _values(
    what: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor], tolerance: float
) -> Iterator[Difference]:
    for name in expected.keys() ^ found.keys():
        if name in expected or found[name].numel():  # of no examples nothing is expected
            yield Difference(f"{what} {name}, which only one of them has", math.nan, math.nan)
    for name in expected.keys() & found.keys():
        a, b = expected[name], found[name].to_dense()
        # A prediction of width 1 is a number for each example.
        yield from _compared(
            f"{what} {name}", a.reshape(b.shape) if a.numel() == b.numel() else a, b, tolerance
        )


def _attention(
    model: Model, batch: Batch, expected: Mapping[str, list[Value]], tolerance: float
) -> Iterator[Difference]:
    """Yield the differences of each row of each attention from the expected weights."""
    given = model.attention(batch)
    names = {entry["path"]: entry["axes"] for entry in model.manifest["attentions"]}
    if given.keys() != expected.keys():
        yield Difference(f"the attentions {list(given)}", math.nan, math.nan)
        return
    for path, weights in given.items():
        values = expected[path]
        count = sum(len(_rows(value)) for value in values)
        if count != len(weights.values):
            yield Difference(f"the number of rows of attention {path}", count, len(weights.values))
            continue
        rows = enumerate(weights.example.tolist())
        found = [_row(values[example], weights, row, names[path]) for row, example in rows]
        if found:
            yield from _compared(f"attention {path}", torch.stack(found), weights.values, tolerance)


def _rows(value: Value) -> set[Positions]:
    ragged = [i for i, a in enumerate(value.axes) if a.ragged]
    return {tuple(place[i] for i in ragged) for place in value.at}


def _row(value: Value, weights: Weights, row: int, names: list[str]) -> Tensor:
    """Return a value at the ragged positions of a row: [*static axes, width], its axes in the order of
    names."""
    place = {a: int(weights.positions[a.name][row]) for a in value.axes if a.ragged}
    static = sorted((a for a in value.axes if not a.ragged), key=lambda a: names.index(a.name))

    def nested(index: int) -> Tensor:
        if index == len(static):
            return value[place]
        parts = []
        for position in range(static[index].size or 0):
            place[static[index]] = position
            parts.append(nested(index + 1))
        return torch.stack(parts)

    return nested(0)


def gradients_of(
    predictions: Mapping[str, Tensor], losses: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the gradient of the sum of all losses and predictions, each multiplied by another factor, so
    that none cancel out."""
    total = torch.zeros((), dtype=torch.float64)
    for values in predictions.values():
        flat = values.reshape(-1).to(torch.float64)
        total = total + (flat * torch.cos(torch.arange(len(flat), dtype=torch.float64))).sum()
    for loss in losses.values():
        total = total + loss
    if not total.requires_grad:
        return {path: torch.zeros_like(w) for path, w in parameters.items()}
    found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def _compared(what: str, expected: Tensor, found: Tensor, tolerance: float) -> Iterator[Difference]:
    """Yield a difference if numbers are far apart, or one of them is NaN."""
    a, b = expected.detach().to(torch.float64), found.detach().to(torch.float64)
    if a.shape != b.shape:
        yield Difference(f"the shape of {what} ({tuple(b.shape)})", math.nan, math.nan)
        return
    if not a.numel():
        return
    apart = (a - b).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, apart)
    scale = max(1.0, float(a.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    if float(apart.max()) > tolerance * scale:
        worst = int(apart.argmax())
        yield Difference(what, float(a.reshape(-1)[worst]), float(b.reshape(-1)[worst]))
