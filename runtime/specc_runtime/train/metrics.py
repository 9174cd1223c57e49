"""How good predictions are: every metric, by kind of prediction, exactly and in bounded memory.

Promises: examples come in batches and in any order, each of a slice (0, 1, …) of the data; the metrics of
every slice are given at the end, and are what all examples at once would give. A metric that is not defined
(the AUC of one class) is left out. Labels that are not there (NaN, a class below 0) are the caller's to
leave out.
Memory: the budget; scores that do not fit lie in a temporary file (spill).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from specc_runtime.packages import METRICS as OF_PACKAGES
from specc_runtime.packages import PackageError, loaded, offered
from specc_runtime.train.rankings import Rankings
from specc_runtime.train.thresholds import Curve, Floats, Ints, Thresholds, summed


@dataclass(frozen=True)
class Metric:
    """kinds: the predictions that have it. higher: whether more is better. says: what it is, in few words.

    grouped: it needs groups. at: it is of the first k, and its name "ndcg@10".
    each: of a metric of another package, which offers it by an entry point of the group `arec.metrics`: from
        outputs (logits [n], values [n], or logits [n, classes]) and labels [n] a number for each example, of
        which it is the mean.
    """

    kinds: tuple[str, ...]
    higher: bool
    says: str
    grouped: bool = False
    at: bool = False
    each: Callable[[Floats, Floats], Floats] | None = None


# "request" is the kind of a choice among the candidates of a request, "rank" that of scores that only rank,
# such as an item's popularity.
_TWO = ("binary", "choice", "request", "rank")
METRICS = {
    "logloss": Metric(("binary", "class", "request"), False, "log loss"),
    "auc": Metric(_TWO, True, "area under the ROC curve"),
    "gauc": Metric(_TWO, True, "the groups' AUC, weighted by examples", grouped=True),
    "ndcg": Metric(_TWO, True, "NDCG of the first k of a group", grouped=True, at=True),
    "hit_rate": Metric(_TWO, True, "groups with a positive in the first k", grouped=True, at=True),
    "mrr": Metric(_TWO, True, "one over the place of the first positive", grouped=True),
    "ece": Metric(("binary",), False, "expected calibration error"),
    "ratio": Metric(("binary", "real"), True, "the mean prediction over the mean label"),
    "rmse": Metric(("real",), False, "root of the mean squared error"),
    "mae": Metric(("real",), False, "mean absolute error"),
    "accuracy": Metric(("binary", "class"), True, "the share of right answers"),
    "accuracy@": Metric(("class",), True, "the share of labels among the first k", at=True),
}


def kind_of(prediction: Mapping[str, Any]) -> str:
    """The kind of a prediction of a manifest, as metrics tell kinds apart."""
    kind: str = prediction["kind"]
    return "request" if prediction.get("among") == "request" else kind


def metric_of(name: str) -> Metric:
    """The metric of a name as results have it ("ndcg@10"). Raises KeyError."""
    base, at, _ = name.partition("@")
    if name not in METRICS and name in offered(OF_PACKAGES):
        return _of_package(name)
    return METRICS[base + at] if base + at in METRICS else METRICS[base]


def _of_package(name: str) -> Metric:
    """A metric of another package. Raises PackageError."""
    found = loaded(OF_PACKAGES, name, Metric)
    if found.each is None or found.grouped or found.at:
        raise PackageError(
            f"the metric `{name}` of another package is no mean over examples: it lacks `each`"
        )
    return found


def others(kind: str) -> dict[str, Metric]:
    """The metrics of a kind of prediction that installed packages offer. Raises PackageError."""
    found = {name: _of_package(name) for name in offered(OF_PACKAGES) if name not in METRICS}
    return {name: metric for name, metric in found.items() if kind in metric.kinds}


@dataclass
class Means:
    """Means of per-example values by slice."""

    totals: Floats = field(default_factory=lambda: np.zeros(0))
    counts: Floats = field(default_factory=lambda: np.zeros(0))

    def add(self, slices: Ints, values: Floats) -> None:
        self.totals = summed(self.totals, slices, values)
        self.counts = summed(self.counts, slices, np.ones(len(values)))

    def values(self, slices: int) -> Floats:
        none = np.zeros(0, np.int64), np.zeros(0)
        totals, counts = summed(self.totals, *none, slices), summed(self.counts, *none, slices)
        return np.asarray(np.divide(totals, counts, out=np.full(slices, np.nan), where=counts > 0))


@dataclass(frozen=True, eq=False)
class Measured:
    """What one who predicts has reached on one slice. metrics: those that are defined.

    counts: "examples" with a label, and with groups "groups", "one_class" and "without_positive" ones.
    curve: of scores of two classes.
    """

    metrics: dict[str, float]
    counts: dict[str, int]
    curve: Curve | None


class Scores:
    """The metrics of one who predicts, by slice.

    kind: that of the prediction, or "rank" for scores that only rank. at: the k of metrics of the first k.
    budget: bytes of memory.
    """

    def __init__(self, kind: str, at: Sequence[int], budget: int) -> None:
        self.kind, self.at = kind, tuple(at)
        self.means: dict[str, Means] = {}
        self.labels = Means()
        two = kind in _TWO
        probability = sigmoid if kind == "binary" else None
        self.thresholds = Thresholds(budget // 2, probability) if two else None
        self.rankings = Rankings(budget // 2, self.at) if two else None
        self.grouped = False
        self.others = {} if kind == "rows" else others(kind)

    def add(
        self,
        slices: Ints,
        outputs: Floats,
        labels: Floats,
        groups: Ints | None = None,
        requests: Ints | None = None,
    ) -> None:
        """outputs: logits [n] (binary), values [n] (real, choice, rank), logits [n, classes] (class) or what
        `catalogue.ranked` gives (rows). labels: [n]. requests: which request each is of (request), [n]; the
        candidates of one come together.
        Raises FileError where a temporary file cannot be written."""
        self.labels.add(slices, labels)
        if self.thresholds is not None:
            self.thresholds.add(slices, outputs, labels)
        if self.rankings is not None and groups is not None:
            self.rankings.add(slices, groups, outputs, labels)
            self.grouped = True
        match self.kind:
            case "binary":
                self._note("logloss", slices, log_loss(outputs, labels))
                self._note("accuracy", slices, (outputs > 0) == (labels > 0.5))
                self._note("@predicted", slices, sigmoid(outputs))
            case "class":
                chosen = np.take_along_axis(outputs, labels.astype(np.int64)[:, None], 1)
                most = outputs.max(1, keepdims=True)
                self._note("logloss", slices, np.log(np.exp(outputs - most).sum(1)) - (chosen - most)[:, 0])
                above, beside = (outputs > chosen).sum(1), (outputs == chosen).sum(1)
                self._among_first(slices, above, beside, outputs.shape[1])
            case "rows":
                self._note("logloss", slices, outputs[:, 0])
                self._among_first(slices, outputs[:, 1], outputs[:, 2], None)
            case "request":
                assert requests is not None
                self._note("logloss", *of_requests(slices, requests, outputs, labels))
            case "real":
                self._note("rmse", slices, (outputs - labels) ** 2)
                self._note("mae", slices, np.abs(outputs - labels))
                self._note("@predicted", slices, outputs)
        for name, metric in self.others.items():
            assert metric.each is not None
            self._note(name, slices, metric.each(outputs, labels))

    def _among_first(
        self, slices: Ints, above: Ints | Floats, beside: Ints | Floats, classes: int | None
    ) -> None:
        """How many labels are among the first k. Classes of one score come in any order. above, beside: how
        many have a higher score than the label's, and the same, itself among them."""
        for k in (1, *(k for k in self.at if k > 1 and (classes is None or k < classes))):
            found = np.clip((k - above) / beside, 0, 1)
            self._note("accuracy" if k == 1 else f"accuracy@{k}", slices, found)

    def _note(self, name: str, slices: Ints, values: Iterable[object]) -> None:
        self.means.setdefault(name, Means()).add(slices, np.asarray(values, np.float64))

    def measured(self, slices: int) -> list[Measured]:
        """Of each slice. The temporary files are gone then."""
        found = {name: means.values(slices) for name, means in self.means.items()}
        counts = {"examples": summed(self.labels.counts, np.zeros(0, np.int64), np.zeros(0), slices)}
        curves: list[Curve] | list[None] = [None] * slices
        if "rmse" in found:
            found["rmse"] = np.sqrt(found["rmse"])
        if "@predicted" in found:
            means = self.labels.values(slices)
            with np.errstate(divide="ignore", invalid="ignore"):
                # Of values of both signs a ratio of means says nothing.
                found["ratio"] = np.where(means > 0, found.pop("@predicted") / means, np.nan)
        if self.thresholds is not None:
            own, curves = self.thresholds.measured(slices)
            found |= own
        if self.rankings is not None and self.grouped:
            ranked, groups = self.rankings.measured(slices)
            found |= ranked
            counts |= {name: values.astype(np.float64) for name, values in groups.items()}
        self.close()
        order = [*METRICS, *self.others]
        names = sorted(found, key=lambda name: (_place(name, order), name.partition("@")[2].zfill(9)))
        return [
            Measured(
                {name: float(found[name][i]) for name in names if np.isfinite(found[name][i])},
                {name: int(values[i]) for name, values in counts.items()},
                curves[i],
            )
            for i in range(slices)
        ]

    def close(self) -> None:
        for part in (self.thresholds, self.rankings):
            if part is not None:
                part.close()


def _place(name: str, order: list[str]) -> int:
    base, at, _ = name.partition("@")
    return order.index(base + at if base + at in order else base)


def log_loss(logits: Floats, labels: Floats) -> Floats:
    """Binary cross entropy of each example, from logits."""
    return np.asarray(np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits))))


def of_requests(slices: Ints, requests: Ints, scores: Floats, labels: Floats) -> tuple[Ints, Floats]:
    """Cross entropy of the softmax of each request's scores with its labels, which are shares of it: of the
    requests in which some label is not 0, each with its slice, of those of its candidates that are in it."""
    if not len(scores):
        return slices, scores
    order = np.lexsort((requests, slices))
    slices, requests, scores, labels = slices[order], requests[order], scores[order], labels[order]
    starts = np.flatnonzero(np.append(True, (np.diff(requests) != 0) | (np.diff(slices) != 0)))
    owner = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(scores))))
    most = np.maximum.reduceat(scores, starts)
    total = most + np.log(np.add.reduceat(np.exp(scores - most[owner]), starts))
    shares = np.add.reduceat(labels, starts)
    chosen = np.add.reduceat(labels * scores, starts)
    asked = shares > 0
    return slices[starts][asked], total[asked] - chosen[asked] / shares[asked]


def sigmoid(logits: Floats) -> Floats:
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small))


def logit(share: float) -> float:
    """The logit of a share, which is kept away from 0 and 1."""
    share = min(max(share, 1e-12), 1 - 1e-12)
    return float(np.log(share) - np.log1p(-share))
