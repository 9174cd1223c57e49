"""Scores of sums are one kernel, where nothing else reads the sums."""

from __future__ import annotations

import pytest

from specc.driver import load_source
from specc.interpret.compare import Expected, unexpected
from specc.lower import lower
from specc.lower.program import walk
from specc.lower.speed import speeds
from specc.passes import optimise
from specc.report import Report
from specc.source import Source
from specc.testing import random_batch
from tests.oracle.subjects import compiled

TEXT = """
model additive
table items = vocab(9, 4)
space ad from candidate {{ item: items }}
space seen[t <= 5] from request {{ item: items }}
hidden = relu((ad |> linear(6)) + (seen |> linear(6)))
score  = hidden |> linear(1)
read   = sum(exp(score) * seen, over t)
predict click: binary = concat(ad, read{more}) |> linear(1)
"""


@pytest.mark.parametrize(("more", "joined"), [("", 1), (", sum(hidden, over t)", 0)])
def test_a_sum_that_nothing_else_reads_is_not_made(more: str, joined: int) -> None:
    graph = load_source(Source("additive.arec", TEXT.format(more=more)), None, {}, Report())
    assert graph is not None
    program = lower(optimise(graph))
    names = [kernel.name for kernel in walk(program.forward)]
    assert names.count("additive_score") == joined
    assert names.count("relu") == 1 - joined
    assert any("a pair of them at a time" in str(speed) for speed in speeds(program)) == bool(joined)


def test_what_follows_is_done_by_itself() -> None:
    """A layer may do what follows it while its result is in the cache; such scores do not."""
    gated = TEXT.replace("linear(1)\nread", "linear(1) |> sigmoid\nread").replace("exp(score)", "score")
    graph = load_source(Source("additive.arec", gated.format(more="")), None, {}, Report())
    assert graph is not None
    model = compiled(graph, "default")
    assert "additive_score(" in model.files["model.py"]
    batch = random_batch(model.manifest, 5, 3, empty=0.3)
    assert not unexpected(model, batch, Expected.of(graph, model, batch))
