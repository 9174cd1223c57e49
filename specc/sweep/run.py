"""A whole sweep: its trials, then its best ones again, in this process or in several.

Promises: a sweep that is interrupted or killed goes on where it was; several processes share one journal.
"""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable
from shutil import rmtree
from typing import Any

import optuna
import torch

from specc.sweep.again import confirm, settle
from specc.sweep.study import TRIALS, Plan, Sweep, SweepError, open_study
from specc.sweep.trials import search
from specc_runtime.train import Interrupted

Tell = Callable[[str], None]
Part = Callable[[Sweep, Plan, int, Tell, Tell], None]


def run(
    sweep: Sweep,
    plan: Plan,
    *,
    overwrite: bool = False,
    told: Tell = lambda text: None,
    tell: Tell = lambda text: None,
) -> optuna.Study:
    """Try until there are enough trials, and train the best again where that is asked for.

    told: of each training that ended. tell: what there is to know of the data. Raises what `fit` does, and
    SweepError.
    """
    study = open_study(sweep, plan, overwrite)
    try:
        for part in (search, confirm) if sweep.confirm else (search,):
            if sweep.workers == 1:
                part(sweep, plan, 0, told, tell)
            else:
                _side_by_side(part, sweep, told, tell)
        settle(study, sweep)
    finally:
        rmtree(sweep.folder / TRIALS, ignore_errors=True)
    return study


def _side_by_side(part: Part, sweep: Sweep, told: Tell, tell: Tell) -> None:
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    processes = [
        context.Process(target=_apart, args=(part, sweep, number, answers)) for number in range(sweep.workers)
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
            if kind == "told":
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


def _apart(part: Part, sweep: Sweep, number: int, answers: Any) -> None:
    """One of several processes: everything that there is to say goes to the first."""
    torch.set_num_threads(1)
    try:
        part(
            sweep,
            sweep.read(),
            number,
            lambda text: answers.put(("told", text)),
            lambda note: answers.put(("note", note)) if number == 0 else None,
        )
    except Interrupted as stopped:
        answers.put(("stopped", stopped.number))
    except Exception as error:
        answers.put(("fault", str(error)))
