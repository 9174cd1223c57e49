"""The best trials of a sweep, trained again with other seeds: the best of many is partly the luckiest one.

Promises: every trial has the same other seeds, each trained once however often a sweep is gone on with. A
trial that fails with one of them cannot win.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from shutil import rmtree

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from specc.sweep.domains import suggest
from specc.sweep.study import (
    AGAIN,
    BEST,
    JOURNAL,
    NAME,
    SEEDS,
    TRIALS,
    Plan,
    Sweep,
    again,
    keep_again,
    one_at_a_time,
    shown,
    storage,
    value_of,
    winner,
)
from specc.sweep.trials import learn
from specc_runtime.finite import NotFinite
from specc_runtime.train import TrainingError
from specc_runtime.train.choice import is_better


def confirm(
    sweep: Sweep, plan: Plan, worker: int, told: Callable[[str], None], tell: Callable[[str], None]
) -> None:
    """Train the best trials again with other seeds: of several processes, every one its share.

    told: of each training. Raises what `fit` does.
    """
    study = optuna.load_study(storage=storage(sweep.folder / JOURNAL), study_name=NAME)
    kept = again(study)
    missing = [
        (trial, seed)
        for trial in _finalists(study, sweep)
        for seed in range(1, SEEDS + 1)
        if seed not in kept.get(trial.number, {})
    ]
    for trial, seed in missing[worker :: sweep.workers]:
        _train(sweep, plan, study, trial, seed, told)


def _finalists(study: optuna.Study, sweep: Sweep) -> list[FrozenTrial]:
    """Return the trials that are best by their own value, those among them that were given up."""
    trials = [t for t in shown(study) if value_of(t) is not None and t.state != TrialState.FAIL]
    higher = study.direction == optuna.study.StudyDirection.MAXIMIZE
    trials.sort(key=lambda t: (-(value_of(t) or 0.0) if higher else value_of(t) or 0.0, t.number))
    return trials[: sweep.confirm]


def _train(
    sweep: Sweep, plan: Plan, study: optuna.Study, trial: FrozenTrial, seed: int, told: Callable[[str], None]
) -> None:
    """Train a trial with another seed, and keep its model if it is the trial's best by now."""
    chosen = suggest(FixedTrial(trial.params), plan.space, plan.domains)
    assert chosen is not None
    metric = plan.recipe.metric
    folder = sweep.folder / TRIALS / f"{trial.number}.{seed}"
    try:
        value = learn(sweep, replace(plan.recipe, seed=plan.recipe.seed + seed), chosen, folder)[1]
    except (NotFinite, TrainingError) as error:
        with one_at_a_time(sweep.folder):
            keep_again(study, trial.number, seed, None, str(error))
        told(f"trial {trial.number} again, seed {plan.recipe.seed + seed}: failed: {error}")
    else:
        with one_at_a_time(sweep.folder):
            others = again(study).get(trial.number, {}).values()
            if all(other is None or is_better(metric, value, other) for other in others):
                own = sweep.folder / AGAIN / str(trial.number)
                rmtree(own, ignore_errors=True)
                own.parent.mkdir(exist_ok=True)
                folder.replace(own)
            keep_again(study, trial.number, seed, value)
        told(f"trial {trial.number} again, seed {plan.recipe.seed + seed}: {metric} {value:.5f}")
    finally:
        rmtree(folder, ignore_errors=True)


def settle(study: optuna.Study, sweep: Sweep) -> None:
    """Keep the winner's model as the best, and no other that was trained again."""
    best, place = winner(study), sweep.folder / AGAIN
    if best is not None and (place / str(best.number)).is_dir():
        rmtree(sweep.folder / BEST, ignore_errors=True)
        (place / str(best.number)).replace(sweep.folder / BEST)
    for number, of in again(study).items():
        if len(of) == SEEDS:
            rmtree(place / str(number), ignore_errors=True)
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()
