"""The training loop: learns, is the same whether interrupted or not, and says what went wrong."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import specc
from specc_runtime import ArtefactError, Model, from_texts, load
from specc_runtime.encode import load_encoders
from specc_runtime.train import (
    Baselines,
    Interrupted,
    Outcome,
    Progress,
    Recipe,
    TrainingError,
    evaluate_files,
    fit,
)
from tests.train.small import interrupting, write_examples, write_spec


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spec(tmp_path_factory.mktemp("spec"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_examples(tmp_path_factory.mktemp("data"))


@functools.cache
def texts_of(spec: Path) -> dict[str, str]:
    return specc.compile(spec).files


def model_of(spec: Path) -> Model:
    texts = texts_of(spec)  # before the seed: the first time it compiles, which draws weights too
    torch.manual_seed(0)
    return from_texts(texts)


def trained(
    spec: Path,
    data: Path,
    directory: Path,
    watch: Callable[[Progress], None] = lambda progress: None,
    resume: bool = False,
    valid: bool = False,
    **changes: Any,
) -> tuple[Model, Outcome]:
    model = model_of(spec)
    recipe = Recipe.of(model.manifest).changed(**changes)
    held = [data / "test.parquet"] if valid else []
    done = fit(model, [data / "train.parquet"], directory, recipe, valid=held, resume=resume, watch=watch)
    return model, done


def weights(model: Model) -> dict[str, Tensor]:
    return {path: value.clone() for path, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def test_it_learns_and_is_saved(spec: Path, data: Path, tmp_path: Path) -> None:
    model, done = trained(spec, data, tmp_path, epochs=12)
    losses = [epoch["loss"] for epoch in done.epochs]
    assert losses[-1] < 0.75 * losses[0]
    results = evaluate_files(model, tmp_path, [data / "test.parquet"]).results["click"]
    assert results["model"]["auc"] > max(0.7, results["popularity"]["auc"] + 0.1)
    assert results["mean"]["auc"] == 0.5
    assert results["model"]["logloss"] < results["mean"]["logloss"]
    assert {"auc", "gauc", "logloss", "accuracy", "ndcg@10", "mrr", "ece"} < set(results["model"])
    again = evaluate_files(load(tmp_path), tmp_path, [data / "test.parquet"]).results["click"]
    assert again == results


def test_the_same_seed_gives_the_same_weights(spec: Path, data: Path, tmp_path: Path) -> None:
    first, _ = trained(spec, data, tmp_path / "a", epochs=1)
    second, _ = trained(spec, data, tmp_path / "b", epochs=1)
    other, _ = trained(spec, data, tmp_path / "c", epochs=1, seed=1)
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize(("step", "optimizer"), [(3, "adam"), (13, "adagrad"), (20, "sgd")])
def test_an_interrupted_training_goes_on_exactly(
    spec: Path, data: Path, tmp_path: Path, step: int, optimizer: str
) -> None:
    recipe = {"epochs": 2, "optimizer": optimizer, "lr": 0.05, "clip": 1.0}
    whole, expected = trained(spec, data, tmp_path / "whole", valid=True, **recipe)
    with pytest.raises(Interrupted):
        trained(spec, data, tmp_path / "part", interrupting(step), valid=True, **recipe)
    resumed, done = trained(spec, data, tmp_path / "part", resume=True, valid=True, **recipe)
    assert same(weights(resumed), weights(whole))
    assert [{**e, "seconds": 0} for e in done.epochs] == [{**e, "seconds": 0} for e in expected.epochs]
    assert same(weights(load(tmp_path / "part")), weights(load(tmp_path / "whole")))


def test_checkpoints_between_epochs_and_more_epochs_later(spec: Path, data: Path, tmp_path: Path) -> None:
    whole, _ = trained(spec, data, tmp_path / "whole", epochs=3)
    trained(spec, data, tmp_path / "part", epochs=1, every=5)
    resumed, done = trained(spec, data, tmp_path / "part", resume=True, epochs=3)
    assert same(weights(resumed), weights(whole))
    assert [epoch["epoch"] for epoch in done.epochs] == [1, 2, 3]


def test_what_cannot_be_resumed_is_said(spec: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="has no checkpoint to go on from; train without"):
        trained(spec, data, tmp_path / "none", resume=True)
    trained(spec, data, tmp_path / "part", epochs=1)
    with pytest.raises(ArtefactError, match=r"trained with batch 32, not 64(.|\n)*train without --resume"):
        trained(spec, data, tmp_path / "part", resume=True, batch=64)
    (tmp_path / "part" / "checkpoint" / "optimizer.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match=r"optimizer\.safetensors is not the file that was saved"):
        trained(spec, data, tmp_path / "part", resume=True)


def test_the_best_epoch_is_kept(spec: Path, data: Path, tmp_path: Path) -> None:
    model, done = trained(spec, data, tmp_path, valid=True, epochs=8, patience=1, lr=0.2)
    values = [epoch["valid"]["click"]["auc"] for epoch in done.epochs]
    assert done.best == values.index(max(values)) + 1
    assert len(values) < 8 or done.best >= 7
    found = evaluate_files(model, tmp_path, [data / "test.parquet"]).results["click"]["model"]["auc"]
    assert found == pytest.approx(max(values))
    assert same(weights(load(tmp_path)), weights(model))


def test_weights_that_a_step_broke_are_named(spec: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as found:
        trained(spec, data, tmp_path, optimizer="sgd", lr=1e20, epochs=3)
    message = str(found.value)
    assert "is not a finite number at step 2 (epoch 1)" in message
    assert "the weight click." in message
    assert "moved by the step before, whose gradient was finite" in message
    assert "try a smaller learning rate" in message
    assert "clip" in message


def test_rows_are_counted_for_the_penalty_by_frequency(spec: Path, data: Path, tmp_path: Path) -> None:
    model, _ = trained(spec, data, tmp_path, epochs=1)
    counts = model.part("items").counts
    vocabulary = load_encoders(tmp_path, model.manifest).vocabularies["items"]
    # The vocabulary was learned from the very same values.
    assert counts[1 : len(vocabulary.keys) + 1].tolist() == vocabulary.counts.tolist()
    baselines = Baselines.load(tmp_path)
    assert baselines is not None
    assert baselines.item == "ad.item"
    assert 0 < int(baselines.positives["click"].sum()) < 400


def test_options_become_torchs() -> None:
    manifest = {"train": {"optimizer": {"name": "adam", "options": {"lr": 0.1, "beta1": 0.5, "beta2": 0.6,
                "eps": 1e-7, "weight_decay": 0.0}}, "batch": 1, "epochs": 1, "metric": "auc", "group": None,
                "clip": None}}  # fmt: skip
    layer = torch.nn.Linear(2, 1)
    group = Recipe.of(manifest).changed(lr=0.3).build(layer).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.3, (0.5, 0.6), 1e-7)
    start = Recipe("adagrad", {"lr": 0.1, "initial": 0.25}).build(layer).param_groups[0]
    assert start["initial_accumulator_value"] == 0.25
    assert Recipe("rmsprop", {"lr": 0.1, "alpha": 0.9}).build(layer).param_groups[0]["alpha"] == 0.9


def test_the_state_is_text_that_can_be_read(spec: Path, data: Path, tmp_path: Path) -> None:
    trained(spec, data, tmp_path, epochs=1)
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    assert state["place"] == {"epoch": 1, "unit": 0, "row": 0}
    assert state["about"]["batch"] == 32
