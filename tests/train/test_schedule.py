"""Schedules: what the learning rate is at a step, also after an interruption; recipes of specs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import specc
from specc.cli import main
from specc_runtime import Model, from_texts
from specc_runtime.train import Interrupted, Progress, Recipe, fit
from specc_runtime.train.schedule import Moment, factor
from tests.train.small import SPEC, write_examples, write_spec


def at(epoch: float, steps: int = 100, epochs: int = 10) -> Moment:
    return Moment(round(epoch * steps), epoch, steps, epochs)


@pytest.mark.parametrize(("decay", "moments", "factors"), [
    ({"kind": "step", "every": [2, "epoch"], "factor": 0.1}, [0, 1.99, 2, 4.5], [1, 1, 0.1, 0.01]),
    ({"kind": "step", "every": [50, "step"], "factor": 0.5}, [0, 0.49, 0.5, 1], [1, 1, 0.5, 0.25]),
    ({"kind": "step", "at": [[1, 3], "epoch"], "factor": 0.1}, [0.5, 1, 2.9, 3], [1, 0.1, 0.1, 0.01]),
    ({"kind": "step", "at": [300, "step"], "factor": 0.1}, [2.99, 3, 8], [1, 0.1, 0.1]),
    ({"kind": "exponential", "every": [1, "epoch"], "factor": 0.81}, [0, 0.5, 1], [1, 0.9, 0.81]),
    ({"kind": "cosine", "over": [4, "epoch"], "least": 0.0}, [0, 2, 4, 9], [1, 0.5, 0, 0]),
    ({"kind": "cosine", "over": None, "least": 0.2}, [0, 5, 10], [1, 0.6, 0.2]),
    (None, [0, 7], [1, 1]),
])  # fmt: skip
def test_factors(decay: Any, moments: list[float], factors: list[float]) -> None:
    assert [factor(decay, None, at(epoch)) for epoch in moments] == pytest.approx(factors)


def test_warm_up() -> None:
    assert [factor(None, [4, "step"], at(step / 100)) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert factor(None, [2, "epoch"], at(0.99)) == pytest.approx(0.5)
    cosine = {"kind": "cosine", "over": [4, "epoch"], "least": 0.0}
    assert factor(cosine, [100, "step"], at(2.5)) == pytest.approx(0.5)


@given(st.integers(0, 10_000), st.integers(1, 977))
def test_steps_of_whole_epochs_begin_with_them(step: int, steps: int) -> None:
    """However many steps an epoch has."""
    moment = Moment(step, step // steps + (step % steps) / steps, steps, 10)
    halved = {"kind": "step", "every": [1, "epoch"], "factor": 0.5}
    assert factor(halved, None, moment) == 0.5 ** (step // steps)


def scheduled(folder: Path, options: str) -> Path:
    return write_spec(folder, SPEC.replace("adam(lr = 0.02)", f"adam(lr = 0.02, {options})"))


def model_of(spec: Path) -> Model:
    texts = specc.compile(spec).files
    torch.manual_seed(0)
    return from_texts(texts)


def test_a_loop_has_the_rates_of_torchs_schedule(tmp_path: Path) -> None:
    data = write_examples(tmp_path / "data", rows=128)
    model = model_of(
        scheduled(tmp_path, "decay = exponential(every = 1 epoch, factor = 0.5), warmup = 3 steps")
    )
    recipe = Recipe.of(model.manifest)
    rates: list[float] = []
    built = Recipe.build

    def build(self: Recipe, model: Model) -> Any:
        optimizer = built(self, model)
        optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[-1]["lr"]))
        return optimizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "build", build)
        fit(model, [data / "train.parquet"], tmp_path / "model", recipe)
    other = built(recipe, model)
    plan = recipe.schedule(other, steps=4)
    for rate in rates:
        assert other.param_groups[-1]["lr"] == pytest.approx(rate)
        other.step()
        plan.step()
    assert len(rates) == 12


@pytest.mark.parametrize("options", [
    "decay = cosine, warmup = 5 steps", "decay = halve(every = 0.5 epochs)", "beta1 = 0.5, lazy = true",
])  # fmt: skip
def test_an_interrupted_training_goes_on_exactly(options: str, tmp_path: Path) -> None:
    data = write_examples(tmp_path / "data")
    spec = scheduled(tmp_path, options)
    whole = model_of(spec)
    recipe = Recipe.of(whole.manifest)
    fit(whole, [data / "train.parquet"], tmp_path / "whole", recipe)
    parts = model_of(spec)

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (2, 5):
            raise KeyboardInterrupt

    every = recipe.changed(every=1)
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        fit(parts, [data / "train.parquet"], tmp_path / "parts", every, watch=stop)
    parts = model_of(spec)
    fit(parts, [data / "train.parquet"], tmp_path / "parts", recipe, resume=True)
    expected = whole.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in parts.state_dict().items())


def test_what_a_spec_says_arrives(tmp_path: Path) -> None:
    text = SPEC.replace("metric = auc", "metric = auc, seed = 3, patience = 2, precision = bf16")
    recipe = Recipe.of(model_of(write_spec(tmp_path, text)).manifest)
    assert (recipe.seed, recipe.patience, recipe.precision) == (3, 2, "bf16")
    changed = recipe.changed(optimizer="sgd", lr=0.1, seed=4, precision="fp32")
    assert (changed.options, changed.seed, changed.precision) == ({"lr": 0.1}, 4, "fp32")


def test_bf16_trains(tmp_path: Path) -> None:
    data = write_examples(tmp_path / "data")
    model = model_of(write_spec(tmp_path))
    recipe = Recipe.of(model.manifest).changed(precision="bf16", epochs=6)
    losses = [
        epoch["loss"] for epoch in fit(model, [data / "train.parquet"], tmp_path / "model", recipe).epochs
    ]
    assert losses[-1] < 0.9 * losses[0]
    assert all(w.dtype == torch.float32 for w in model.parameters())


@pytest.mark.parametrize("flags", [
    ["--lr", "-1"], ["--lr", "0"], ["--lr", "nan"], ["--lr", "inf"], ["--clip", "0"], ["--batch", "0"],
    ["--epochs", "0"], ["--seed", "-1"], ["--patience", "0"], ["--precision", "fp8"],
])  # fmt: skip
def test_impossible_flags_are_wrong_usage(flags: list[str], tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    done = CliRunner().invoke(main, ["train", str(spec), str(tmp_path), *flags])
    assert done.exit_code == 2, done.output
    assert flags[0] in done.output


def test_what_has_no_effect_is_told(tmp_path: Path) -> None:
    data = write_examples(tmp_path / "data", rows=64)
    spec = scheduled(tmp_path, "weight_decay = 0.01")
    done = CliRunner().invoke(
        main, ["train", str(spec), str(data / "train.parquet"), "-o", str(tmp_path / "m"), "--patience", "1",
               "--epochs", "1"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "adam with weight_decay moves every row" in done.output
    assert "without validation data `patience` stops nothing" in done.output
