"""The trials of a sweep: what each tries is drawn by Optuna, learnt by `fit`, and kept in the journal.

Promises: of all trained models only the best one's folder is kept. A trial is compared with others by the
metric of training's own validation, and is given up early where most others were better at that epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

import specc
from specc.sweep.domains import Try, suggest
from specc.sweep.study import (
    BEST,
    JOURNAL,
    NAME,
    NOTHING,
    TRIALS,
    Plan,
    Sweep,
    confirmed,
    one_at_a_time,
    shown,
    storage,
)
from specc_runtime.finite import NotFinite
from specc_runtime.train import Outcome, Recipe, TrainingError, fit
from specc_runtime.train.choice import is_better
from specc_runtime.train.report import Logger, Run

# Trials in a row that draw what was tried already, or what a condition forbids: then nothing is left.
_ENOUGH = 100


def search(
    sweep: Sweep, plan: Plan, worker: int, told: Callable[[str], None], tell: Callable[[str], None]
) -> None:
    """Try until there are enough trials. worker: which of several processes this is.

    told: of each trial that ended. tell: what there is to know of the data. Raises what `fit` does.
    """
    pruner: Any = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    study = optuna.load_study(
        storage=storage(sweep.folder / JOURNAL),
        study_name=NAME,
        sampler=optuna.samplers.TPESampler(seed=sweep.seed + worker, constant_liar=True),
        pruner=pruner if sweep.prune else optuna.pruners.NopPruner(),
    )
    begun, idle, first = time.monotonic(), 0, True
    while _tried(study) < sweep.trials and idle < _ENOUGH:
        if sweep.seconds is not None and time.monotonic() - begun > sweep.seconds:
            break
        trial = study.ask()
        chosen = suggest(trial, plan.space, plan.domains)
        if chosen is None or _before(study, trial, chosen):
            trial.set_user_attr(NOTHING, True)
            study.tell(trial, state=TrialState.PRUNED)
            idle += 1
            continue
        idle = 0
        trial.set_user_attr("settings", chosen.settings())
        try:
            _train(sweep, plan.recipe, study, trial, chosen, tell if first else lambda note: None)
        except (NotFinite, TrainingError) as error:
            trial.set_user_attr("why", str(error))
            study.tell(trial, state=TrialState.FAIL)
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)  # without a reason of its own: it counts for nothing
            raise
        first = False
        ended = next(t for t in study.get_trials(deepcopy=False) if t.number == trial.number)
        told(_ended(ended, plan.recipe.metric))


def learn(
    sweep: Sweep,
    recipe: Recipe,
    chosen: Try,
    folder: Path,
    tell: Callable[[str], None] = lambda note: None,
    loggers: Sequence[Logger] = (),
) -> tuple[Outcome, float, int]:
    """Train one choice by the recipe that it changes. Return how it went, the metric of the best epoch, and
    how many weights there are."""
    changed = _changed(recipe, chosen.recipe)
    torch.manual_seed(changed.seed)
    model = specc.compile(sweep.spec, **{**sweep.fixed, **chosen.variant.params})
    outcome = fit(
        model, sweep.train, folder, changed, valid=sweep.valid, beside=[sweep.spec.parent, Path()],
        dialect=sweep.dialect, tell=tell, loggers=loggers,
    )  # fmt: skip
    value = float(outcome.epochs[outcome.best - 1]["value"])
    return outcome, value, sum(p.numel() for p in model.parameters())


def _train(
    sweep: Sweep,
    recipe: Recipe,
    study: optuna.Study,
    trial: optuna.Trial,
    chosen: Try,
    tell: Callable[[str], None],
) -> None:
    """Train one choice, and tell the study how it did."""
    folder = sweep.folder / TRIALS / str(trial.number)
    watcher = _Watcher(trial, recipe.metric, _changed(recipe, chosen.recipe).epochs)
    begun = time.monotonic()
    try:
        outcome, value, parameters = learn(sweep, recipe, chosen, folder, tell, [watcher])
        trial.set_user_attr("seconds", time.monotonic() - begun)
        trial.set_user_attr("epochs", len(outcome.epochs))
        trial.set_user_attr("parameters", parameters)
        with one_at_a_time(sweep.folder):
            done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            best = all(t.value is None or is_better(recipe.metric, value, t.value) for t in done)
            if best and not confirmed(study):
                rmtree(sweep.folder / BEST, ignore_errors=True)
                folder.replace(sweep.folder / BEST)
            study.tell(trial, value)
    except optuna.TrialPruned:
        trial.set_user_attr("seconds", time.monotonic() - begun)
        trial.set_user_attr("epochs", watcher.epochs)
        study.tell(trial, state=TrialState.PRUNED)
    finally:
        rmtree(folder, ignore_errors=True)


class _Watcher:
    """Hands the value of each epoch to a trial, which may be given up for it. A Logger."""

    def __init__(self, trial: optuna.Trial, metric: str, most: int) -> None:
        self.trial, self.metric, self.most, self.epochs = trial, metric, most, 0

    def begin(self, run: Run) -> None:
        """Nothing is kept from before."""

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if kind != "valid":
            return
        found = [of[self.metric] for of in values["metrics"].values() if self.metric in of]
        self.epochs = values["epoch"]
        self.trial.report(sum(found) / len(found), self.epochs)
        if self.epochs < self.most and self.trial.should_prune():
            raise optuna.TrialPruned

    def close(self) -> None:
        """Nothing is open."""


def _ended(trial: FrozenTrial, metric: str) -> str:
    """Return how one trial ended."""
    settings = ", ".join(f"{name} = {text}" for name, text in trial.user_attrs["settings"].items())
    if "why" in trial.user_attrs:
        ended = f"failed: {trial.user_attrs['why']}"
    elif trial.state == TrialState.PRUNED:
        ended = f"given up after epoch {trial.user_attrs['epochs']} with {metric} {trial.value:.5f}"
    else:
        ended = f"{metric} {trial.value:.5f}"
    return f"trial {trial.number}: {ended}  ({settings})"


def _tried(study: optuna.Study) -> int:
    """How many trainings have ended or go on: those that go on elsewhere are among them, so that there are
    never more."""
    trials = study.get_trials(deepcopy=False)
    running = sum(t.state == TrialState.RUNNING for t in trials)
    return running + len(shown(study))


def _before(study: optuna.Study, trial: optuna.Trial, chosen: Try) -> bool:
    """Whether another trial has tried, or tries, the same."""
    settings = chosen.settings()
    return any(
        t.user_attrs.get("settings") == settings and NOTHING not in t.user_attrs
        for t in study.get_trials(deepcopy=False)
        if t.number != trial.number and (t.state != TrialState.FAIL or "why" in t.user_attrs)
    )


def _changed(recipe: Recipe, chosen: Mapping[str, Any]) -> Recipe:
    own = {name: chosen[name] for name in chosen if name in recipe.options and name != "lr"}
    found = recipe.changed(**{name: value for name, value in chosen.items() if name not in own})
    return replace(found, options={**found.options, **own})
