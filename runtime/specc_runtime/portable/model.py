"""The base class of portable models: from tensors by position to results by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from specc_runtime.batch import Bag
from specc_runtime.model import Model
from specc_runtime.portable.inputs import Input, Signature
from specc_runtime.portable.layout import Layout


@dataclass(frozen=True, eq=False)
class Batch:
    """Fields and where their rows are."""

    fields: Mapping[str, Tensor | Bag]
    layout: Layout

    def column(self, path: str) -> Tensor:
        found = self.fields[path]
        assert isinstance(found, Tensor)
        return found

    def bag(self, path: str) -> Bag:
        found = self.fields[path]
        assert isinstance(found, Bag)
        return found


class Portable(Model):
    """A model whose `forward` takes the tensors of its signature, in order, and gives a tuple of results."""

    signature: Signature

    def __init_subclass__(cls, **kwargs: Any) -> None:
        nn.Module.__init_subclass__(**kwargs)

    def values(self, batch: Batch) -> dict[str, Tensor]:
        """The results by name."""
        raise NotImplementedError

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        found = self.values(batch_of(self.signature, tensors))
        return tuple(found[output.name] for output in self.signature.outputs)


def batch_of(signature: Signature, tensors: Sequence[Tensor]) -> Batch:
    """What the tensors of a signature say."""
    given = list(zip(signature.inputs, tensors, strict=True))
    lengths: dict[str, Tensor] = {}
    sizes: dict[tuple[str, ...], int] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    size: int | None = None
    for entry, tensor in given:
        if entry.part == "lengths" and entry.field is None:
            assert entry.axis is not None
            lengths[entry.axis] = tensor
        elif entry.field is not None:
            parts.setdefault(entry.field, {})[entry.part] = tensor
        if entry.rows is not None:
            if entry.rows:
                sizes.setdefault(entry.rows, tensor.shape[0])
            elif signature.form == "batch":
                size = tensor.shape[0]
    fields = {path: _field(tensors) for path, tensors in parts.items()}
    device = given[0][1].device if given else torch.device("cpu")
    return Batch(fields, Layout(size, lengths, sizes, signature.candidates, device))


def _field(parts: Mapping[str, Tensor]) -> Tensor | Bag:
    if "column" in parts:
        return parts["column"]
    return Bag(parts["values"], parts["lengths"], parts.get("weights"))


__all__ = ["Batch", "Input", "Portable", "Signature", "batch_of"]
