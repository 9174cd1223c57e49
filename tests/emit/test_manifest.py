"""The manifest: what the runtime is told of a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from specc.driver import load
from specc.emit.entries import Manifest
from specc.emit.manifest import manifest_of
from specc_runtime import CANDIDATE, Schema
from tests.data.specs import manifest

SPECS = Path(__file__).parents[2] / "specs"
MANIFEST = TypeAdapter(with_config(ConfigDict(extra="forbid", strict=True))(Manifest))


@pytest.mark.parametrize("spec", sorted(SPECS.glob("*.arec")), ids=lambda p: p.stem)
def test_it_is_json_and_reads_back(spec: Path) -> None:
    graph, _ = load(spec)
    assert graph is not None
    found = manifest_of(graph)
    assert MANIFEST.validate_json(json.dumps(found)) == found
    assert {w["path"] for w in found["weights"]} == set(graph.weights)


def test_unknown_keys_are_errors() -> None:
    graph, _ = load(SPECS / "din.arec")
    assert graph is not None
    with pytest.raises(ValidationError, match="hiden"):
        MANIFEST.validate_python({**manifest_of(graph), "hiden": 1})
    *_, last = manifest_of(graph)["fields"]
    with pytest.raises(ValidationError, match="hiden"):
        MANIFEST.validate_python({**manifest_of(graph), "fields": [{**last, "hiden": 1}]})


def test_the_schema_of_nested_axes() -> None:
    graph, _ = load(SPECS / "dsin.arec")
    assert graph is not None
    schema = Schema.of(manifest_of(graph))
    session, step = schema.fields["visits.item"]
    assert (session.id, session.bound) == ("visits.session", 5)
    assert step.parent == session
    assert schema.fields["ad.item"] == (CANDIDATE,)
    assert schema.fields["user.id"] == ()


@pytest.mark.parametrize("spec", ["dien", "dien_official"])
def test_predictions_are_made_without_what_only_losses_read(spec: str) -> None:
    import specc
    from specc.testing.batches import random_batch

    model = specc.compile(SPECS / f"{spec}.arec").eval()
    lost = {f["path"] for f in model.manifest["fields"] if f["training"]}
    assert lost == {"noise.item", "noise.category"}
    batch = random_batch(model.manifest, size=5, seed=0)
    without = replace(batch, fields={k: v for k, v in batch.fields.items() if k not in lost}, labels={})
    assert torch.equal(model(without)["click"], model(batch)["click"])
    assert model.attention(without)
    with pytest.raises(KeyError):
        model.losses(without)


def test_an_axis_that_is_asked_for_keeps_a_field() -> None:
    found = manifest(
        """model m
        table items = vocab(10, 4)
        space user from request { id: items }
        space seen[t <= 3] from request { item: items, gap: number }
        predict click: binary = concat(user, length(t)) |> linear(1)
        loss extra = sum(seen, over t) |> linear(1)
        """
    )
    assert [f["path"] for f in found["fields"] if f["training"]] == ["seen.gap"]
