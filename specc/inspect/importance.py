"""Which fields a model reads anything from: what its metric loses where one field's values are shuffled
(Breiman, Random Forests, 2001; Fisher, Rudin and Dominici, JMLR 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import torch
from torch import Tensor

from specc_runtime import Batch, Model
from specc_runtime.batch import Bag
from specc_runtime.data.select import part
from specc_runtime.encode import KEYS
from specc_runtime.train import evaluate
from specc_runtime.train.choice import check, chosen, first_of
from specc_runtime.train.metrics import metric_of

TOGETHER = 1024  # examples that are computed at once


@dataclass(frozen=True)
class Matters:
    """What a metric loses without a field: the mean over shuffles, and their standard deviation (None for
    one shuffle). Above 0 is worse without it, for a metric of either direction."""

    field: str
    loss: float
    spread: float | None


def importance(
    model: Model,
    batch: Batch,
    metric: str,
    repeats: int = 5,
    seed: int = 0,
    watch: Callable[[str], None] = lambda field: None,
) -> tuple[float, list[Matters]]:
    """Return the metric of a batch, and what it loses where each field is shuffled, the most first.

    A field of a sequence is shuffled over all positions of all examples, so that lengths stay as they are.
    Raises TrainingError where the batch has no such metric.
    """
    check(metric, model.manifest, KEYS in batch.labels or batch.candidates is not None, [batch.labels])
    whole = _measured(model, batch, metric)
    sign = 1.0 if metric_of(metric).higher else -1.0
    found = []
    for path in batch.fields:
        watch(path)
        losses = []
        for repeat in range(repeats):
            draw = torch.Generator().manual_seed(seed + repeat)
            fields = {**batch.fields, path: shuffled(batch.fields[path], draw)}
            losses.append(sign * (whole - _measured(model, replace(batch, fields=fields), metric)))
        found.append(Matters(path, fmean(losses), stdev(losses) if repeats > 1 else None))
    return whole, sorted(found, key=lambda m: -m.loss)


def shuffled(values: Tensor | Bag, draw: torch.Generator) -> Tensor | Bag:
    """Return a field with its rows in another order."""
    if isinstance(values, Tensor):
        return values[torch.randperm(len(values), generator=draw)]
    order = torch.randperm(len(values.lengths), generator=draw)
    lengths = values.lengths[order]
    starts = (values.lengths.cumsum(0) - values.lengths)[order]
    begin = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths)
    at = begin + torch.arange(len(begin))
    weights = None if values.weights is None else values.weights[at]
    return Bag(values.values[at], lengths, weights)


def _measured(model: Model, batch: Batch, metric: str) -> float:
    results = evaluate(model, _pieces(batch), at=first_of(metric)).results
    return chosen(metric, results)


def _pieces(batch: Batch) -> Iterator[Batch]:
    for begin in range(0, batch.size, TOGETHER):
        yield part(batch, begin, min(begin + TOGETHER, batch.size))


def as_text(metric: str, whole: float, found: Sequence[Matters], examples: int) -> str:
    """Return the fields as a table."""
    wide = max(len(m.field) for m in found)
    lines = [f"{metric} {whole:.5f} of {examples:,} examples; without a field it loses"]
    for m in found:
        spread = "" if m.spread is None else f" ± {m.spread:.5f}"
        lines.append(f"  {m.field:{wide}}  {m.loss:+.5f}{spread}")
    return "\n".join(lines)
