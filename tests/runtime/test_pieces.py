"""Many candidates are computed in pieces: the same values, less memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.memory import held_by
from specc.driver import load
from specc.lower import lower
from specc.lower.print import print_program
from specc.passes import optimise
from specc.testing import random_batch
from specc.testing.laws import LAWS, Case, first_candidates
from specc.testing.subject import Subject
from specc_runtime import CANDIDATE, Batch, Model
from specc_runtime.batch import Schema
from specc_runtime.pieces import pieces_of
from specc_runtime.score.requests import predictions
from specc_runtime.score.sample import sample
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import compiled, construct, looks_across
from tests.specs.small import SPECS, few_rows


def long(name: str, **params: str) -> Model:
    graph, report = load(SPECS / "more" / f"{name}.arec", params)
    assert graph is not None, list(report)
    return compiled(few_rows(graph, 40), "default").float()


def request(model: Model, candidates: int, length: int) -> Batch:
    """A request whose rows of tables are drawn."""
    found = sample(Schema.of(model.manifest), model.manifest, candidates, length)
    torch.manual_seed(0)
    drawn = {
        path: torch.randint(0, 3, values.shape) if values.dtype == torch.int64 else values
        for path, values in found.fields.items()
        if isinstance(values, torch.Tensor)
    }
    return replace(found, fields={**found.fields, **drawn})


@pytest.mark.parametrize(
    ("name", "params"),
    [("twin", {}), ("sim", {"search": "hard"}), ("sim", {"search": "soft"}), ("eta", {}), ("sdim", {})],
)
def test_many_candidates_with_long_histories_take_little_memory(name: str, params: dict[str, str]) -> None:
    model = long(name, **params)
    given = request(model, 2_000, 200)
    with torch.no_grad():
        model(request(model, 256, 64))  # kernels that are compiled
        assert held_by(lambda: model(given.to("cpu"))) < 60e6
        found = model(given)["click"]
        model.at_once = None
        assert torch.allclose(found, model(given)["click"], atol=1e-5)


def test_pieces_are_the_batch() -> None:
    """Of requests with none, one and many candidates, bags and axes of candidates."""
    for name in ("bags", "scan_of_candidate", "append_candidate"):
        model = compiled(construct(name), "default")
        assert model.at_once is not None
        widths = model.at_once[1]
        several = [random_batch(model.manifest, 2, seed, empty=0.3, candidates=True) for seed in range(3)]
        none = first_candidates(several[0], 0)
        for batch in (Batch.collate([none, *several, none]), first_candidates(several[1], 1)):
            total = int(batch.candidates.sum())  # type: ignore[union-attr]
            pieces = list(pieces_of(batch, 1, widths))
            assert len(pieces) == (total if total > 1 else 0)
            assert all(piece.size == batch.size for piece in pieces)
            with torch.no_grad():
                wanted = model(batch)
                found = [model(piece) for piece in pieces]
            for key, values in wanted.items():
                assert not found or torch.allclose(torch.cat([x[key] for x in found]), values, atol=1e-12)
        assert not list(pieces_of(none, 1, widths))


def test_no_value_of_a_piece_is_too_large() -> None:
    model = long("twin")
    assert model.at_once is not None
    batch, (_, widths) = request(model, 300, 20), model.at_once
    pieces = list(pieces_of(batch, 10_000, widths))
    for piece in pieces:
        for axes, width in widths:
            assert piece.layout[(CANDIDATE, *axes)].count * width <= 10_000
    counts = [int(piece.candidates.sum()) for piece in pieces if piece.candidates is not None]
    assert (sum(counts), len(counts), max(counts)) == (300, 20, 15)


def test_who_scores_in_pieces() -> None:
    """Who predicts, in evaluation; not who trains, nor who asks for gradients."""
    model = long("twin")
    assert model.at_once is not None
    batch = request(model, 7, 3)
    wanted = model(batch)["click"]
    assert wanted.requires_grad
    sizes: list[int] = []
    part = model.get_submodule("click.linear")
    part.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    model.at_once = 1, model.at_once[1]
    assert torch.equal(model(batch)["click"], wanted)
    with torch.inference_mode():
        found = [model(batch), model.candidate_part(model.request_part(batch), batch)]
    assert all(torch.allclose(x["click"], wanted) for x in found)
    assert torch.allclose(torch.from_numpy(predictions(model, batch)["click"]), wanted.double().sigmoid())
    with torch.no_grad():
        model.train()(batch)
        model.eval()(first_candidates(batch, 1))
        model(replace(first_candidates(batch, 1), candidates=None))
    assert sizes == [7, *[1] * 21, 7, 1, 1]


def test_statistics_of_a_batch_are_of_all_candidates() -> None:
    """Where candidates are compared with one another they stay together."""
    names = [name for name in CONSTRUCTS if looks_across(construct(name))]
    assert names
    for name in names:
        subject = Subject(construct(name), seed=3)
        assert subject.model.at_once is None
        assert "candidates all at once" in print_program(lower(optimise(construct(name))))
        batch = random_batch(subject.manifest, 2, seed=1, candidates=True)
        ask = LAWS["parts"].of_case
        assert ask is not None
        assert ask(Case(subject, random_batch(subject.manifest, 2, seed=1), batch)) is None
