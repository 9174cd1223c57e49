"""The base class of every compiled model.

Promises: `state_dict` keys are exactly the spec's weight paths, whatever the spec's names are.
Leaves to others: the computation (the compiled subclass), files (artefact), learning (train).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specc_runtime import frozen, ops, ranks
from specc_runtime.batch import Batch, labelled
from specc_runtime.cite import cited
from specc_runtime.devices import Wanted, one, only, resolve, transfer
from specc_runtime.fetched import Source
from specc_runtime.layers import Table
from specc_runtime.layout import CANDIDATE, Axis, Rows
from specc_runtime.native.say import wanted
from specc_runtime.pieces import Widths
from specc_runtime.record import SCORING
from specc_runtime.tracing import untraced
from specc_runtime.unfilled import held
from specc_runtime.wrapped import wrapped

if TYPE_CHECKING:
    from specc_runtime.native.scoring import Scoring

T = TypeVar("T")


@frozen.dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one attention in a batch.

    values: [rows, *static axes, width], one row for each place that exists.
    example: which example each row is of, int64 [rows].
    positions: by axis name, the position of each row along it, counted from 0, int64 [rows]; of a batch
        with candidates that of its candidate, too, as "candidate".
    """

    values: Tensor
    example: Tensor
    positions: Mapping[str, Tensor]

    @staticmethod
    @untraced
    def of(values: Tensor, rows: Rows, axes: Mapping[str, Axis]) -> Weights:
        """Return weights [rows, …] with the example and the position along each axis that each row is of."""
        known = {CANDIDATE.id: CANDIDATE, **axes}
        positions = {name: rows.position(axis) for name, axis in known.items() if axis in rows.axes}
        return Weights(values, rows.example, positions)

    def of_example(self, index: int) -> Weights:
        """The rows of one example (request)."""
        kept = self.example == index
        return Weights(
            self.values[kept], self.example[kept], {name: p[kept] for name, p in self.positions.items()}
        )


class Model(nn.Module):
    """A compiled recommendation model.

    manifest: what the model reads and gives, as in manifest.json.
    files: the texts that an artefact directory holds beside the weights, by file name.
    directory: that directory, of a model that was loaded from one or trained into one.
    saved_as: the hash of the weights as they were last saved or loaded, where they were.
    source: where rows of tables that the model does not hold are fetched from, while it is trained.
    at_once: how many numbers a value of candidates has at most where they are scored on the host without
        gradients, and how many each has a row, by axes; candidates that have more are scored in pieces. None
        for a model whose candidates are always scored at once.
    shows: gives a model by MIME type, for notebooks; specc sets it.
    """

    at_once: tuple[int, Widths] | None = None
    shows: ClassVar[Callable[[Model], dict[str, str]] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.manifest: dict[str, Any] = {}
        self.files: Mapping[str, str] = {}
        self.directory: Path | None = None
        self.saved_as: str | None = None
        self.source: Source | None = None
        self._scoring: Scoring | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        shared = ("values", "forward", "request_part", "candidate_part", "losses", "attention")
        for name in list(vars(cls)):
            if name in shared or name.startswith("output_"):
                setattr(cls, name, wrapped(cited(vars(cls)[name]), name))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """By prediction: logits [B] (binary), values [B] (real) or logits [B, n] (class); by other result
        its vectors [B, width], of one channel [B]; for a batch with candidates one a candidate."""
        raise NotImplementedError

    def request_part(self, batch: Batch) -> Any:
        """What predictions need of the request alone, computed once for any number of candidates: the model's
        `State`, a NamedTuple of tensors whose shapes `model.py` says. Of the batch only the lengths and
        fields of the request are read.

        A model that an earlier version compiled has no parts: its state is empty, and the second part is
        `forward`.
        """
        return ()

    def candidate_part(self, state: Any, batch: Batch) -> dict[str, Tensor]:
        """What `forward` gives, from the state of the batch's requests: of the batch only the fields of the
        candidates, their number and all lengths are read. The state is left as it is."""
        return self(batch)  # type: ignore[no-any-return]

    def score_in_c(self, on: bool = True) -> bool:
        """Compute scores as one call of C from now on: of batches on the CPU, in evaluation mode and without
        gradients. Builds that C, where the model does not bring it along. `forward` and its parts give the
        same scores, up to rounding.

        Returns whether that is so: False where the model has no such C, or this machine no C compiler.
        """
        self._scoring = None
        if on and SCORING in self.files:
            from specc_runtime.native.scoring import Scoring

            scoring = Scoring(self.files[SCORING])
            if wanted(self.home, self.dtype) and scoring.ready(self.dtype):
                self._scoring = scoring
        return self._scoring is not None

    def _repr_mimebundle_(self, **asked: Any) -> dict[str, str]:
        """What a notebook shows."""
        return {"text/plain": repr(self)} if Model.shows is None else Model.shows(self)

    def output(self, name: str, batch: Batch) -> Tensor:
        """One result by itself: vectors [rows, width], of one channel [rows].

        What is of the request alone has one row a request, what is of the candidate alone one a candidate;
        such a result reads nothing of the batch but its own fields (`manifest["outputs"]`).
        Raises KeyError if there is no such result.
        """
        own = getattr(type(self), f"output_{name}", None)
        if own is None:
            return self(batch)[name]  # type: ignore[no-any-return]
        return own(self, batch)  # type: ignore[no-any-return]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """By prediction its mean over the examples that have its label (0 where none has), by extra loss its
        mean over the examples that have the labels it reads, scalars; "l2" is the sum of penalties.

        Raises KeyError where the batch lacks a prediction's labels.
        """
        raise NotImplementedError

    def loss(self, batch: Batch) -> Tensor:
        """The sum of all losses, a scalar on the device of the first."""
        first, *others = self.losses(batch).values()
        return torch.stack([first, *(transfer(x, first.device) for x in others)]).sum()

    def attention(self, batch: Batch) -> dict[str, Weights]:
        """By path, the weights of every instance of an `attention` block."""
        return {}

    # ------------------------------------------------------------- weights

    def add(self, path: str, what: nn.Module | nn.Parameter, frozen: bool = False) -> None:
        """Put a module or parameter at a dotted path.

        A spec may use any name, so a part may be called like one of PyTorch's methods (`train`):
        it is entered beside them, and read by `part`.
        """
        *outer, name = path.split(".")
        holder: nn.Module = self
        for step in outer:
            inner = holder._modules.get(step)
            if inner is None:
                inner = holder._modules[step] = nn.Module()
            holder = inner
        if isinstance(what, nn.Parameter):
            what.requires_grad_(not frozen)
            holder._parameters[name] = what
        else:
            for module in what.modules():
                for _, weight in held(module):
                    weight.requires_grad_(not frozen)
            holder._modules[name] = what

    def part(self, path: str) -> Any:
        """The module or parameter at a path. Raises KeyError if there is none."""
        *outer, name = path.split(".")
        holder: nn.Module = self
        for step in outer:
            inner = holder._modules[step]
            assert inner is not None
            holder = inner
        return holder._modules[name] if name in holder._modules else holder._parameters[name]

    def put(self, path: str, rows: Tensor | None, values: Tensor) -> None:
        """Give rows of a weight, int64 [n], other values [n, …]; without rows all of it. On the CPU."""
        if self.source is not None and path in self.source.shapes:
            self.source.give(path, rows, values)
            return
        weight = self.state_dict(keep_vars=True)[path]
        with torch.no_grad():
            given = values.to(weight)
            weight.copy_(given) if rows is None else weight.index_copy_(0, rows.to(weight.device), given)

    def fetched(self, batch: Batch) -> AbstractContextManager[None]:
        """Within it, tables have the rows that a batch names: those that the model does not hold, too."""
        return nullcontext() if self.source is None else self.source.fetched(batch)

    def set_row_counts(self, path: str, counts: Tensor) -> None:
        """How often each row of a table ("items.weight") occurs in the training data, [rows]:
        what `l2 = by_frequency(…)` divides by. Raises ValueError for another shape."""
        table = self.part(path.removesuffix(".weight"))
        elsewhere = {} if self.source is None else self.source.shapes
        shape = elsewhere.get(path) or (table.weight.shape if isinstance(table, Table) else ())
        if not isinstance(table, Table) or counts.shape != shape[:1]:
            raise ValueError(f"{path} is not a table with {tuple(counts.shape)} rows")
        there = table.weight.device if self.source is None or path not in elsewhere else self.source.device
        table.counts = counts.to(there)

    # ------------------------------------------------------------- devices

    def place(self, devices: Wanted = None) -> Self:
        """Put every weight on its device.

        devices: other targets by the names of the spec's devices, {"dense": "cuda:1"}, or one for all.
            A model without places is on one device: the one given, else where it is.
        Raises DeviceError if this machine lacks one; nothing is moved then.
        """
        homes = {w["path"]: w["device"] for w in self.manifest["weights"] if w.get("device")}
        without_weights = not self.manifest["weights"] and self.manifest.get("devices")
        if not homes and not without_weights:
            return self if devices is None else self.to(one(only(devices)))
        found = resolve(self.manifest["devices"], devices)
        for name, device in found.items():
            # An empty buffer stands for the device, so that it follows the model's `.to()`.
            self.register_buffer(f"@{name}", torch.empty(0, device=device), persistent=False)
        if self._has_moved(found.values()):
            weights = self.state_dict(keep_vars=True)
            for path in (path for path in homes if path in weights and not weights[path].is_meta):
                weights[path].data = weights[path].data.to(found[homes[path]])
        return self

    def _has_moved(self, devices: Iterable[torch.device]) -> bool:
        """Whether anything is to be elsewhere than on the CPU, or is now."""
        own = (weight.device for module in self.modules() for _, weight in held(module))
        others = (buffer.device for buffer in self.buffers())
        return any(device.type != "cpu" for device in chain(devices, own, others))

    def device(self, name: str) -> torch.device:
        """Where the spec's device of a name is: the CPU until the model is placed."""
        marker = self._buffers.get(f"@{name}")
        return torch.device("cpu") if marker is None else marker.device

    # ------------------------------------------------- for compiled forwards

    @property
    def dtype(self) -> torch.dtype:
        """The type that the model computes in: that of its weights."""
        for weight in self.parameters():
            return weight.dtype
        return torch.get_default_dtype()

    def constant(self, value: float, device: torch.device | None = None) -> Tensor:
        """A number as a value that is the same everywhere, [1, 1]."""
        return torch.full((1, 1), value, dtype=self.dtype, device=device or self.home)

    def label(self, labels: Tensor) -> Tensor:
        """Labels [B] as values [B, 1]; 0 where there is none, for examples that are left out."""
        return labels.where(labelled(labels), 0).to(self.dtype).unsqueeze(-1)

    def positions(self, size: int, device: torch.device | None = None) -> Tensor:
        """The positions along a static axis, [1, size, 1]."""
        return torch.arange(size, dtype=self.dtype, device=device or self.home).reshape(1, size, 1)

    @property
    def home(self) -> torch.device:
        """Where a model without places is: where its weights are, those without storage left out."""
        first = next((w for w in self.parameters() if not w.is_meta), next(self.parameters(), None))
        found = self._buffers.get("@home") if first is None else first
        return torch.device("cpu") if found is None else found.device

    def numbers(self, values: Tensor) -> Tensor:
        """Positions, lengths or conditions [rows] as values [rows, 1]."""
        return values.to(self.dtype).unsqueeze(-1)

    def zeros(self, rows: Rows, *shape: int) -> Tensor:
        """Return zeros [rows, *shape] of the model's type, on the rows' device."""
        return torch.zeros(rows.count, *shape, dtype=self.dtype, device=rows.layout.device)


def binary_loss(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    others: Sequence[Tensor] = (),
    positive: float = 1.0,
) -> Tensor:
    """Mean binary cross entropy of logits [B] against those of labels [B] in [0, 1] that there are.

    positive: what the positive part of each is multiplied with. weight: what each is multiplied with, [B].
    """
    labels = labels.to(logits)
    known = labelled(labels)
    share = None if positive == 1.0 else logits.new_full((), positive)
    given = labels.where(known, 0.0)
    each = F.binary_cross_entropy_with_logits(logits, given, reduction="none", pos_weight=share)
    return _mean(each, known, weight, others)


def real_loss(
    values: Tensor, labels: Tensor, weight: Tensor | None = None, others: Sequence[Tensor] = ()
) -> Tensor:
    """Mean squared error of values [B] against those of labels [B] that there are, each times its weight."""
    labels = labels.to(values)
    known = labelled(labels)
    return _mean((values - labels.where(known, 0.0)).square(), known, weight, others)


def absolute_loss(
    values: Tensor, labels: Tensor, weight: Tensor | None = None, others: Sequence[Tensor] = ()
) -> Tensor:
    """Mean magnitude of the errors of values [B] against those of labels [B] that there are, each times its
    weight."""
    labels = labels.to(values)
    known = labelled(labels)
    return _mean((values - labels.where(known, 0.0)).abs(), known, weight, others)


def huber_loss(
    values: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    others: Sequence[Tensor] = (),
    *,
    huber: float,
) -> Tensor:
    """Mean Huber loss of values [B] against those of labels [B] that there are, each times its weight: half
    the square of an error up to `huber`, and huber * (|error| - huber / 2) beyond."""
    labels = labels.to(values)
    known = labelled(labels)
    each = F.huber_loss(values, labels.where(known, 0.0), reduction="none", delta=huber)
    return _mean(each, known, weight, others)


def class_loss(
    logits: Tensor, labels: Tensor, weight: Tensor | None = None, others: Sequence[Tensor] = ()
) -> Tensor:
    """Mean cross entropy of logits [B, n] against those of class indices [B] that there are, each times its
    weight."""
    labels = transfer(labels, logits.device)
    known = labelled(labels)
    return _mean(F.cross_entropy(logits, labels.clamp(min=0), reduction="none"), known, weight, others)


def table_loss(
    each: Tensor, labels: Tensor, weight: Tensor | None = None, others: Sequence[Tensor] = ()
) -> Tensor:
    """Mean of the losses [B] of those that have labels [B], each times its weight."""
    return _mean(each, labelled(transfer(labels, each.device)), weight, others)


def choice_loss(
    each: Tensor, labels: Tensor, weight: Tensor | None = None, others: Sequence[Tensor] = ()
) -> Tensor:
    """Mean of the losses [B] of those that labels [B] call chosen, times label and weight; 0 where none
    is."""
    labels = labels.to(each)
    known = labelled(labels) & (labels > 0)
    return _mean(each * labels.where(known, 0.0), known, weight, others)


def request_loss(
    scores: Tensor,
    labels: Tensor,
    rows: Rows,
    weight: Tensor | None = None,
    others: Sequence[Tensor] = (),
) -> Tensor:
    """Mean cross entropy of the softmax of each request's scores [n] against its labels [n], which are shares
    of it, over the requests in which some label is not 0; 0 where there is none.

    rows: those of the candidates. A candidate that lacks a label is left out. weight: what the part of each
    candidate is multiplied with, [n].
    """
    labels = labels.to(scores)
    known = labelled(labels)
    for other in others:
        known = known & labelled(transfer(other, known.device))
    if CANDIDATE not in rows.axes:  # each request has one candidate, which is chosen for certain
        return (scores * 0.0).sum()
    share, known = labels.where(known, 0.0).unsqueeze(-1), known.unsqueeze(-1)
    owner = transfer(rows.index(rows.without(CANDIDATE)), scores.device)
    total = ops.segment.sum(share, rows, CANDIDATE)
    each = -ops.segment.log_softmax(scores.unsqueeze(-1), rows, CANDIDATE, known)
    each = each * share / total.where(total > 0, 1.0).index_select(0, owner)
    if weight is not None:
        each = each * transfer(weight, each.device).unsqueeze(-1)
    return each.sum() / ranks.total((total > 0).sum()).clamp(min=1)


def mean_of_labelled(each: Tensor, others: Sequence[Tensor]) -> Tensor:
    """The mean of losses [B] of the examples that have all of some labels [B]; 0 where there are none."""
    return _mean(each, torch.ones_like(each, dtype=torch.bool), None, others)


def _mean(each: Tensor, known: Tensor, weight: Tensor | None, others: Sequence[Tensor]) -> Tensor:
    """The mean of the losses [B] of known labels, times their weights; 0 where there are none.

    others: labels [B] of other predictions, without which an example is left out, too.
    """
    for labels in others:
        known = known & labelled(transfer(labels, known.device))
    if weight is not None:
        each = each * transfer(weight, each.device)
    return each.where(known, 0.0).sum() / ranks.total(known.sum()).clamp(min=1)
