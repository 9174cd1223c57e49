"""Where a trained model's attention looks: at the sessions of the candidate's category, or elsewhere.

Promises: what is compared is the weight of a session that matches with that of the others in the same
example, over examples that have both; with equal weights all would have the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from specc_runtime import Batch, Model

BLOCKS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Looked:
    """Mean weight of a matching session and of another one; how often the largest weight is a matching
    session's, and how often it would be by chance. examples: of which this is the mean."""

    path: str
    examples: int
    matching: float
    other: float
    top_matches: float
    by_chance: float


@dataclass(frozen=True)
class Picture:
    """One example: its sessions' categories (encoded), the candidate's, and each attention's weights."""

    candidate: int
    sessions: list[list[int]]
    weights: dict[str, list[float]]
    label: float


def look(model: Model, batch: Batch) -> list[Looked]:
    """What each attention over sessions looks at in a batch's positive examples."""
    import torch

    with torch.no_grad():
        attentions = model.attention(batch)
    matches = _matches(batch)
    positive = batch.labels["click"].numpy() > 0.5
    found = []
    for path, weights in attentions.items():
        if "session" not in weights.positions or "step" in weights.positions:
            continue
        values = weights.values.reshape(len(weights.example), -1)[:, 0].double().numpy()
        example = weights.example.numpy()
        counts = np.bincount(example, minlength=batch.size)
        hits = np.bincount(example, matches, batch.size)
        # Examples whose sessions are all alike say nothing.
        useful = positive & (hits > 0) & (hits < counts)
        on, off = useful[example] & matches, useful[example] & ~matches
        largest = np.zeros(batch.size)
        np.maximum.at(largest, example, values)
        top = useful[example] & (values == largest[example])
        found.append(
            Looked(
                path,
                int(useful.sum()),
                float(values[on].mean()),
                float(values[off].mean()),
                float(matches[top].mean()),
                float((hits[useful] / counts[useful]).mean()),
            )
        )
    return found


def _matches(batch: Batch) -> Any:
    """For each session whether the candidate's category is among those of its behaviours."""
    steps = batch.lengths["visits.step"].numpy()
    sessions = batch.lengths["visits.session"].numpy()
    session_of = np.repeat(np.arange(len(steps)), steps)
    example_of = np.repeat(np.arange(len(sessions)), sessions)
    candidate = batch.column("ad.category").numpy()[example_of][session_of]
    same = batch.column("visits.category").numpy() == candidate
    return np.bincount(session_of, same, len(steps)) > 0


def pictures(model: Model, batch: Batch, wanted: int) -> list[Picture]:
    """The first positive examples with a full set of sessions of which one, not the last, matches."""
    import torch

    matches = _matches(batch)
    sessions = batch.lengths["visits.session"].numpy()
    ends = np.cumsum(sessions)
    found: list[Picture] = []
    for index in range(batch.size):
        own = matches[ends[index] - sessions[index] : ends[index]]
        if len(found) == wanted:
            break
        if len(own) < 4 or own.sum() != 1 or own[-1] or batch.labels["click"][index] < 0.5:
            continue
        one = batch.example(index)
        with torch.no_grad():
            attentions = model.attention(one)
        steps = one.lengths["visits.step"].tolist()
        categories = one.column("visits.category").split(steps)
        found.append(
            Picture(
                int(one.column("ad.category")[0]),
                [sorted(set(part.tolist())) for part in categories],
                {
                    path: w.values.reshape(len(w.example), -1)[:, 0].tolist()
                    for path, w in attentions.items()
                    if "session" in w.positions and "step" not in w.positions
                },
                float(one.labels["click"][0]),
            )
        )
    return found


def bar(share: float, width: int = 20) -> str:
    """A bar of text, as long as the share."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (BLOCKS[rest] if rest else "")
