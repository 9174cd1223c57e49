"""The trainings of a sweep: what each tries is drawn by Optuna, learnt by `fit`, and kept in a journal.

Promises: a sweep that is interrupted or killed goes on where it was; several processes share one journal; of
all trained models only the best one's folder is kept. A trial is compared with others by the metric of
training's own validation, and is given up early where most others were better at that epoch.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

import specc
from specc.sweep.domains import DomainError, Try, default, over, suggest
from specc.variants.load import load_space
from specc.variants.space import VariantSpace
from specc_runtime.data import Dialect
from specc_runtime.data.files import PLAIN
from specc_runtime.finite import NotFinite
from specc_runtime.train import Interrupted, Recipe, TrainingError, fit
from specc_runtime.train.choice import check, is_better
from specc_runtime.train.content import contents
from specc_runtime.train.metrics import metric_of

optuna.logging.set_verbosity(optuna.logging.ERROR)
JOURNAL, BEST = "journal.log", "best"
_NAME = "sweep"
# Trials in a row that draw what was tried already, or what a condition forbids: then nothing is left.
_ENOUGH = 100
# Of a trial that is not to be shown: what it drew is no variant, or was tried before.
NOTHING = "nothing"


class SweepError(RuntimeError):
    """A sweep that cannot begin or go on; the message is for the user."""


@dataclass(frozen=True)
class Sweep:
    """What is tried, on which data. fixed: params by name that do not vary. over: domains of the recipe as
    they were written. trials: how many trainings, those of earlier runs among them. seconds: no trial begins
    later."""

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

    def recipe(self) -> Recipe:
        """Return the recipe that trials change. Raises specc.SpecError, or TrainingError for a metric that
        the model does not have."""
        manifest = specc.compile(self.spec, **self.fixed).manifest
        found = Recipe.of(manifest).changed(epochs=self.epochs, metric=self.metric)
        check(found.metric, manifest, True, None)
        return found


def study_of(sweep: Sweep, recipe: Recipe, overwrite: bool = False) -> optuna.Study:
    """Return the sweep's journal, begun where there is none or is to be `overwrite`n.

    Raises SweepError where it is of another sweep.
    """
    path = sweep.folder / JOURNAL
    if overwrite:
        path.unlink(missing_ok=True)
        rmtree(sweep.folder / BEST, ignore_errors=True)
    higher = metric_of(recipe.metric).higher
    study = optuna.create_study(
        storage=_storage(path),
        study_name=_NAME,
        direction="maximize" if higher else "minimize",
        load_if_exists=True,
    )
    about = {
        "spec": specc.compile(sweep.spec, **sweep.fixed).files["spec.arec"],
        "over": list(sweep.over),
        "metric": recipe.metric,
        "epochs": recipe.epochs,
        "train": contents(sweep.train),
        "valid": contents(sweep.valid),
    }
    known = study.user_attrs
    if not known:
        for name, value in about.items():
            study.set_user_attr(name, value)
        space = space_of(sweep)
        study.enqueue_trial(default(space, over(sweep.over, recipe), recipe))
    different = [name for name, value in about.items() if known and known.get(name) != value]
    if different:
        raise SweepError(
            f"{sweep.folder} has a sweep with other {', '.join(different)}: give another folder with -o, or "
            "--overwrite to begin anew"
        )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # of a run that was killed
    rmtree(sweep.folder / "trials", ignore_errors=True)
    return study


def run(
    sweep: Sweep,
    recipe: Recipe,
    workers: int,
    overwrite: bool,
    told: Callable[[FrozenTrial], None],
    tell: Callable[[str], None],
) -> optuna.Study:
    """Try until there are enough trials. told: of each trial that ended. tell: what there is to know of the
    data. Raises what `fit` does, and SweepError."""
    study = study_of(sweep, recipe, overwrite)
    try:
        if workers == 1:
            _work(sweep, recipe, 0, told, tell)
        else:
            _side_by_side(sweep, recipe, workers, told, tell)
    finally:
        rmtree(sweep.folder / "trials", ignore_errors=True)
    return study


def _side_by_side(
    sweep: Sweep,
    recipe: Recipe,
    workers: int,
    told: Callable[[FrozenTrial], None],
    tell: Callable[[str], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    processes = [
        context.Process(target=_apart, args=(sweep, recipe, number, answers)) for number in range(workers)
    ]
    for process in processes:
        process.start()
    fault: Exception | None = None
    try:
        while any(p.is_alive() for p in processes) or not answers.empty():
            try:
                kind, answer = answers.get(timeout=0.2)
            except queue.Empty:
                continue
            if kind == "trial":
                told(answer)
            elif kind == "note":
                tell(answer)
            else:
                fault = fault or (Interrupted(answer) if kind == "stopped" else SweepError(answer))
    finally:
        for process in processes:
            process.join()
    if fault is not None:
        raise fault
    if any(process.exitcode for process in processes):
        raise SweepError("a process of the sweep was killed; the same command goes on with it")


def _apart(sweep: Sweep, recipe: Recipe, number: int, answers: Any) -> None:
    """One of several processes: everything that there is to say goes to the first."""
    torch.set_num_threads(1)
    try:
        _work(
            sweep,
            recipe,
            number,
            lambda trial: answers.put(("trial", trial)),
            lambda note: answers.put(("note", note)) if number == 0 else None,
        )
    except Interrupted as stopped:
        answers.put(("stopped", stopped.number))
    except Exception as error:
        answers.put(("fault", str(error)))


def _work(
    sweep: Sweep,
    recipe: Recipe,
    worker: int,
    told: Callable[[FrozenTrial], None],
    tell: Callable[[str], None],
) -> None:
    space, domains = space_of(sweep), over(sweep.over, recipe)
    pruner: Any = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    study = optuna.load_study(
        storage=_storage(sweep.folder / JOURNAL),
        study_name=_NAME,
        sampler=optuna.samplers.TPESampler(seed=sweep.seed + worker, constant_liar=True),
        pruner=pruner if sweep.prune else optuna.pruners.NopPruner(),
    )
    begun, idle, first = time.monotonic(), 0, True
    while _tried(study) < sweep.trials and idle < _ENOUGH:
        if sweep.seconds is not None and time.monotonic() - begun > sweep.seconds:
            break
        trial = study.ask()
        chosen = suggest(trial, space, domains)
        if chosen is None or _before(study, trial, chosen):
            trial.set_user_attr(NOTHING, True)
            study.tell(trial, state=TrialState.PRUNED)
            idle += 1
            continue
        idle = 0
        trial.set_user_attr("settings", chosen.settings())
        try:
            _train(sweep, recipe, study, trial, chosen, tell if first else lambda note: None)
        except (NotFinite, TrainingError) as error:
            trial.set_user_attr("why", str(error))
            study.tell(trial, state=TrialState.FAIL)
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)  # without a reason of its own: it counts for nothing
            raise
        first = False
        told(next(t for t in study.get_trials(deepcopy=False) if t.number == trial.number))


def _train(
    sweep: Sweep,
    recipe: Recipe,
    study: optuna.Study,
    trial: optuna.Trial,
    chosen: Try,
    tell: Callable[[str], None],
) -> None:
    """Train one choice, and tell the study how it did."""
    changed = _changed(recipe, chosen.recipe)
    torch.manual_seed(changed.seed)
    model = specc.compile(sweep.spec, **{**sweep.fixed, **chosen.variant.params})
    folder = sweep.folder / "trials" / str(trial.number)
    watcher = _Watcher(trial, changed.metric)
    begun = time.monotonic()
    try:
        outcome = fit(
            model, sweep.train, folder, changed, valid=sweep.valid, beside=[sweep.spec.parent, Path()],
            dialect=sweep.dialect, tell=tell, loggers=[watcher],
        )  # fmt: skip
        value = outcome.epochs[outcome.best - 1]["value"]
        trial.set_user_attr("seconds", time.monotonic() - begun)
        trial.set_user_attr("epochs", len(outcome.epochs))
        trial.set_user_attr("parameters", sum(p.numel() for p in model.parameters()))
        with _one_at_a_time(sweep.folder):
            done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            best = None
            for other in done:
                if other.value is not None and is_better(changed.metric, other.value, best):
                    best = other.value
            if is_better(changed.metric, value, best):
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

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self.trial, self.metric, self.epochs = trial, metric, 0

    def begin(self, step: int, epochs: int) -> None:
        """Nothing is kept from before."""

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if kind != "valid":
            return
        found = [of[self.metric] for of in values["metrics"].values() if self.metric in of]
        self.epochs = values["epoch"]
        self.trial.report(sum(found) / len(found), self.epochs)
        if self.trial.should_prune():
            raise optuna.TrialPruned

    def close(self) -> None:
        """Nothing is open."""


def shown(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were trainings, the best first, then those given up, then those that failed."""
    trials = [
        t
        for t in study.get_trials(deepcopy=False)
        if t.state.is_finished() and "settings" in t.user_attrs and NOTHING not in t.user_attrs
        if t.state != TrialState.FAIL or "why" in t.user_attrs
    ]
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    order = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

    def last(trial: FrozenTrial) -> float:
        return (
            trial.value
            if trial.value is not None
            else next(reversed(trial.intermediate_values.values()), 0.0)
        )

    return sorted(trials, key=lambda t: (order.index(t.state), sign * last(t), t.number))


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


def _storage(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """What processes of a sweep do one after the other."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
