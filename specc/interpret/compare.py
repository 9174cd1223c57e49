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

from specc.graph.ir import Graph
from specc.interpret import Result, examples_of, interpret_together, losses
from specc.interpret.values import Positions, Value

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


def differences(graph: Graph, model: Model, batch: Batch, tolerance: float = 1e-9) -> list[Difference]:
    """Where a compiled model disagrees with its graph about a batch.

    graph: as elaborated, or after any pass. The model is compared as it is, in training or evaluation.
    Losses and attention are of single examples, so they are not compared for a batch with candidates; nor
    has such a batch, in which a request counts once, the batch statistics of as many examples.
    """
    examples = examples_of(graph, batch)
    known = dict(model.state_dict(keep_vars=True))
    # Buffers change while the model is trained; parameters are the model's own, for the gradient.
    weights = {path: w if w.requires_grad else w.detach().clone() for path, w in known.items()}
    results = interpret_together(graph, weights, examples, model.training)
    found = list(_predictions(model(batch), results, tolerance))
    expected = _objective({p: torch.stack([r.predictions[p] for r in results]) for p in _names(results)})
    given = _objective(model(batch))
    if batch.candidates is None:
        wanted, actual = losses(graph, weights, examples, model.training), model.losses(batch)
        found += _losses(wanted, actual, tolerance)
        axes = {entry["path"]: entry["axes"] for entry in model.manifest["attentions"]}
        found += _attention(model.attention(batch), results, axes, tolerance)
        expected, given = expected + _total(wanted), given + _total(actual)
    parameters = {path: w for path, w in known.items() if w.requires_grad}
    return found + list(_gradients(expected, given, parameters, tolerance))


def _names(results: list[Result]) -> list[str]:
    return list(results[0].predictions) if results else []


def _predictions(
    given: Mapping[str, Tensor], results: list[Result], tolerance: float
) -> Iterator[Difference]:
    if results and list(given) != _names(results):
        yield Difference(f"the predictions {list(given)}", math.nan, math.nan)
    for name, values in given.items():
        wanted = [r.predictions[name] for r in results]
        expected = torch.stack(wanted) if wanted else values.new_zeros(0, *values.shape[1:])
        yield from _compared(f"prediction {name}", expected.reshape(values.shape), values, tolerance)


def _losses(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], tolerance: float
) -> Iterator[Difference]:
    if set(expected) != set(given):
        yield Difference(f"the losses {sorted(set(expected) ^ set(given))}", math.nan, math.nan)
    for name in expected.keys() & given.keys():
        yield from _compared(f"loss {name}", expected[name], given[name], tolerance)


def _attention(
    given: Mapping[str, Weights], results: list[Result], axes: Mapping[str, list[str]], tolerance: float
) -> Iterator[Difference]:
    """Every row of every attention against the weights at its place."""
    if results and given.keys() != results[0].attention.keys():
        yield Difference(f"the attentions {list(given)}", math.nan, math.nan)
        return
    for path, weights in given.items():
        places = [r.attention[path] for r in results]
        count = sum(len(_rows(value)) for value in places)
        if count != len(weights.values):
            yield Difference(f"the rows of attention {path}", count, len(weights.values))
            continue
        rows = enumerate(weights.example.tolist())
        expected = [_row(places[e], weights, row, axes[path]) for row, e in rows]
        if expected:
            yield from _compared(f"attention {path}", torch.stack(expected), weights.values, tolerance)


def _rows(value: Value) -> set[Positions]:
    ragged = [i for i, a in enumerate(value.axes) if a.ragged]
    return {tuple(place[i] for i in ragged) for place in value.at}


def _row(value: Value, weights: Weights, row: int, names: list[str]) -> Tensor:
    """A value at the ragged positions of a row: [*static axes, width], its axes in the order of names."""
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


def _objective(predictions: Mapping[str, Tensor]) -> Tensor:
    """All predictions in one number, each counting differently, so that gradients cannot cancel out."""
    total = torch.zeros((), dtype=torch.float64)
    for values in predictions.values():
        flat = values.reshape(-1)
        total = total + (flat * torch.cos(torch.arange(len(flat), dtype=flat.dtype))).sum()
    return total


def _total(parts: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([p.to(torch.float64) for p in parts.values()]).sum()


def _gradients(
    expected: Tensor, given: Tensor, parameters: Mapping[str, Tensor], tolerance: float
) -> Iterator[Difference]:
    wanted, found = (
        torch.autograd.grad(x, list(parameters.values()), allow_unused=True, materialize_grads=True)
        if x.requires_grad
        else [torch.zeros_like(w) for w in parameters.values()]
        for x in (expected, given)
    )
    for path, a, b in zip(parameters, wanted, found, strict=True):
        yield from _compared(f"gradient of {path}", a, b.to_dense(), tolerance)


def _compared(what: str, expected: Tensor, found: Tensor, tolerance: float) -> Iterator[Difference]:
    """Numbers that are far apart, or of which one is not a number."""
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
