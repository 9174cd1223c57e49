"""What stands around the methods of a compiled model that compute its values.

Candidates are taken in pieces where there are many, scores are computed in C where the model was asked to,
and torch.compile breaks off but once to count rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import unwrap
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from specc_runtime.batch import Batch
from specc_runtime.pieces import IN_C, is_surely_small, pieces_of
from specc_runtime.tracing import untraced

if TYPE_CHECKING:
    from specc_runtime.model import Model

T = TypeVar("T")


def wrapped(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A model's method of that name, of a batch as its last argument, with what stands around it."""
    method = _in_c(method, name) if name in _IN_C else method
    method = _pieced(method) if name in ("forward", "candidate_part") else method
    return _counting(method)


def _pieced(method: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """`forward` or `candidate_part`, which takes the candidates in pieces where there are too many to be
    computed at once."""

    @wraps(method)
    def call(self: Model, *given: Any, **named: Any) -> dict[str, Tensor]:
        if not is_dynamo_compiling() and self.at_once is not None and not torch.is_grad_enabled():
            batch: Batch = named["batch"] if "batch" in named else given[-1]
            pieces = None if self.training else _pieces_of(self, batch)
            if pieces is not None:
                if len(given) + len(named) == 1:
                    return self.candidate_part(self.request_part(batch), batch)
                state = named["state"] if "state" in named else given[0]
                found = [method(self, state, piece) for piece in pieces]
                return {name: torch.cat([each[name] for each in found]) for name in found[0]}
        return method(self, *given, **named)

    return call


def _pieces_of(model: Model, batch: Batch) -> Iterator[Batch] | None:
    """The pieces that the candidates of a batch are computed in, None if that is the batch."""
    assert model.at_once is not None
    if batch.candidates is None or batch.candidates.device.type != "cpu":
        return None
    most, widths = model.at_once
    most *= 1 if model._scoring is None else IN_C
    if is_surely_small(batch, most, widths) or not _on_host(model, batch):
        return None
    pieces = pieces_of(batch, most, widths)
    first = next(pieces, None)
    return None if first is None else chain([first], pieces)


_IN_C = ("forward", "request_part", "candidate_part")


def _in_c(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`forward` or one of its parts, computed in C where the model is asked to and the batch is such."""

    @wraps(method)
    def call(self: Model, *given: Any, **named: Any) -> Any:
        scoring = self._scoring
        if scoring is not None and not torch.is_grad_enabled() and not self.training:
            batch: Batch = named["batch"] if "batch" in named else given[-1]
            if not is_dynamo_compiling():
                if name == "forward":
                    found: Any = scoring.forward(self, batch)
                elif name == "request_part":
                    state = scoring.request_part(self, batch)
                    found = None if state is None else unwrap(method).__globals__["State"](*state)
                else:
                    found = scoring.candidate_part(
                        self, named["state"] if "state" in named else given[0], batch
                    )
                if found is not None:
                    return found
        return method(self, *given, **named)

    return call


def _on_host(model: Model, batch: Batch) -> bool:
    """Whether a batch and all of a model are on the CPU."""
    devices = (batch.device, model.home, *map(model.device, model.manifest.get("devices", ())))
    return all(device.type == "cpu" for device in devices)


def _counting(method: Callable[..., T]) -> Callable[..., T]:
    """A method of a model, of a batch as its last argument, for whose sake torch.compile breaks off but once
    to see how many rows there are."""

    @wraps(method)
    def call(self: Model, *given: Any, **named: Any) -> T:
        batch: Batch = named["batch"] if "batch" in named else given[-1]
        if is_dynamo_compiling() and "counted" not in batch.__dict__:
            _count(self, batch)
        return method(self, *given, **named)

    return call


@untraced
def _count(model: Model, batch: Batch) -> None:
    """Count the rows that the data gives, where the model reads them; what follows from these is traced."""
    devices = model.manifest.get("devices", ())
    layouts = [batch.layout_on(model.device(name)) for name in devices] or [batch.layout]
    for layout in layouts:
        for axis in batch.schema.axes.values():
            if axis.id in layout.given:
                _ = layout[axis].count
    batch.__dict__["counted"] = True
