"""What a spec, written for one example, cannot know: its company, its order, what is beyond a bound."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specc.driver import load_source
from specc.interpret import examples_of
from specc.interpret.compare import Expected, unexpected
from specc.report import Report
from specc.source import Source
from specc.testing import batches, random_batch
from specc.testing.laws import LAWS, Case
from specc.testing.subject import Subject
from specc_runtime import Batch
from specc_runtime.encode import Encoders, Origin
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import compiled, construct, looks_across

ALONE = [name for name in CONSTRUCTS if not looks_across(construct(name))]


@pytest.mark.parametrize("name", ALONE)
def test_an_example_does_not_know_its_company(name: str) -> None:
    """Batch order, batch splitting, neighbours' lengths, candidates together or apart: no difference."""
    subject = Subject(construct(name), seed=3)
    case = Case(
        subject,
        random_batch(subject.manifest, 3, seed=len(name), empty=0.3),
        random_batch(subject.manifest, 2, seed=len(name), empty=0.3, candidates=True),
    )
    for law in ("order", "alone", "neighbours", "requests", "parts", "finite"):
        ask = LAWS[law].of_case
        assert ask is not None
        assert ask(case) is None, law


DRAWN = ("fields", "bags", "where", "append_candidate", "scan_nested", "scan_of_candidate", "self_attention")


@pytest.mark.parametrize("name", DRAWN)
def test_compiled_is_what_it_means_for_batches_that_are_looked_for(name: str) -> None:
    graph = construct(name)
    model = compiled(graph, "default")

    @settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        batch = data.draw(batches(model, max_size=3, candidates=data.draw(st.booleans())))
        assert not unexpected(model, batch, Expected.of(graph, model, batch))

    holds()


def test_the_definition_reads_a_batch_as_its_examples() -> None:
    """The definition's own reading of packed tensors, and the batch's: the same examples."""
    graph = construct("append_candidate")
    manifest = Subject(graph, 0).manifest
    for candidates in (False, True):
        batch = random_batch(manifest, 5, seed=1, empty=0.3, candidates=candidates)
        apart = [e for i in range(batch.size) for e in examples_of(graph, batch.example(i))]
        together = examples_of(graph, batch)
        assert len(apart) == len(together)
        for one, other in zip(apart, together, strict=True):
            assert one.lengths == other.lengths
            assert {k: {p: str(v) for p, v in held.items()} for k, held in one.fields.items()} == {
                k: {p: str(v) for p, v in held.items()} for k, held in other.fields.items()
            }
        again = Batch.collate([batch.example(i) for i in range(batch.size)])
        assert all(torch.equal(again.lengths[k], v) for k, v in batch.lengths.items())


SEQUENCES = """
model beyond
space ad from candidate { item: ids(9, 4) }
space history[t <= 3] from request { item: ids(9, 4), gap: number(none) }
space visits[session <= 2, step <= 3] from request { page: ids(9, 4) }
x = history.item * history.gap + index(t)
y = visits.page |> flatten(over step) |> flatten(over session)
predict click: binary = concat(ad, last(x, over t), y) |> linear(1)
"""


def test_what_is_beyond_a_bound_changes_nothing() -> None:
    """Of a sequence that is longer than its bound the last positions are what the model sees."""
    graph = load_source(Source("beyond.arec", SEQUENCES), None, {}, Report())
    assert graph is not None
    model = compiled(graph, "default")

    def scores(row: dict[str, Any]) -> list[float]:
        table = pa.Table.from_pylist([row])
        batch = Encoders(model.manifest).encode(table, Origin("row"), labels=False)
        predicted: torch.Tensor = model(batch)["click"]
        return predicted.tolist()

    row: dict[str, Any] = {"ad_item": 3, "history_item": [5, 1, 2], "history_gap": [0.5, 2.0, 1.0]}
    row["visits_page"] = [[1, 2, 3], [4]]
    longer = {**row, "history_item": [7, 8, 5, 1, 2], "history_gap": [9.0, 9.0, 0.5, 2.0, 1.0]}
    longer["visits_page"] = [[8, 8], [7, 7, 1, 2, 3], [4]]
    assert scores(longer) == scores(row)
    other = {**row, "history_item": [5, 1, 3]}
    assert scores(other) != scores(row)
