"""A sweep and its journal: what is tried on which data, what was tried before, and which trial has won.

Promises: a journal is of one spec, one set of data and one set of domains. Once some trials were trained
again with other seeds, only those can win.
"""

from __future__ import annotations

import fcntl
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

import specc
from specc.sweep.domains import DomainError, default, over
from specc.variants.load import load_space
from specc.variants.space import Choices, VariantSpace
from specc_runtime.data import Dialect
from specc_runtime.data.files import PLAIN
from specc_runtime.train import Recipe
from specc_runtime.train.choice import check
from specc_runtime.train.content import contents
from specc_runtime.train.metrics import metric_of

optuna.logging.set_verbosity(optuna.logging.ERROR)
# In a sweep's folder: the journal, the winner's model, models that are being trained, and of each trial that
# is trained again the best one.
JOURNAL, BEST, TRIALS, AGAIN = "journal.log", "best", "trials", "again"
NAME = "sweep"
# How many other seeds a trial is trained again with.
SEEDS = 3
# Of a trial that is not to be shown: what it drew is no variant, or was tried before.
NOTHING = "nothing"


class SweepError(RuntimeError):
    """A sweep that cannot begin or go on; the message is for the user."""


@dataclass(frozen=True)
class Sweep:
    """What is tried, on which data. fixed: params by name that do not vary. over: domains of the recipe as
    they were written. trials: how many trainings, those of earlier runs among them. confirm: how many of the
    best are trained again with other seeds. seconds: no trial begins later. workers: processes that train."""

    spec: Path
    folder: Path
    train: Sequence[Path]
    valid: Sequence[Path]
    trials: int
    fixed: Mapping[str, Any] = field(default_factory=dict)
    over: Sequence[str] = ()
    metric: str | None = None
    epochs: int | None = None
    seed: int = 0
    seconds: float | None = None
    prune: bool = True
    dialect: Dialect = PLAIN
    confirm: int = 0
    workers: int = 1

    def read(self) -> Plan:
        """Read the spec, once for all trials. Raises specc.SpecError, TrainingError for a metric that the
        model does not have, and DomainError."""
        model = specc.compile(self.spec, **self.fixed)
        recipe = Recipe.of(model.manifest).changed(epochs=self.epochs, metric=self.metric)
        check(recipe.metric, model.manifest, True, None)
        return Plan(recipe, model.files["spec.arec"], space_of(self), over(self.over, recipe))


@dataclass(frozen=True)
class Plan:
    """A sweep's spec, read: the recipe that trials change, the spec's text as compiled, and the domains of
    its params and of the recipe."""

    recipe: Recipe
    text: str
    space: VariantSpace
    domains: Mapping[str, Choices]


def space_of(sweep: Sweep) -> VariantSpace:
    """Return the variants of a sweep's spec. Raises specc.SpecError, or DomainError where there is one."""
    space, report = load_space(sweep.spec, sweep.fixed)
    if space is None:
        raise specc.SpecError(report)
    if not (space.order or sweep.over):
        raise DomainError(
            "no param of the spec has a domain, and --over names no setting: there is one choice only"
        )
    return space


def open_study(sweep: Sweep, plan: Plan, overwrite: bool = False) -> optuna.Study:
    """Return the sweep's journal, begun where there is none or is to be `overwrite`n.

    Raises SweepError where it is of another sweep that has come to something.
    """
    path = sweep.folder / JOURNAL
    if overwrite:
        path.unlink(missing_ok=True)
        for name in (BEST, AGAIN):
            rmtree(sweep.folder / name, ignore_errors=True)
    higher = metric_of(plan.recipe.metric).higher
    study = optuna.create_study(
        storage=storage(path),
        study_name=NAME,
        direction="maximize" if higher else "minimize",
        load_if_exists=True,
    )
    about = {
        "spec": plan.text,
        "over": list(sweep.over),
        "metric": plan.recipe.metric,
        "epochs": plan.recipe.epochs,
        "ranges": "by their logarithm from a power of ten on",  # Optuna mixes no two ways in one study
        "train": contents(sweep.train),
        "valid": contents(sweep.valid),
    }
    known = study.user_attrs
    if not known:
        for name, value in about.items():
            study.set_user_attr(name, value)
    different = [name for name, value in about.items() if known and known.get(name) != value]
    if different and not shown(study):
        return open_study(sweep, plan, overwrite=True)  # nothing has come of it
    if different:
        raise SweepError(
            f"{sweep.folder} has a sweep with other {', '.join(different)}: give another folder with -o, or "
            "--overwrite to begin anew"
        )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # of a run that was killed
    _begin_with(study, default(plan.space, plan.domains, plan.recipe))
    rmtree(sweep.folder / TRIALS, ignore_errors=True)
    return study


def _begin_with(study: optuna.Study, choice: dict[str, Any]) -> None:
    """Let the next trial be a choice that none has been, or one that was interrupted."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if not any(t.system_attrs.get("fixed_params") == choice for t in [*waiting, *shown(study)]):
        study.enqueue_trial(choice)


def storage(path: Path) -> JournalStorage:
    """Return a journal in a file, which several processes may write."""
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """What processes of a sweep do one after the other."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def keep_again(study: optuna.Study, number: int, seed: int, value: float | None, why: str = "") -> None:
    """Write down what a trial gave with another of the SEEDS, counted from 1; None where it failed."""
    study.set_user_attr(f"again {number} {seed}", {"value": value, "why": why})


def again(study: optuna.Study) -> dict[int, dict[int, float | None]]:
    """Return by trial and seed what was trained again."""
    found: dict[int, dict[int, float | None]] = {}
    for name, kept in study.user_attrs.items():
        match name.split():
            case ["again", number, seed]:
                found.setdefault(int(number), {})[int(seed)] = kept["value"]
    return found


def confirmed(study: optuna.Study) -> dict[int, list[float]]:
    """Return by trial what its other seeds gave, of trials that all of them went well for."""
    found = again(study)
    known = {number: [v for v in of.values() if v is not None] for number, of in found.items()}
    return {number: values for number, values in known.items() if len(values) == SEEDS}


def shown(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were trainings: first those confirmed by their mean, then by their own value the
    others that were finished, those given up, and those that failed."""
    trials = [
        t
        for t in study.get_trials(deepcopy=False)
        if t.state.is_finished() and "settings" in t.user_attrs and NOTHING not in t.user_attrs
        if t.state != TrialState.FAIL or "why" in t.user_attrs
    ]
    means = {number: statistics.mean(values) for number, values in confirmed(study).items()}
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    order = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

    def key(trial: FrozenTrial) -> tuple[bool, int, float, int]:
        value = means.get(trial.number, value_of(trial))
        return (
            trial.number not in means,
            order.index(trial.state),
            sign * (0.0 if value is None else value),
            trial.number,
        )

    return sorted(trials, key=key)


def value_of(trial: FrozenTrial) -> float | None:
    """Return the metric of a trial; of one that was given up, that of its last epoch."""
    if trial.value is not None:
        return float(trial.value)
    return next(reversed(trial.intermediate_values.values()), None)


def winner(study: optuna.Study) -> FrozenTrial | None:
    """Return the best trial; None where none was finished."""
    best = next(iter(shown(study)), None)
    return best if best and (best.state == TrialState.COMPLETE or best.number in confirmed(study)) else None
