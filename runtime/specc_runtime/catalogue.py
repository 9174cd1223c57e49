"""Predictions whose classes are the rows of a table: what their vectors say of its keys.

A prediction's vector is what the model gives; its logits are products with the rows. No more of them are
there at once than a piece of the table has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from specc_runtime.encode import Encoders
from specc_runtime.model import Model
from specc_runtime.ops.catalogue import log_sum, logits

Parts = tuple[Tensor, Tensor | None, Tensor, int]


def _parts(model: Model, entry: Mapping[str, Any]) -> Parts:
    """The table, the bias, the counts and the first class of a prediction."""
    rows, held = entry["rows"], model.state_dict()
    bias = None if rows["bias"] is None else held[rows["bias"]]
    return held[rows["table"]], bias, held[rows["counts"]], rows["first"]


@torch.no_grad()
def ranked(model: Model, entry: Mapping[str, Any], x: Tensor, labels: Tensor) -> Tensor:
    """Of vectors [n, width] and labels [n]: the log loss, how many classes have a larger logit than the
    label's, and how many have the same, itself among them; float64 [n, 3]. What has no label gets nothing."""
    weight, bias, counts, first = _parts(model, entry)
    x, ids = x.to(weight), labels.to(weight.device).clamp(min=first)
    own = x.new_full((len(x),), -torch.inf)
    for begin, end, found in logits(x, weight, bias, counts, first):
        inside = (ids >= begin) & (ids < end)
        there = found.gather(1, (ids - begin).clamp(0, end - begin - 1).unsqueeze(1)).squeeze(1)
        own = torch.where(inside, there, own)
    above, beside = torch.zeros_like(ids), torch.zeros_like(ids)
    for _, _, found in logits(x, weight, bias, counts, first):
        above += (found > own.unsqueeze(1)).sum(1)
        beside += (found == own.unsqueeze(1)).sum(1)
    loss = log_sum(x, weight, bias, counts, first) - own
    return torch.stack([loss.double(), above.double(), beside.double()], 1).cpu()


@torch.no_grad()
def best_rows(
    model: Model, entry: Mapping[str, Any], x: Tensor, k: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The probabilities of the likeliest k classes of vectors [n, width], the best first, and their rows; of
    equal ones the earlier row."""
    weight, bias, counts, first = _parts(model, entry)
    x, k = x.to(weight), min(k, int((counts[first:] > 0).sum()))
    best = x.new_full((len(x), 0), -torch.inf)
    rows = torch.zeros(len(x), 0, dtype=torch.int64, device=x.device)
    for begin, end, found in logits(x, weight, bias, counts, first):
        own = torch.arange(begin, end, device=x.device).expand(len(x), -1)
        value, row = torch.cat([best, found], 1), torch.cat([rows, own], 1)
        order = value.argsort(dim=1, descending=True, stable=True)[:, :k]
        best, rows = value.gather(1, order), row.gather(1, order)
    total = log_sum(x, weight, bias, counts, first).unsqueeze(1)
    return (best - total).double().exp().cpu().numpy(), rows.cpu().numpy()


def keys_of_rows(encoders: Encoders, entry: Mapping[str, Any], rows: npt.NDArray[np.int64]) -> pa.Array:
    """The keys of some rows of a prediction's table."""
    name = entry["rows"]["vocabulary"]
    if name is None:
        return pa.array(rows, pa.int64())
    keys = encoders.vocabulary(name).keys
    return keys.take(pa.array(rows - 1)) if len(keys) else pa.nulls(len(rows), pa.int64())


def counted(encoders: Encoders, entry: Mapping[str, Any], seen: Tensor) -> Tensor:
    """What the classes of a prediction count, given how often labels name each row: at least 1; 0 for rows
    without a key."""
    found = seen.clamp(min=1)
    found[: entry["rows"]["first"]] = 0
    name = entry["rows"]["vocabulary"]
    if name is not None:
        found[len(encoders.vocabulary(name).keys) + 1 :] = 0
    return found
