"""The metric by which the best epoch is chosen.

Promises: a metric that the model, the grouping or the labels of the validation data do not allow is told
before the first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from specc_runtime.batch import labelled
from specc_runtime.train.evaluate import AT, Results
from specc_runtime.train.metrics import METRICS, Metric, kind_of, metric_of

MOST = 1000  # the largest k
# A mean prediction over the mean label is best at 1, neither the more nor the less.
_KNOWN = {name: metric for name, metric in METRICS.items() if name != "ratio"}


class TrainingError(RuntimeError):
    """Training that cannot begin or go on; the message says why and what to try."""


def chosen(name: str, results: Results) -> float:
    """The metric's mean over the predictions that have it. Raises TrainingError if there are none."""
    found = [of["model"][name] for of in results.values() if name in of["model"]]
    if not found:
        known = sorted({metric for of in results.values() for metric in of["model"]})
        raise TrainingError(
            f"the validation data give no {name}, only {', '.join(known) or 'no metric at all'}"
            + (f"; {advice}" if (advice := _advice(name)) else "")
        )
    return sum(found) / len(found)


def is_better(name: str, value: float, best: float | None) -> bool:
    """Whether a value of a metric is better than the best one before, if there is one."""
    return best is None or (value > best if metric_of(name).higher else value < best)


def first_of(name: str) -> tuple[int, ...]:
    """The k that evaluation goes by, so that the metric is among its results ("ndcg@5")."""
    k = name.partition("@")[2]
    return tuple(sorted({*AT, int(k)})) if k else AT


def _asked(name: str) -> Metric:
    """The metric of a name that somebody has typed. Raises TrainingError."""
    base, at, k = name.partition("@")
    try:
        metric = metric_of(name) if name != "ratio" else None
    except KeyError:
        metric = None
    if metric is None or bool(at) > metric.at:
        spelt = [f"{n.removesuffix('@')}@k" if m.at else n for n, m in _KNOWN.items()]
        raise TrainingError(f"there is no metric {name!r} to go by; there are {', '.join(spelt)}")
    if metric.at and not (k.isdecimal() and 1 <= int(k) <= MOST):
        raise TrainingError(
            f"the metric {name!r} is of the best k, from 1 to {MOST:,}: it is written as {base}@10"
        )
    return metric


def check(
    name: str, manifest: Mapping[str, Any], grouped: bool, labels: Iterable[Mapping[str, Tensor]] | None
) -> None:
    """Look whether validation data can have a metric. grouped: they say which examples are a group's.

    labels: of some examples after others, by prediction, as a batch has them, which are read until it is
    known; None where labels are not looked at. Raises TrainingError.
    """
    metric = _asked(name)
    own = [p["name"] for p in manifest["predictions"] if kind_of(p) in metric.kinds]
    if not own:
        kinds = sorted({p["kind"] for p in manifest["predictions"]})
        raise TrainingError(
            f"the metric {name} is of {' or '.join(_known(metric.kinds))} predictions, and "
            f"the model has {' and '.join(kinds)} ones: choose another, such as {_usual(manifest)}"
        )
    if metric.grouped and not grouped:
        raise TrainingError(
            f"the metric {name} is of groups, and nothing says which examples are a group's: give a `group` "
            "in `train { … }`, such as `group = user.id`"
        )
    if labels is None:
        return
    two = "rank" in metric.kinds
    wanted = 2 if two else 1
    seen: dict[str, set[bool]] = {prediction: set() for prediction in own}
    for some in labels:
        for prediction, found in seen.items():
            if prediction not in some:
                continue
            known = some[prediction][labelled(some[prediction])]
            found |= set((known > 0.5).unique().tolist()) if two else {True} if len(known) else set()
        if any(len(found) >= wanted for found in seen.values()):
            return
    only = set().union(*seen.values())
    said = "no label" if not only else f"only labels of {int(only.pop())}"
    raise TrainingError(
        f"the validation data have {said} for {', '.join(own)}, so that there is no {name}: hold out "
        "examples of both labels, or choose another `metric`, such as logloss"
    )


def _usual(manifest: Mapping[str, Any]) -> str:
    """The first metric without groups that a prediction of a model has."""
    kinds = {kind_of(p) for p in manifest["predictions"]}
    return next((n for n, m in _KNOWN.items() if not m.grouped and kinds & {*m.kinds}), "logloss")


def _known(kinds: tuple[str, ...]) -> list[str]:
    """The kinds of predictions as a spec has them."""
    return list(dict.fromkeys("choice" if k == "request" else k for k in kinds if k != "rank"))


def _advice(name: str) -> str:
    metric = metric_of(name)
    if metric.grouped:
        return "it needs a `group` in `train { … }`, and groups with examples of both labels"
    return "it needs examples of both labels" if name == "auc" else ""
