"""Every construct of the language: sound after every pass, and compiled to what it means.

Values, losses, attentions and every weight's gradient are held against the definition, with random ragged
batches in which sequences are empty, too.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specc.interpret import Result, examples_of, interpret_together
from specc.interpret.compare import Expected, unexpected
from specc.ir.graph import Graph
from specc.ir.verify import verify
from specc.passes import optimise, stages
from specc.testing import random_batch
from specc_runtime import Batch
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import compiled, construct, draws, every_way, looks_across

EACH = pytest.mark.parametrize("name", CONSTRUCTS)


@EACH
def test_every_stage_is_sound(name: str) -> None:
    for _, graph in stages(construct(name)):
        verify(graph)


@EACH
def test_compiled_is_what_it_means(name: str) -> None:
    """In training, where statistics are of the batch, unless numbers are drawn there."""
    graph = construct(name)
    model = compiled(graph, "none").train(not draws(graph))
    batch = random_batch(model.manifest, 4, seed=len(name), empty=0.3, unlabelled=0.3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model, batch, expected)
    optimised = Expected.of(optimise(graph), model, batch)
    assert not unexpected(model, batch, optimised), "what the passes made means something else"
    for passes in every_way(graph):
        model = compiled(graph, passes).train(not draws(graph))
        assert model.state_dict().keys() == graph.weights.keys(), "a checkpoint fits, whatever the passes"
        assert not unexpected(model, batch, expected), passes


# In the statistics of a batch a request counts once, however many candidates it has.
@pytest.mark.parametrize("name", [n for n in CONSTRUCTS if not looks_across(construct(n))])
def test_requests_with_candidates(name: str) -> None:
    graph = construct(name)
    for passes in ("none", "default"):
        model = compiled(graph, passes)
        batch = random_batch(model.manifest, 3, seed=7 + len(name), empty=0.3, candidates=True)
        assert not unexpected(model, batch, Expected.of(graph, model, batch)), passes


@EACH
def test_single_precision_in_evaluation(name: str) -> None:
    graph = construct(name)
    model = compiled(graph, "default")
    batch = random_batch(model.manifest, 3, seed=len(name))
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model.to(torch.float32), batch, expected, tolerance=1e-5)


@pytest.mark.parametrize(
    "name", ["fields", "bags", "scan_nested", "self_attention", "top", "flatten", "where"]
)
@pytest.mark.parametrize("longest", [0, 1])
def test_nothing_or_one_of_everything(name: str, longest: int) -> None:
    graph = construct(name)
    model = compiled(graph, "default")
    batch = random_batch(model.manifest, 3, seed=1, longest=longest, full=True)
    assert not unexpected(model, batch, Expected.of(graph, model, batch))


def test_running_statistics_follow_the_batch() -> None:
    """By their momentum, the variance without bias; and not at all where they are fixed."""
    graph = construct("batch_norm")
    model = compiled(graph, "default")
    before = {path: weight.clone() for path, weight in model.state_dict().items()}
    batch = random_batch(model.manifest, 5, seed=1)
    model.train()(batch)
    after = model.state_dict()
    users = torch.stack([r.values[graph.bindings["raw"]].only for r in _results(graph, before, batch)])
    for name, was, now in (
        ("running_mean", users.mean(0), 0.3),
        ("running_var", users.var(0), 0.3),
    ):
        path = f"y.batch_norm.{name}"
        torch.testing.assert_close(after[path], (1 - now) * before[path] + now * was)
        assert after[f"z.batch_norm.{name}"].equal(before[f"z.batch_norm.{name}"])


def test_dropout_draws_for_every_example() -> None:
    graph = construct("dropout_of_a_weight")
    model = compiled(graph, "default")
    with torch.no_grad():
        model.get_parameter("w").fill_(1.0)
    batch = random_batch(model.manifest, 40, seed=1)
    torch.manual_seed(0)
    means = model.train()(batch)["mean"].detach()
    assert means.unique().numel() > 1
    assert float(means.mean()) == pytest.approx(1.0, abs=0.03)
    assert float(means.std()) == pytest.approx((0.25 / 0.75 / 200) ** 0.5, rel=0.3)
    assert model.eval()(batch)["mean"].detach().equal(torch.ones(40, dtype=torch.float64))


def _results(graph: Graph, weights: dict[str, Tensor], batch: Batch) -> list[Result]:
    return interpret_together(graph, weights, examples_of(graph, batch))
