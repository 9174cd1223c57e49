"""Metrics against scikit-learn's and plain definitions: exact, whatever the scores, budget and order."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    mean_absolute_error,
    ndcg_score,
    precision_recall_curve,
    roc_auc_score,
    root_mean_squared_error,
    top_k_accuracy_score,
)
from sklearn.metrics import log_loss as sklearn_log_loss

from specc.elaborate.metrics import AT as AT_OF_SPECS
from specc.elaborate.metrics import GROUPED
from specc.elaborate.metrics import METRICS as OF_SPECS
from specc_runtime.train.metrics import METRICS, Measured, Scores, log_loss, metric_of, sigmoid
from specc_runtime.train.spill import Sorted

AMPLE, SCANT = 1 << 26, 1  # the second makes all that can spill


def measured(
    scores: Any, labels: Any, groups: Any = None, slices: Any = None, kind: str = "binary",
    at: tuple[int, ...] = (3,), budget: int = AMPLE, parts: int = 3,
) -> list[Measured]:  # fmt: skip
    found = Scores(kind, at, budget)
    n = len(labels)
    slices = np.zeros(n, np.int64) if slices is None else np.asarray(slices)
    for part in np.array_split(np.arange(n), parts):
        own = None if groups is None else np.asarray(groups, np.int64)[part]
        labelled = np.asarray(labels, np.float64)[part]
        found.add(slices[part], np.asarray(scores, np.float64)[part], labelled, own)
    return found.measured(int(slices.max(initial=0)) + 1)


def one(*arguments: Any, **options: Any) -> dict[str, float]:
    (found,) = measured(*arguments, **options)
    return found.metrics


# Ties, clusters within 1e-6, and logits of any size.
LOGITS = st.one_of(
    st.integers(-2, 2).map(float),
    st.integers(0, 9).map(lambda i: 1.0 + i * 1e-7),
    st.floats(-1e300, 1e300),
)
ROWS = st.lists(st.tuples(st.integers(0, 3), LOGITS, st.booleans()), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.sampled_from([AMPLE, SCANT]))
@example([(0, 1e300, True), (0, 1e-300, False)], AMPLE)
def test_auc_log_loss_and_accuracy_are_scikit_learns(
    rows: list[tuple[int, float, bool]], budget: int
) -> None:
    _, scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    found = one(scores, labels, budget=budget)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, scores > 0))
    if len(np.unique(labels)) == 2:
        assert found["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    else:
        assert "auc" not in found
    small = np.clip(scores, -12, 12)  # beyond, probabilities next to 1 round the loss away
    mine = one(small, labels, budget=budget)["logloss"]
    assert mine == pytest.approx(sklearn_log_loss(labels, sigmoid(small), labels=[0, 1]), rel=1e-6, abs=1e-12)


def test_clustered_logits_have_their_auc() -> None:
    """A histogram of scores gave .56 for .76 here."""
    random = np.random.default_rng(0)
    labels = random.random(20_000) < 0.3
    scores = -4 + 1e-6 * (random.normal(size=20_000) + labels)
    found = one(scores, labels, budget=1 << 17, parts=17)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-13)
    assert found["auc"] > 0.75


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_gauc_is_the_weighted_mean_of_the_groups(rows: list[tuple[int, float, bool]]) -> None:
    groups, scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    aucs, weights = [], []
    for group in np.unique(groups):
        own = groups == group
        if len(np.unique(labels[own])) == 2:
            aucs.append(roc_auc_score(labels[own], scores[own]))
            weights.append(own.sum())
    (found,) = measured(scores, labels, groups, budget=SCANT)
    if aucs:
        assert found.metrics["gauc"] == pytest.approx(np.average(aucs, weights=weights), abs=1e-12)
    else:
        assert "gauc" not in found.metrics
    assert found.counts["groups"] == len(np.unique(groups))
    assert found.counts["one_class"] == found.counts["groups"] - len(aucs)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 1), st.booleans()), min_size=1, max_size=15),
    st.integers(1, 6),
)
def test_rankings_are_what_any_order_of_ties_gives_on_average(
    rows: list[tuple[int, int, bool]], k: int
) -> None:
    groups, scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    found = one(scores, labels, groups, at=(k,), budget=SCANT)
    ndcg, hits, places = [], [], []
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        if not labels[own].any():
            continue
        if len(own) > 1:
            ndcg.append(ndcg_score(labels[own][None].astype(float), scores[own][None], k=k))
        else:
            ndcg.append(1.0)
        within = own[:7]  # all orders of more are too many: these groups are asked below
        if len(own) > len(within):
            return
        random = [np.array(order) for order in itertools.permutations(within)]
        ranked = [labels[order[np.argsort(-scores[order], kind="stable")]] for order in random]
        hits.append(np.mean([r[:k].any() for r in ranked]))
        places.append(np.mean([1 / (np.argmax(r) + 1) for r in ranked]))
    if ndcg:
        assert found[f"ndcg@{k}"] == pytest.approx(np.mean(ndcg), abs=1e-12)
        assert found[f"hit_rate@{k}"] == pytest.approx(np.mean(hits), abs=1e-12)
        assert found["mrr"] == pytest.approx(np.mean(places), abs=1e-12)
    else:
        assert "mrr" not in found


@pytest.mark.parametrize(("n", "relevant"), [(30, 1), (200, 1), (200, 3), (150_000, 1), (150_000, 2)])
def test_large_ties(n: int, relevant: int) -> None:
    labels = np.arange(n) < relevant
    found = one(np.zeros(n), labels, np.zeros(n), at=(10,))
    # The first positive is at place i where the others are among the n - i behind it.
    places = np.arange(1, n - relevant + 2)
    chance = np.cumprod(np.append(1.0, (n - relevant - places[:-1] + 1) / (n - places[:-1] + 1)))
    chance *= relevant / (n - places + 1)
    assert chance.sum() == pytest.approx(1.0)
    assert found["mrr"] == pytest.approx((chance / places).sum(), rel=1e-9)
    assert found["hit_rate@10"] == pytest.approx(chance[:10].sum(), rel=1e-9)


@pytest.mark.parametrize("parts", [1, 13])
def test_neither_budget_nor_parts_change_a_bit(parts: int) -> None:
    random = np.random.default_rng(3)
    n = 60_000
    labels, groups = random.random(n) < 0.2, random.integers(0, 900, n)
    groups[:20_000] = 5  # one far larger than any block
    scores = np.round(random.normal(size=n) + labels, 3)
    slices = random.integers(0, 3, n)
    ample = measured(scores, labels, groups, slices, at=(1, 5))
    scant = measured(scores, labels, groups, slices, at=(1, 5), budget=1 << 19, parts=parts)
    for whole, spilled in zip(ample, scant, strict=True):
        assert whole.counts == spilled.counts
        exact = {"auc", "gauc", "ndcg@1", "ndcg@5", "hit_rate@1", "hit_rate@5", "mrr"}
        assert {m: whole.metrics[m] for m in exact} == {m: spilled.metrics[m] for m in exact}
        assert whole.metrics == pytest.approx(spilled.metrics, rel=1e-12)
        assert whole.curve is not None
        assert spilled.curve is not None
        assert np.array_equal(whole.curve.points, spilled.curve.points)
        assert whole.curve.bins == pytest.approx(spilled.curve.bins, rel=1e-12)


def test_slices_are_measured_as_if_alone() -> None:
    random = np.random.default_rng(4)
    labels, groups = random.random(3000) < 0.4, random.integers(0, 50, 3000)
    scores, slices = random.normal(size=3000), random.integers(0, 4, 3000)
    for i, found in enumerate(measured(scores, labels, groups, slices)):
        own = slices == i
        (alone,) = measured(scores[own], labels[own], groups[own])
        assert found.metrics == pytest.approx(alone.metrics, rel=1e-12)
        assert found.counts == alone.counts


def test_calibration() -> None:
    random = np.random.default_rng(5)
    scores = random.normal(-3, 1, 20_000)
    labels = random.random(20_000) < sigmoid(scores - 0.5)
    (found,) = measured(scores, labels, parts=7)
    assert found.curve is not None
    share, predicted = calibration_curve(labels, sigmoid(scores), n_bins=20, strategy="quantile")
    assert found.curve.bins[:, 2].tolist() == [1000.0] * 20
    assert found.curve.bins[:, 0] == pytest.approx(predicted, abs=1e-6)
    assert found.curve.bins[:, 1] == pytest.approx(share, abs=2e-3)  # its edges lie elsewhere
    assert found.metrics["ece"] == pytest.approx(np.mean(np.abs(share - predicted)), abs=1e-3)
    assert found.metrics["ratio"] == pytest.approx(sigmoid(scores).mean() / labels.mean())
    tied = one(np.zeros(100), np.arange(100) < 30)  # one score is one bin, however many there are of it
    assert tied["ece"] == pytest.approx(0.2)


def test_curves_go_through_scikit_learns_points() -> None:
    random = np.random.default_rng(6)
    labels = random.random(5000) < 0.3
    scores = np.round(random.normal(size=5000) + labels, 1)
    (found,) = measured(scores, labels, budget=SCANT)
    assert found.curve is not None
    points = found.curve.points
    whole = points[-1]
    assert points[0].tolist() == [0, 0]
    assert whole.tolist() == [labels.sum(), (~labels).sum()]
    assert np.trapezoid(points[:, 0], points[:, 1]) / whole.prod() == pytest.approx(
        found.metrics["auc"], abs=2e-3
    )
    precision, recall, _ = precision_recall_curve(labels, scores)
    theirs = {(round(p, 9), round(r, 9)) for p, r in zip(precision, recall, strict=True)}
    mine = points[1:]
    assert {(round(tp / (tp + fp), 9), round(tp / whole[0], 9)) for tp, fp in mine} <= theirs


def test_classes() -> None:
    random = np.random.default_rng(7)
    logits, labels = random.normal(size=(500, 6)) * 4, random.integers(0, 6, 500)
    found = one(logits, labels, kind="class", at=(1, 3, 6, 10))
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probability = shifted / shifted.sum(1, keepdims=True)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert found["accuracy@3"] == pytest.approx(top_k_accuracy_score(labels, logits, k=3))
    assert found["logloss"] == pytest.approx(sklearn_log_loss(labels, probability))
    assert set(found) == {"accuracy", "accuracy@3", "logloss"}
    assert one(np.zeros((8, 4)), np.arange(8) % 4, kind="class")["accuracy"] == 0.25


def test_real_values_have_no_auc() -> None:
    random = np.random.default_rng(8)
    labels = random.integers(0, 2, 400).astype(float)
    values = labels + random.normal(size=400)
    found = one(values, labels, np.zeros(400), kind="real")
    assert set(found) == {"rmse", "mae", "ratio"}
    assert found["rmse"] == pytest.approx(root_mean_squared_error(labels, values))
    assert found["mae"] == pytest.approx(mean_absolute_error(labels, values))


def test_soft_labels_are_shares_of_both() -> None:
    scores, labels = np.array([1.0, 2.0, 3.0, 2.0]), np.array([0.25, 0.5, 1.0, 0.0])
    both = np.concatenate([scores, scores])
    expected = roc_auc_score([1] * 4 + [0] * 4, both, sample_weight=np.concatenate([labels, 1 - labels]))
    assert one(scores, labels)["auc"] == pytest.approx(expected)


def test_nothing_has_no_value() -> None:
    for kind in ("binary", "rank", "real"):
        (found,) = measured([], [], kind=kind, parts=1)
        assert found.metrics == {}
        assert found.counts == {"examples": 0}
    assert log_loss(np.array([1e308, -1e308]), np.array([1.0, 0.0])).tolist() == [0.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-50, 50)), max_size=900), st.booleans())
def test_sums_come_in_the_order_of_the_keys(rows: list[tuple[int, int]], in_order: bool) -> None:
    rows = sorted(rows) if in_order else rows
    both = Sorted((np.int32, np.float64), 1, SCANT)
    for at in range(0, len(rows), 37):
        part = np.array(rows[at : at + 37]).reshape(-1, 2)
        both.add(part[:, 0], part[:, 1], np.ones(len(part)))
    for _ in range(2):
        found = [
            tuple(row) for block in both.blocks() for row in zip(*(c.tolist() for c in block), strict=True)
        ]
        keys, counts = np.unique(np.array(rows).reshape(-1, 2), axis=0, return_counts=True)
        assert found == [(*key, n) for key, n in zip(keys.tolist(), counts.tolist(), strict=True)]
    both.close()


_MANY = """
import resource, sys
import numpy as np
from specc_runtime.train.metrics import Scores
limit, rows = int(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
random = np.random.default_rng(0)
found = Scores("binary", (10,), 8 << 20)
begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(rows // 10_000):
    labels = (random.random(10_000) < 0.1).astype(float)
    groups = random.integers(0, 1 << 40, 10_000)
    found.add(np.zeros(10_000, np.int64), random.normal(size=10_000), labels, groups)
found.measured(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun)
"""


def _many(limit: int, rows: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _MANY, str(limit), str(rows)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_memory_does_not_grow_with_the_examples() -> None:
    found = _many(0, 1_000_000)  # 72 MB of scores
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < 40_000  # kB


def test_a_full_disk_is_told() -> None:
    found = _many(1 << 20, 400_000)
    assert "FileError" in found.stderr
    assert "too large for the disk" in found.stderr
    assert "set TMPDIR to a folder on a disk with more room" in found.stderr


def test_the_compiler_knows_the_same_metrics() -> None:
    mine = {n: tuple(k for k in m.kinds if k != "rank") for n, m in METRICS.items() if not m.at}
    assert dict(OF_SPECS) == {n: kinds for n, kinds in mine.items() if n != "ratio"}
    assert {f"{n}@10": tuple(kinds) for n, kinds in AT_OF_SPECS.items()} == {
        f"{n}@10": tuple(k for k in metric_of(f"{n}@10").kinds if k != "rank") for n in AT_OF_SPECS
    }
    assert all(metric_of(f"{n}@10").at for n in AT_OF_SPECS)
    assert {n for n in [*OF_SPECS, *AT_OF_SPECS] if metric_of(n).grouped} == GROUPED
