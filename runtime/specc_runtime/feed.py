"""Batches made ready, one ahead, for the devices on which a model reads them.

Promises: the batches that are given, in their order. A model that is on the CPU alone gets them as they come.
For others a thread takes the next batch while the model works on the one before: it works out the index
tensors that the model asked of earlier batches, and packs them together with the tensors that it read, to go
to a device in one copy for each type of numbers. What was not foreseen is moved when it is asked for.
Leaves to others: reading examples (data), what is moved at all (the compiled source).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from specc_runtime.batch import Batch, Moved
from specc_runtime.elsewhere import Elsewhere, Question, Shipment
from specc_runtime.layout import Planned
from specc_runtime.model import Model

T = TypeVar("T")


@dataclass(frozen=True)
class _Wanted:
    """What a model reads of a batch on one device: tensors of the batch by group ("fields", "labels") and
    name, and questions about its layout."""

    names: tuple[tuple[str, str], ...] = ()
    questions: tuple[Question, ...] = ()

    @staticmethod
    def of(batch: Batch, device: torch.device) -> _Wanted:
        """What was read of a batch."""
        there = batch.on(device)
        groups = [(group, getattr(there, group)) for group in ("fields", "labels")]
        names = [(group, name) for group, held in groups if isinstance(held, Moved) for name in held.there]
        layout = there.layout
        return _Wanted(tuple(names), tuple(layout.plans) if isinstance(layout, Elsewhere) else ())

    def packed(self, batch: Batch) -> tuple[_Wanted, Shipment]:
        """The same of another batch, on the host, as far as it has it."""
        names = tuple((group, name) for group, name in self.names if name in getattr(batch, group))
        things: list[Planned] = [getattr(batch, group)[name] for group, name in names]
        things += [batch.layout.planned(question, *about) for question, about in self.questions]
        return _Wanted(names, self.questions), Shipment.of(things)

    def arrive(self, batch: Batch, shipment: Shipment, device: torch.device) -> None:
        """Have the batch's tensors on the device be those of the shipment."""
        there, things = batch.on(device), shipment.to(device)
        for (group, name), thing in zip(self.names, things, strict=False):
            getattr(there, group).there[name] = thing
        there.layout.plans.update(zip(self.questions, things[len(self.names) :], strict=True))


def devices_of(model: Model) -> list[torch.device]:
    """The devices that a model runs on."""
    names = model.manifest.get("devices") or ()
    return list(dict.fromkeys(model.device(name) for name in names)) or [model.home]


def read_by(model: Model, batch: Batch) -> Batch:
    """A batch for a model's compiled methods: on the device of a model without places; one with places moves
    by itself what it reads."""
    return batch if model.manifest.get("devices") else batch.on(model.home)


def feed(batches: Iterable[tuple[Batch, T]], model: Model) -> Iterator[tuple[Batch, T]]:
    """The batches, each with what is given beside it."""
    devices = [device for device in devices_of(model) if device.type != "cpu"]
    if not devices:
        yield from batches
        return
    coming = iter(batches)
    wanted = {device: _Wanted() for device in devices}
    with ThreadPoolExecutor(1, "arec-feeding") as feeding:
        ahead = feeding.submit(_next, coming, wanted)
        while (found := ahead.result()) is not None:
            batch, beside, packed = found
            ahead = feeding.submit(_next, coming, dict(wanted))
            for device, (names, shipment) in packed.items():
                names.arrive(batch, shipment, device)
            yield batch, beside
            wanted |= {device: _Wanted.of(batch, device) for device in devices}


_Packed = dict[torch.device, tuple[_Wanted, Shipment]]


def _next(
    coming: Iterator[tuple[Batch, T]], wanted: dict[torch.device, _Wanted]
) -> tuple[Batch, T, _Packed] | None:
    """The next batch with what goes to each device; None after the last one."""
    found = next(coming, None)
    if found is None:
        return None
    batch, beside = found
    packed = {device: names.packed(batch) for device, names in wanted.items() if names != _Wanted()}
    return batch, beside, packed if batch.device.type == "cpu" else {}
