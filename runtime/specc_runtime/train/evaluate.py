"""A model's metrics on examples, beside those of baselines on the very same examples.

Promises: one pass; the model is in evaluation mode for it, and afterwards in the mode it was in. By
prediction and then by who predicts ("model", "popularity", "mean"), the metrics that its kind has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from specc_runtime.batch import labelled
from specc_runtime.data import Stream
from specc_runtime.encode import KEYS
from specc_runtime.model import Model
from specc_runtime.train.census import Baselines
from specc_runtime.train.metrics import Auc, Gauc, Mean, log_loss

Results = dict[str, dict[str, dict[str, float]]]


def evaluate(
    model: Model,
    stream: Stream,
    baselines: Baselines | None = None,
    watch: Callable[[int], None] = lambda examples: None,
) -> Results:
    """watch: told after each batch how many examples have been seen."""
    found: dict[tuple[str, str], _Scores] = {}
    training = model.training
    model.eval()
    seen = 0
    try:
        for batch in stream:
            with torch.no_grad():
                outputs = model(batch)
            keys = batch.labels.get(KEYS)
            for prediction in model.manifest["predictions"]:
                name, kind = prediction["name"], prediction["kind"]
                known = labelled(batch.labels[name]).numpy()
                labels = batch.labels[name].double().numpy()[known]
                output = outputs[name].detach().double().cpu().numpy()[known]
                groups = None if keys is None else keys.numpy()[known]
                found.setdefault((name, "model"), _Scores(kind)).add(output, labels, groups)
                if baselines is None or kind == "class":
                    continue
                popular = baselines.popularity(name, batch)
                if popular is not None:
                    scores = found.setdefault((name, "popularity"), _Scores("rank"))
                    scores.add(popular.numpy()[known], labels, groups)
                mean = baselines.means.get(name)
                if mean is not None:
                    same = np.full(len(labels), _logit(mean) if kind == "binary" else mean)
                    found.setdefault((name, "mean"), _Scores(kind)).add(same, labels, groups)
            seen += batch.size
            watch(seen)
    finally:
        model.train(training)
    results: Results = {}
    for (name, who), scores in found.items():
        results.setdefault(name, {})[who] = scores.values
    return results


class _Scores:
    """The metrics of one who predicts. kind: that of the prediction, or "rank" for scores that only rank."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.loss, self.hits, self.squares = Mean(), Mean(), Mean(root=True)
        self.auc, self.gauc = Auc(), Gauc()

    def add(self, outputs: Any, labels: Any, groups: Any) -> None:
        if self.kind != "class":
            # A real value ranks too, where labels are of two kinds: 0 and 1, or -1 and 1.
            above = labels if self.kind == "binary" else (labels > 0.5).astype(np.float64)
            self.auc.add(outputs, above)
            if groups is not None:
                self.gauc.add(groups, outputs, above)
        if self.kind == "binary":
            self.loss.add(log_loss(outputs, labels))
            self.hits.add((outputs > 0) == (labels > 0.5))
        elif self.kind == "class":
            shifted = outputs - outputs.max(1, keepdims=True)
            chosen = np.take_along_axis(shifted, labels.astype(np.int64)[:, None], 1)[:, 0]
            self.loss.add(np.log(np.exp(shifted).sum(1)) - chosen)
            self.hits.add(outputs.argmax(1) == labels)
        elif self.kind == "real":
            self.squares.add((outputs - labels) ** 2)

    @property
    def values(self) -> dict[str, float]:
        """Those that are defined."""
        all_of = {
            "logloss": self.loss.value,
            "auc": self.auc.value,
            "gauc": self.gauc.value,
            "rmse": self.squares.value,
            "accuracy": self.hits.value,
        }
        return {name: value for name, value in all_of.items() if not np.isnan(value)}


def _logit(share: float) -> float:
    share = min(max(share, 1e-12), 1 - 1e-12)
    return float(np.log(share) - np.log1p(-share))
