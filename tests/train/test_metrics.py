"""Metrics against scikit-learn's, and parts that add up to the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from specc_runtime.train.metrics import Auc, Gauc, Mean, log_loss, weighted_auc


@pytest.mark.parametrize("spread", [0.3, 2.0, 20.0])
def test_auc_is_exact_to_five_digits(spread: float) -> None:
    random = np.random.default_rng(0)
    labels = (random.random(20_000) < 0.2).astype(float)
    scores = (random.normal(0, 1, 20_000) + labels) * spread - 1
    auc = Auc()
    for part in np.array_split(np.arange(20_000), 7):
        auc.add(scores[part], labels[part])
    assert auc.value == pytest.approx(roc_auc_score(labels, scores), abs=2e-5)


def test_ties_count_half() -> None:
    auc = Auc()
    auc.add(np.zeros(10), np.array([0.0, 1.0] * 5))
    assert auc.value == 0.5


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_gauc_is_the_weighted_mean_of_the_groups(rows: list[tuple[int, int, bool]]) -> None:
    groups, scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    found, weights = [], []
    for group in np.unique(groups):
        own = groups == group
        if len(np.unique(labels[own])) == 2:
            found.append(roc_auc_score(labels[own], scores[own]))
            weights.append(own.sum())
    value = weighted_auc(groups, scores.astype(float), labels.astype(float))
    if found:
        assert value == pytest.approx(np.average(found, weights=weights))
    else:
        assert math.isnan(value)


def test_parts_merge_to_the_whole() -> None:
    random = np.random.default_rng(1)
    scores, labels = random.normal(size=300), (random.random(300) < 0.5).astype(float)
    groups = random.integers(0, 9, 300)
    halves = slice(0, 100), slice(100, 300)
    aucs, gaucs, means = [Auc(), Auc(), Auc()], [Gauc(), Gauc(), Gauc()], [Mean(), Mean(), Mean()]
    for place, part in enumerate((*halves, slice(None))):
        aucs[place].add(scores[part], labels[part])
        gaucs[place].add(groups[part], scores[part], labels[part])
        means[place].add(log_loss(scores[part], labels[part]))
    for first, second, whole in (aucs, gaucs, means):
        first.merge(second)  # type: ignore[arg-type]
        assert first.value == pytest.approx(whole.value)


def test_log_loss_and_rmse() -> None:
    random = np.random.default_rng(2)
    logits, labels = random.normal(0, 5, 500), (random.random(500) < 0.5).astype(float)
    probabilities = 1 / (1 + np.exp(-logits))
    assert log_loss(logits, labels).mean() == pytest.approx(sklearn_log_loss(labels, probabilities), rel=1e-6)
    rmse = Mean(root=True)
    rmse.add(np.array([9.0, 16.0]))
    assert rmse.value == pytest.approx(math.sqrt(12.5))


def test_nothing_has_no_value() -> None:
    assert all(math.isnan(metric.value) for metric in (Auc(), Gauc(), Mean()))
