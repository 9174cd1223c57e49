"""A model's metrics on examples, beside those of baselines on the very same examples.

Promises: one pass, in a fixed amount of memory however many examples there are (BUDGET, and what a batch
takes); the model is in evaluation mode for it, and afterwards in the mode it was in. An example without a
prediction's label is none for that prediction. A prediction that is not finite is an
error that says where it arose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from specc_runtime import ranks
from specc_runtime.batch import Batch, labelled
from specc_runtime.catalogue import ranked
from specc_runtime.encode import KEYS, Unknown
from specc_runtime.encode.labels import of_requests, within
from specc_runtime.feed import feed, read_by
from specc_runtime.finite import NotFinite, where_forward
from specc_runtime.model import Model
from specc_runtime.train.census import Baselines
from specc_runtime.train.metrics import Measured, Scores, kind_of, logit
from specc_runtime.train.slices import BY, Slices

# By prediction and then by who predicts ("model", "popularity", "mean").
Results = dict[str, dict[str, dict[str, float]]]
Part = dict[str, dict[str, Measured]]
BUDGET = 256 << 20  # bytes for all scores together; more lie in temporary files
AT = (10,)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """examples: how many there were; of requests, their candidates. requests: how many of those, where the
    data are requests. whole: the metrics of all. by: by column, those of its values.

    unknown: by table with a vocabulary the share of its values that the vocabulary does not have, 0 to 1.
    """

    examples: int
    whole: Part
    by: dict[str, dict[str, Part]] = field(default_factory=dict)
    unknown: dict[str, float] = field(default_factory=dict)
    requests: int | None = None

    @property
    def results(self) -> Results:
        """The metrics of all examples alone."""
        return {
            name: {who: dict(measured.metrics) for who, measured in found.items()}
            for name, found in self.whole.items()
        }


def evaluate(
    model: Model,
    batches: Iterable[Batch],
    baselines: Baselines | None = None,
    watch: Callable[[int], None] = lambda examples: None,
    *,
    at: Sequence[int] = AT,
    slices: Sequence[Slices] = (),
) -> Evaluation:
    """The metrics of a model.

    batches: as a Stream gives them; with `labels["@keys"]` there are metrics of groups, of requests with
        candidates also without, each a group.
    watch: told after each batch how many examples have been seen. at: the k of metrics of the first k.
    slices: what the batches' `labels["@by:COLUMN"]` mean; each has metrics of its own.
    Of batches in parts (ranks.together) the metrics are those of the whole ones, the same in all processes:
    the first adds up what all predict.
    Raises NotFinite, FileError (a full disk), and what the batches raise.
    """
    training, parts = model.training, ranks.several()
    if parts is not None and (baselines is not None or slices):
        raise ValueError("of parts of batches neither baselines nor slices are known")
    model.eval()
    predictions = {p["name"]: p for p in model.manifest["predictions"]}
    tasks = {name: kind_of(p) for name, p in predictions.items()}
    seen, examples, unknown = 0, 0, Unknown(model.manifest)
    with closing(_Table(tasks, at, slices)) as table:
        try:
            for batch, _ in feed(((batch, None) for batch in batches), model):
                with torch.no_grad(), model.fetched(batch):
                    found = model(read_by(model, batch))
                    outputs = {name: found[name].cpu() for name in tasks}
                    for name in predictions:
                        if not bool(torch.isfinite(outputs[name]).all()):
                            first, _ = ranks.before(batch.size)  # what the others ask for, too
                            with ranks.together(False):
                                raise NotFinite(_said(model, batch, name, outputs[name], seen + first))
                for name, entry in predictions.items():
                    if not entry.get("rows"):
                        outputs[name] = within(entry, outputs[name])
                    elif name in batch.labels:
                        outputs[name] = ranked(model, entry, outputs[name], batch.labels[name])
                unknown.add(batch)
                if parts is not None:
                    outputs, batch = _joined(outputs, batch)
                for name, kind in tasks.items():
                    rows = bool(predictions[name].get("rows"))
                    table.add(name, "model", "rows" if rows else kind, outputs[name], batch)
                    if baselines is not None and kind != "class" and not rows:
                        _beside(table, name, kind, baselines, batch)
                seen += batch.size
                examples += batch.size if batch.candidates is None else int(batch.candidates.sum())
                table.requests += batch.size
                watch(seen)
        finally:
            model.train(training)
        whole, by = table.measured()
    asked = seen if of_requests(model.manifest) else None
    if parts is not None:
        whole = _said_by_first(parts, whole)
        unknown.join(lambda numbers: parts.reduced(torch.tensor(numbers, device="cpu")).tolist())
    return Evaluation(examples, whole, by, unknown.shares, asked)


def _joined(outputs: dict[str, torch.Tensor], batch: Batch) -> tuple[dict[str, torch.Tensor], Batch]:
    """What all processes predict for a batch, and its labels."""
    count = ranks.before(batch.size)[1]
    labels = {name: ranks.gathered(label) for name, label in batch.labels.items()}
    candidates = None if batch.candidates is None else ranks.gathered(batch.candidates)
    whole = replace(batch, size=count, fields={}, lengths={}, labels=labels, candidates=candidates)
    return {name: ranks.gathered(output) for name, output in outputs.items()}, whole


def _said_by_first(parts: ranks.Ranks, whole: Part) -> Part:
    """The metrics that the first process has found; without curves."""
    found = {
        name: {who: (measured.metrics, measured.counts) for who, measured in of.items()}
        for name, of in whole.items()
    }
    return {
        name: {who: Measured(metrics, counts, None) for who, (metrics, counts) in of.items()}
        for name, of in parts.say(found).items()
    }


def _beside(table: _Table, name: str, kind: str, baselines: Baselines, batch: Batch) -> None:
    popular = baselines.popularity(name, batch) if kind in ("binary", "choice", "request") else None
    if popular is not None:
        table.add(name, "popularity", "rank", popular, batch)
    mean = baselines.means.get(name)
    if mean is not None and kind != "choice":
        value = logit(mean) if kind == "binary" else mean
        same = torch.full((len(batch.labels[name]),), value, dtype=torch.float64, device="cpu")
        table.add(name, "mean", kind, same, batch)


class _Table:
    """The scores of all who predict, of all examples and of every column's slices."""

    def __init__(self, tasks: Mapping[str, str], at: Sequence[int], slices: Sequence[Slices]) -> None:
        self.at, self.slices = at, slices
        self.budget = BUDGET // max(3 * len(tasks) * (1 + len(slices)), 1)
        self.found: dict[tuple[str | None, str, str], Scores] = {}
        self.requests = 0  # that are over

    def add(self, name: str, who: str, kind: str, outputs: torch.Tensor, batch: Batch) -> None:
        labels = batch.labels.get(name)
        if labels is None:
            return
        given = labels.detach().double().cpu().numpy()
        known = labelled(labels).cpu().numpy()
        scores = outputs.detach().double().cpu().numpy()[known]
        keys = batch.labels.get(KEYS)
        groups = None if keys is None else keys.cpu().numpy()[known]
        requests = None
        if batch.candidates is not None:
            each = np.repeat(np.arange(batch.size), batch.candidates.cpu().numpy())
            requests = self.requests + each[known]
            groups = requests if groups is None else groups
        for column in (None, *(s.column for s in self.slices)):
            own = np.zeros(len(given), np.int64) if column is None else batch.labels[BY + column].numpy()
            place = (column, name, who)
            if place not in self.found:
                self.found[place] = Scores(kind, self.at, self.budget)
            self.found[place].add(own[known], scores, given[known], groups, requests)

    def measured(self) -> tuple[Part, dict[str, dict[str, Part]]]:
        """The metrics of the whole, and by column those of its values."""
        whole: Part = {}
        by: dict[str, dict[str, Part]] = {s.column: {name: {} for name in s.names} for s in self.slices}
        for (column, name, who), scores in self.found.items():
            if column is None:
                (whole.setdefault(name, {})[who],) = scores.measured(1)
                continue
            parts = by[column]
            for part, measured in zip(parts.values(), scores.measured(len(parts)), strict=True):
                part.setdefault(name, {})[who] = measured
        return whole, by

    def close(self) -> None:
        for scores in self.found.values():
            scores.close()


def _said(model: Model, batch: Batch, name: str, output: Any, seen: int) -> str:
    rows = (~torch.isfinite(output)).reshape(len(output), -1).any(1)
    if batch.candidates is not None:
        rows = torch.stack([own.any() for own in rows.split(batch.candidates.tolist())])
    first = seen + int(rows.nonzero()[0]) + 1
    number = f"{int(rows.sum()):,} of {len(rows):,} examples" if int(rows.sum()) > 1 else "one example"
    said = f"the prediction {name} is not a finite number for {number}, first for number {first:,}"
    return "\n  ".join([said, *where_forward(model, read_by(model, batch))])
