"""Batches and variants to test with: what a spec admits, bounds and empties included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, find, given, settings

import specc
from specc.testing import batches, random_batch, variants
from specc_runtime import Bag, Batch, Model

SPEC = """\
model every
param dim = 4 in {2, 4}
param heads = 1 in 1 .. 4
param rate = 0.0 in 0.0 .. 0.5
require dim % heads == 0
table items = vocab(50, dim)
space user from request { id: hash(20, dim), age: bucket([18, 25], dim), tags: bag(vocab(9, dim), max) }
space ad from candidate { item: items, price: number(standard), picture: vector(3) }
space visits[session <= 3, step <= 12] from request { item: items }
space noise[like session] from request { code: ids(5, dim) }
space seen[c <= 4] from candidate { item: items }
inner = mean(visits |> linear(heads), over step)
joined = concat(user, ad, mean(concat(inner, noise), over session), last(seen, over c)) |> dropout(rate)
predict click: binary = joined |> linear(1)
predict kind: class(3) = joined |> linear(3)
predict price: real = joined |> linear(1)
"""
few = settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("every") / "every.arec"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    torch.set_num_threads(1)
    return specc.compile(path).eval()


def is_admitted(batch: Batch, model: Model) -> None:
    """The model reads it, and every number is one that the spec has."""
    bounds = {entry["id"]: entry["bound"] for entry in model.manifest["axes"]}
    for axis, lengths in batch.lengths.items():
        assert lengths.dtype == torch.int64
        assert not len(lengths) or 0 <= int(lengths.min()) <= int(lengths.max()) <= bounds[axis]
    found = model(batch)
    examples = batch.size if batch.candidates is None else int(batch.candidates.sum())
    assert {name: value.shape for name, value in found.items()} == {
        "click": (examples,), "kind": (examples, 3), "price": (examples,),
    }  # fmt: skip
    assert set(batch.labels) == set(found)
    if examples:
        assert model.loss(batch).isfinite()


@pytest.mark.parametrize(
    "options", [{}, {"full": True}, {"longest": 2}, {"candidates": True}, {"empty": 1.0}]
)
def test_a_random_batch_is_admitted_and_repeatable(model: Model, options: dict[str, Any]) -> None:
    for size in (1, 7):
        batch = random_batch(model.manifest, size, 3, **options)
        is_admitted(batch, model)
        again = random_batch(model.manifest, size, 3, **options)
        assert all(torch.equal(batch.lengths[k], again.lengths[k]) for k in batch.lengths)
    if options.get("full"):
        assert batch.lengths["visits.step"].tolist() == [12] * 21
    if options.get("empty"):
        assert int(batch.lengths["visits.session"].sum()) == 0
    if options.get("longest"):
        assert int(batch.lengths["visits.step"].max()) <= 2


def test_a_strategy_gives_what_is_admitted(model: Model) -> None:
    @few
    @given(batches(model), batches(model.manifest, candidates=True, max_size=2))
    def check(batch: Batch, requests: Batch) -> None:
        is_admitted(batch, model)
        is_admitted(requests, model)

    check()


def test_batches_shrink_to_few_and_short_examples(path: Path) -> None:
    def has_a_long_session(batch: Batch) -> bool:
        return int(batch.lengths["visits.step"].max() if len(batch.lengths["visits.step"]) else 0) > 2

    # Always the same search: of 120 random ones, 2 ended before anything was small.
    once = settings(few, max_examples=300, derandomize=True)
    smallest = find(batches(path), has_a_long_session, settings=once)
    assert smallest.size == 1
    assert smallest.lengths["visits.session"].tolist() == [1]
    assert smallest.lengths["visits.step"].tolist() == [3]
    assert smallest.column("visits.item").tolist() == [0, 0, 0]
    bag = smallest.fields["user.tags"]
    assert isinstance(bag, Bag)
    assert bag.lengths.tolist() == [0]


@pytest.mark.parametrize("length", [0, 12])
def test_empties_and_bounds_occur(path: Path, length: int) -> None:
    find(
        batches(path),
        lambda batch: length in batch.lengths["visits.step"].tolist(),
        settings=settings(few, max_examples=300),
    )


def test_variants_keep_the_conditions_and_shrink_to_the_default(path: Path) -> None:
    @few
    @given(variants(path))
    def check(params: dict[str, Any]) -> None:
        assert params["dim"] % params["heads"] == 0
        assert 0.0 <= params["rate"] <= 0.5

    check()
    assert find(variants(path), lambda _: True) == {"dim": 4, "heads": 1, "rate": 0.0}
    assert find(variants(path), lambda p: p["heads"] > 1)["heads"] == 2
    assert find(variants(path, dim=2), lambda _: True)["dim"] == 2


def test_a_faulty_spec_is_told(tmp_path: Path) -> None:
    faulty = tmp_path / "faulty.arec"
    faulty.write_text(SPEC.replace("dim % heads", "dim % head"))
    for strategy in (variants, batches):
        with pytest.raises(specc.SpecError, match="head"):
            strategy(faulty)


def test_pytest_collects_specs_if_it_is_asked_to(path: Path, tmp_path: Path) -> None:
    (tmp_path / "lib.arec").write_text("library lib\nblock f(x[d]) -> [d] { return tanh(x) }\n")
    (tmp_path / "good.arec").write_text(SPEC)
    (tmp_path / "bad.arec").write_text(SPEC.replace("vocab(50, dim)", "vocab(50, dmi)"))
    asked = ["--arec-variants", "1", "--arec-examples", "1", "-q", "-p", "no:cacheprovider"]

    def run(*options: str) -> str:
        command = [sys.executable, "-m", "pytest", str(tmp_path), *asked, *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    said = run("--arec")
    assert "1 failed, 1 passed" in said
    assert "dmi" in said
    assert "Traceback" not in said
    assert "no tests ran" in run()
