"""Find the first value that is not finite: in what a model reads, computes, or learns from.

Promises: a batch is run once more, slowly, and each named value of the compiled model is checked as soon
as it is computed; the message has its name, its line of the spec, and how many of its numbers are not
finite. Infinities on the way that end in finite numbers (masks before a softmax) are not reported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch
from specc_runtime.cite import place_of
from specc_runtime.devices import transfer
from specc_runtime.model import Model
from specc_runtime.ops.handed import held_for, in_grads


class NotFinite(RuntimeError):
    """A prediction, loss or gradient that is NaN or infinite. The message says where it arose."""


@dataclass(frozen=True, eq=False)
class Named:
    """A value that a compiled method computed. place: "din.arec:25", or "" where that is unknown."""

    name: str
    place: str
    tensor: Tensor


def where_forward(model: Model, batch: Batch) -> list[str]:
    """Lines that say where a batch's predictions stop being finite."""
    with torch.no_grad():
        return _given(model, batch) or _computed(_watched(model, batch, model.forward)[0])


def where_loss(model: Model, batch: Batch) -> list[str]:
    """Lines that say where a batch's losses, or the gradients of their sum, stop being finite."""
    found = _given(model, batch) or _labelled(batch)
    if found:
        return found
    with in_grads():
        values, losses = _watched(model, batch, model.losses)
        return _computed(values) or _lost(losses) or _learnt(model, values, losses)


def broken_weights(model: Model) -> list[str]:
    """The paths of weights with a number that is not finite."""
    return [path for path, weight in model.state_dict().items() if not _finite(weight)]


def broken_gradients(model: Model) -> list[str]:
    """The paths of weights whose gradient has a number that is not finite."""
    gradients = ((path, weight.grad) for path, weight in model.named_parameters())
    return [path for path, gradient in gradients if gradient is not None and not _finite(gradient)]


def largest_gradient(model: Model) -> Tensor | None:
    """The largest absolute value in a gradient, a scalar on one of the devices; NaN or infinite if one is.
    None without gradients. The host does not wait for it."""
    largest: dict[torch.device, list[Tensor]] = {}
    weights = list(model.parameters())
    held = held_for(weights)
    grads = [weight.grad for weight in weights if weight.grad is not None]
    for values in (*(g._values() if g.is_sparse else g for g in grads), *held):
        if values.numel():
            largest.setdefault(values.device, []).append(torch.linalg.vector_norm(values, float("inf")))
    by_device = [torch.stack(found).amax() for found in largest.values()]
    if not by_device:
        return None
    return torch.stack([transfer(x, by_device[0].device) for x in by_device]).amax()


# ------------------------------------------------------------------ what is looked at


def _given(model: Model, batch: Batch) -> list[str]:
    """Check what the model is given: its weights, and the numbers of the batch."""
    weights = model.state_dict()
    found = [f"the weight {path} is not finite: {_how_many(weights[path])}" for path in broken_weights(model)]
    for path, values in batch.fields.items():
        if not isinstance(values, Bag) and not _finite(values):
            first = int((~torch.isfinite(values)).reshape(len(values), -1).any(1).nonzero()[0]) + 1
            found.append(
                f"the data are not finite: {path} has {_how_many(values)}, first in row {first} of the batch"
            )
    return found[:5]


def _labelled(batch: Batch) -> list[str]:
    # A label that is not there is NaN; infinite ones are nowhere right.
    return [
        f"the data are not finite: the label of {name} has {_how_many(values)}"
        for name, values in batch.labels.items()
        if values.is_floating_point() and bool(torch.isinf(values).any())
    ]


def _computed(values: list[Named]) -> list[str]:
    """Return the first value with a NaN, else the first infinite one; "" if every value is finite."""
    bad = [v for v in values if not _finite(v.tensor)]
    if not bad:
        return []
    first = next((v for v in bad if bool(torch.isnan(v.tensor).any())), bad[0])
    lines = [f"the first value that is not finite is {_cited(first)}: {_how_many(first.tensor)}"]
    if bad[0] is not first:
        lines.append(f"before it, {_cited(bad[0])} has {_how_many(bad[0].tensor)}")
    return lines


def _lost(losses: Mapping[str, Tensor]) -> list[str]:
    bad = [
        f"the loss {name} is {float(value.detach())}" for name, value in losses.items() if not _finite(value)
    ]
    return [f"every value of the model is finite, but {', '.join(bad)}"] if bad else []


def _learnt(model: Model, values: list[Named], losses: Mapping[str, Tensor]) -> list[str]:
    """Return where the gradient, on its way back, stops being finite."""
    lines = ["every value and loss is finite, but not the gradient"]
    for value in values:
        if value.tensor.requires_grad:
            value.tensor.retain_grad()
    model.zero_grad(set_to_none=True)
    sum(loss for loss in losses.values() if loss.requires_grad).backward()  # type: ignore[union-attr]
    bad = [v for v in values if v.tensor.grad is not None and not _finite(v.tensor.grad)]
    if bad:
        # Back from the losses, the last value is the first that is met.
        gradient = bad[-1].tensor.grad
        assert gradient is not None
        lines.append(f"going back, the first is that of {_cited(bad[-1])}: {_how_many(gradient)}")
    paths = broken_gradients(model)
    if paths:
        lines.append(f"weights whose gradient is not finite: {', '.join(paths[:5])}" + _more(len(paths) - 5))
    model.zero_grad(set_to_none=True)
    return lines


# ------------------------------------------------------------------ how it is looked at


def _watched(
    model: Model, batch: Batch, method: Callable[[Batch], dict[str, Tensor]]
) -> tuple[list[Named], dict[str, Tensor]]:
    """Run a compiled method. Return each value, with its name and place, in order, and the result."""
    file = _code(type(model)).co_filename
    values: list[Named] = []
    seen: dict[int, Tensor] = {}  # by id, and kept, so that no other gets that id

    def note(frame: FrameType, line: int) -> None:
        place = place_of(file, line)
        for name, value in frame.f_locals.items():
            for tensor in _tensors(value):
                if id(tensor) not in seen:
                    seen[id(tensor)] = tensor
                    values.append(Named(name, place, tensor))

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != file:
            return None
        line = frame.f_lineno

        def lines(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal line
            note(frame, line)
            line = frame.f_lineno
            if event == "return":
                for tensor in _tensors(argument):
                    if id(tensor) not in seen:
                        seen[id(tensor)] = tensor
                        values.append(Named("what is returned", place_of(file, line), tensor))
            return lines

        # What is there at the start was given, not computed.
        seen.update({id(t): t for value in frame.f_locals.values() for t in _tensors(value)})
        return lines

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = method(batch)
    finally:
        sys.settrace(before)
    return values, result


def _code(model: type[Model]) -> CodeType:
    """Return the code of the compiled forward, without what wraps it."""
    method: Any = model.forward
    while hasattr(method, "__wrapped__"):
        method = method.__wrapped__
    code: CodeType = method.__code__
    return code


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _tensors(inner)


# ------------------------------------------------------------------ how it is said


def _cited(value: Named) -> str:
    return f"`{value.name}`" + (f" ({value.place})" if value.place else "")


def _how_many(values: Tensor) -> str:
    nan, total = int(torch.isnan(values).sum()), values.numel()
    inf = int(torch.isinf(values).sum())
    parts = [f"{n:,} {what}" for n, what in ((nan, "NaN"), (inf, "infinite")) if n]
    return f"{' and '.join(parts)} of {total:,}"


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _finite(values: Tensor) -> bool:
    if values.is_sparse:
        values = values.coalesce().values()
    return not values.is_floating_point() or bool(torch.isfinite(values).all())
