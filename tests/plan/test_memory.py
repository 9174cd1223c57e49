"""Predicted memory: what it is made of, and that it is what a process takes."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench.memory import MODES, SEVEN, Subject
from specc.driver import load, load_source
from specc.ir.graph import Graph
from specc.passes import optimise
from specc.passes.placement import place
from specc.plan.activations import ALL
from specc.plan.lengths import Lengths
from specc.plan.memory import predict
from specc.report import Report
from specc.source import Source

SPECS = Path(__file__).parents[2] / "specs"
WITHIN = 0.05
SPEC = """
model small
table items = vocab(1000, 8)
space user from request { id: vocab(500, 4), age: number(standard) }
space ad from candidate { item: items }
space history[t <= 20] from request { item: items }
joined = concat(user, ad, sum(history |> linear(16), over t))
predict click: binary = joined |> linear(4) |> relu |> linear(1)
"""


def graph_of(train: str = "", text: str = SPEC) -> Graph:
    report = Report()
    graph = load_source(Source("small.arec", text + train), None, {}, report)
    assert graph is not None, [d.message for d in report]
    return optimise(graph)


def adam() -> Graph:
    return graph_of("train { optimizer = adam(lr = 0.001), batch = 64, epochs = 1 }")


@pytest.mark.parametrize("model", SEVEN)
def test_what_is_predicted_is_what_is_held(model: str) -> None:
    subject = Subject(model)
    for batch in (32, 256, 4096) if os.environ.get("AREC_LONG") == "1" else (32, 256):
        found = subject.row(batch)
        for work in MODES:
            assert abs(found.error(work)) < WITHIN, (batch, work, found.predicted[work], found.held[work])


def test_weights_gradients_and_the_optimizers_state() -> None:
    load_ = predict(adam(), 64, Lengths(), "training")[ALL]
    assert load_.tables == 4 * (1000 * 8 + 500 * 4)
    matrices = 8 * 16 + 16 + 29 * 4 + 4 + 4 + 1
    assert load_.weights == 4 * matrices
    assert load_.optimizer == 2 * (load_.tables + load_.weights)
    # Of the tables only the distinct rows of the batch, with their ids.
    items, users = (1000 * (1 - math.exp(-64 * 21 / 1000)), 500 * (1 - math.exp(-64 / 500)))
    assert load_.gradients == 4 * matrices + int(items * (4 * 8 + 8)) + int(users * (4 * 4 + 8))


@pytest.mark.parametrize(
    ("rule", "states", "dense"),
    [
        ("sgd(lr = 1.0)", 0, False),
        ("sgd(lr = 1.0, momentum = 0.9)", 1, True),
        ("adagrad(lr = 0.1)", 1, False),
        ("adam(lr = 0.1)", 2, False),
    ],
)
def test_rules(rule: str, states: int, dense: bool) -> None:
    graph = graph_of(f"train {{ optimizer = {rule}, batch = 64, epochs = 1 }}")
    load_ = predict(graph, 4, Lengths(), "training")[ALL]
    assert load_.optimizer == states * (load_.tables + load_.weights)
    assert (load_.gradients == load_.tables + load_.weights) == dense


def test_scoring_takes_no_gradients_and_less_room() -> None:
    training = predict(adam(), 64, Lengths(), "training")[ALL]
    scoring = predict(adam(), 64, Lengths(), "scoring")[ALL]
    assert (scoring.gradients, scoring.optimizer) == (0, 0)
    assert scoring.parameters == training.parameters
    assert 0 < scoring.activations <= training.total - training.parameters - training.optimizer


@pytest.mark.parametrize("work", MODES)
def test_activations_follow_the_batch_and_the_lengths(work: str) -> None:
    graph = adam()
    mode = MODES[MODES.index(work)]  # type: ignore[arg-type]

    def activations(batch: int, lengths: Lengths) -> int:
        return predict(graph, batch, lengths, mode)[ALL].activations

    one, two = activations(500, Lengths()), activations(1000, Lengths())
    assert two == pytest.approx(2 * one, rel=0.02)
    short = Lengths({("history", "t"): (5.0, 25.0)})
    assert activations(1000, short) < 0.5 * two


@pytest.mark.parametrize("spec", SEVEN)
def test_a_placed_model_takes_what_it_takes_unplaced_and_its_transfers(spec: str) -> None:
    graph, report = load(SPECS / f"{spec}.arec")
    assert graph is not None, list(report)
    graph = optimise(replace(graph, places={}, devices={}))
    whole = predict(graph, 256, Lengths(), "training")[ALL]
    placed = place(replace(graph, devices={"a": "cpu", "b": "cuda:0"}, places={"tables": "a", "rest": "b"}))
    parts = predict(placed, 256, Lengths(), "training")
    assert set(parts) == {"a", "b"}
    assert sum(p.tables for p in parts.values()) == whole.tables == parts["a"].tables
    assert sum(p.weights for p in parts.values()) == whole.weights
    assert sum(p.optimizer for p in parts.values()) == whole.optimizer
    # Both ends of a transfer have the value.
    assert sum(p.total for p in parts.values()) >= 0.95 * whole.total


def test_frozen_weights_have_no_gradient() -> None:
    text = SPEC.replace("vocab(1000, 8)", "vocab(1000, 8, frozen)")
    load_ = predict(graph_of(text=text), 64, Lengths(), "training")[ALL]
    assert load_.tables == 4 * (1000 * 8 + 500 * 4)
    assert load_.optimizer == 2 * (4 * 500 * 4 + load_.weights)
