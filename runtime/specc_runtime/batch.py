"""A batch of examples as packed tensors.

Promises: no padding anywhere. A field of a space with ragged axes holds the positions that exist,
one after another: example-major, then the outer axis, then the inner one.
Leaves to others: turning columns into these tensors (encode), working out which row belongs to
which example (layout).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from specc_runtime import frozen
from specc_runtime.devices import transfer
from specc_runtime.elsewhere import Elsewhere
from specc_runtime.layout import CANDIDATE, Axis, Layout
from specc_runtime.tracing import once

NO_KEY = -(2**63)
"""What stands for a key that is null, in a field of keys."""


@dataclass(frozen=True)
class Bag:
    """A multi-valued field: `values` int64 [M], of which each row has `lengths` int64 [rows].

    weights: float32 [M], where the sum of the rows is a weighted one.
    """

    values: Tensor
    lengths: Tensor
    weights: Tensor | None = None

    @once
    def starts(self) -> Tensor:
        """The first value of each row, int64 [rows]."""
        return self.lengths.cumsum(0) - self.lengths

    @once
    def single(self) -> bool:
        """Whether each row is known to have one value: no device is asked, only the host knows."""
        if len(self.values) != len(self.lengths) or self.lengths.device.type != "cpu":
            return False
        return bool((self.lengths == 1).all())

    def each(self, change: Callable[[Tensor], Tensor]) -> Bag:
        """The bag with every tensor changed, of as many values each."""
        weights = None if self.weights is None else change(self.weights)
        bag = Bag(change(self.values), change(self.lengths), weights)
        bag.__dict__["single"] = self.single
        return bag

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Bag:
        """The bag with all its tensors on a device."""
        return self.each(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Bag:
        """The bag in page-locked memory."""
        return self.each(lambda x: x.pin_memory())

    def rows(self, rows: Tensor) -> Bag:
        """The bags of some rows, int64 [n] ascending."""
        row_of = torch.repeat_interleave(self.lengths, output_size=len(self.values))
        kept = torch.zeros_like(self.lengths, dtype=torch.bool)
        kept[rows] = True
        held = kept[row_of]
        weights = None if self.weights is None else self.weights[held]
        return Bag(self.values[held], self.lengths[rows], weights)

    @staticmethod
    def joined(bags: Sequence[Bag]) -> Bag:
        """The bags of one field in several batches, in order."""
        weights = [b.weights for b in bags if b.weights is not None]
        return Bag(
            torch.cat([b.values for b in bags]),
            torch.cat([b.lengths for b in bags]),
            torch.cat(weights) if weights else None,
        )


@frozen.dataclass(frozen=True)
class Schema:
    """Which ragged axes each field has, and which there are: what gives a batch's tensors meaning.

    fields: by field path, its axes; those of a field from a candidate begin with `CANDIDATE`.
    axes: by id, each root ragged axis ("visits.step").
    """

    fields: Mapping[str, tuple[Axis, ...]]
    axes: Mapping[str, Axis]

    @staticmethod
    def of(manifest: Mapping[str, Any]) -> Schema:
        """The schema that a compiled model's manifest states."""
        role_of = {
            axis: space["role"]
            for space in reversed(manifest["spaces"])
            for axis in space["axes"]
            if axis.partition(".")[0] == space["name"]
        }
        axes: dict[str, Axis] = {}
        for entry in manifest["axes"]:
            if entry["parent"] is not None:
                parent: Axis | None = axes[entry["parent"]]
            else:
                parent = CANDIDATE if role_of.get(entry["id"]) == "candidate" else None
            axes[entry["id"]] = Axis(entry["id"], bound=entry["bound"], parent=parent)
        fields = {
            entry["path"]: (
                *((CANDIDATE,) if entry["role"] == "candidate" else ()),
                *(axes[axis] for axis in entry["axes"]),
            )
            for entry in (*manifest["fields"], *manifest.get("crosses", ()))
        }
        return Schema(fields, axes)


class Moved(Mapping[str, Any]):
    """Tensors on another device, each moved when it is first asked for. there: those that have been."""

    def __init__(self, here: Mapping[str, Tensor | Bag], device: torch.device) -> None:
        self._here = here
        self._device = device
        self.there: dict[str, Tensor | Bag] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.there:
            values = self._here[name]
            if isinstance(values, Bag):
                self.there[name] = values.each(lambda x: transfer(x, self._device))
            else:
                self.there[name] = transfer(values, self._device)
        return self.there[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._here)

    def __len__(self) -> int:
        return len(self._here)


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples, or requests with candidates, for one forward pass.

    size: number B of examples, or R of requests.
    fields: by field path ("ad.item"): int64 ids [rows] of embedded fields, float32 [rows, n] of
        number and vector fields, int64 [rows, 1] keys, a `Bag` of multi-valued ones. rows is B for a
        space without axes, else the number of positions of all examples.
    lengths: by id of a root ragged axis: int64 [B] ("visits.session"), or one for each row of its
        parent axis ("visits.step").
    labels: by prediction: float32 [B], for class predictions int64 [B]. May be empty. An example without a
        label has NaN, or -1, there (see `labelled`): it is left out of that prediction's loss and metrics.
    candidates: None where each example is a request with one candidate (training, evaluation).
        For scoring, int64 [R]: the number of candidates of each request. Fields and lengths from
        the request then have the rows of R examples, those from the candidate the rows of
        sum(candidates), and predictions come one a candidate.
    """

    schema: Schema
    size: int
    fields: Mapping[str, Tensor | Bag]
    lengths: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    candidates: Tensor | None = None

    @once
    def device(self) -> torch.device:
        """Where the batch's tensors are."""
        for values in (*self.lengths.values(), *self.fields.values()):
            return values.values.device if isinstance(values, Bag) else values.device
        return torch.device("cpu")

    @once
    def layout(self) -> Layout:
        """Where the rows of each combination of axes are; built once, as far as it is asked for.

        A batch that was made on another device than the host's, not moved there by `to`, gives its lengths
        back for it: one copy.
        """
        if self.device.type == "cpu":
            return Layout(self.size, self.lengths, self.candidates)
        given = [*self.lengths.values(), *(() if self.candidates is None else (self.candidates,))]
        here = iter(torch.cat(given).cpu().split([len(x) for x in given]) if given else ())
        lengths = {axis: next(here) for axis in self.lengths}
        return Elsewhere(Layout(self.size, lengths, next(here, None)), self.device)

    def on(self, device: torch.device) -> Batch:
        """The batch as it is read on a device: what is read of it is moved there, once and only then.

        Its layout has its index tensors on that device, worked out on the host.
        """
        if device == self.device:
            return self
        known: dict[torch.device, Batch] = self.__dict__.setdefault("_elsewhere", {})
        if device not in known:
            there = replace(
                self,
                fields=Moved(self.fields, device),
                lengths=Moved(self.lengths, device),
                labels=Moved(self.labels, device),
                candidates=None if self.candidates is None else transfer(self.candidates, device),
            )
            there.__dict__["device"] = device
            there.__dict__["layout"] = self._layout_on(device)
            known[device] = there
        return known[device]

    def layout_on(self, device: torch.device) -> Layout:
        """The layout with its index tensors on a device."""
        return self.on(device).layout

    def _layout_on(self, device: torch.device) -> Layout:
        host = self.layout.host
        return host if device.type == "cpu" else Elsewhere(host, device)

    def column(self, path: str) -> Tensor:
        """A field with one value a row: int64 ids [rows] or float32 numbers [rows, n]."""
        values = self.fields[path]
        if isinstance(values, Bag):
            raise TypeError(f"{path} has several values a row")
        return values

    def bag(self, path: str) -> Bag:
        """The values of a multi-valued field. Raises TypeError for any other."""
        values = self.fields[path]
        if not isinstance(values, Bag):
            raise TypeError(f"{path} has one value a row")
        return values

    def __len__(self) -> int:
        return self.size

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch with all its tensors on a device. What its lengths say stays known to the host."""
        moved = self._each(lambda x: x.to(device, non_blocking=non_blocking))
        moved.__dict__["layout"] = self._layout_on(moved.device)
        return moved

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, for copies to an accelerator that overlap with work."""
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> Batch:
        return replace(
            self,
            fields={k: change(v) for k, v in self.fields.items()},
            lengths={k: change(v) for k, v in self.lengths.items()},
            labels={k: change(v) for k, v in self.labels.items()},
            candidates=None if self.candidates is None else change(self.candidates),
        )

    def example(self, index: int) -> Batch:
        """A batch of the one example (or request, with all its candidates) at a position.

        Raises IndexError where there is none.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"example {index} of a batch of {self.size}")

        def rows(axes: Sequence[Axis]) -> Tensor:
            return (self.layout[tuple(axes)].example == index).nonzero().squeeze(1)

        fields: dict[str, Tensor | Bag] = {}
        for path, values in self.fields.items():
            kept = rows(self.schema.fields[path])
            fields[path] = values.rows(kept) if isinstance(values, Bag) else values[kept]
        lengths: dict[str, Tensor] = {}
        for axis, values in self.lengths.items():
            parent = self.schema.axes[axis].parent
            lengths[axis] = values[rows((parent,) if parent else ())]
        per_label = rows((CANDIDATE,))
        return replace(
            self,
            size=1,
            fields=fields,
            lengths=lengths,
            labels={k: v[per_label] for k, v in self.labels.items()},
            candidates=None if self.candidates is None else self.candidates[index : index + 1],
        )

    @staticmethod
    def collate(batches: Sequence[Batch]) -> Batch:
        """One batch of all examples, in order. Raises ValueError for none."""
        if not batches:
            raise ValueError("there is nothing to collate")
        first = batches[0]
        fields: dict[str, Tensor | Bag] = {}
        for path, values in first.fields.items():
            if isinstance(values, Bag):
                fields[path] = Bag.joined([b.bag(path) for b in batches])
            else:
                fields[path] = torch.cat([b.column(path) for b in batches])
        counts = [b.candidates for b in batches if b.candidates is not None]
        if counts and len(counts) < len(batches):
            raise ValueError("requests with candidates cannot be collated with single examples")
        return replace(
            first,
            size=sum(b.size for b in batches),
            fields=fields,
            lengths={k: torch.cat([b.lengths[k] for b in batches]) for k in first.lengths},
            labels={k: torch.cat([b.labels[k] for b in batches]) for k in first.labels},
            candidates=torch.cat(counts) if counts else None,
        )


def labelled(labels: Tensor) -> Tensor:
    """Which of a prediction's labels [B] there are, bool [B]."""
    return ~labels.isnan() if labels.is_floating_point() else labels >= 0


def _flat(batch: Batch) -> tuple[list[Any], Any]:
    groups = (batch.fields, batch.lengths, batch.labels)
    values: list[Any] = [value for group in groups for value in group.values()]
    own = [] if batch.candidates is None else [batch.candidates]
    return [*values, *own], (batch.schema, batch.size, tuple(tuple(group) for group in groups))


def _whole(values: Iterable[Any], about: Any) -> Batch:
    schema, size, names = about
    left = iter(values)
    fields, lengths, labels = ({name: next(left) for name in group} for group in names)
    return Batch(schema, size, fields, lengths, labels, next(left, None))


def _tensors(bag: Bag) -> tuple[list[Any], Any]:
    return [x for x in (bag.values, bag.lengths, bag.weights) if x is not None], None


# What maps over nested data (torch.utils, Accelerate, Lightning) finds a batch's tensors.
pytree.register_pytree_node(
    Bag, _tensors, lambda values, _: Bag(*values), serialized_type_name="specc_runtime.Bag"
)
pytree.register_pytree_node(Batch, _flat, _whole, serialized_type_name="specc_runtime.Batch")
