"""What torch.compile adds to emitted modules, and how often it compiles one again for other batches.

    python -m bench.torch_compile

Each model at the bench's sizes in a process of its own, with torch's own settings: `torch.compile(...,
dynamic=True)` of the loss and of the model, with the C++ compiler that is there. First a training step and a
scoring pass on eight batches of different sizes and lengths, during which graphs are counted; then steps in
turns with the same module uncompiled. Writes bench/results/torch_compile.json: by model how many times as
long the uncompiled module takes (medians of ratios in processor time, one thread), how many graphs were
compiled after the first batch's, and the seconds of wall time of the first step and pass.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from bench.contender import Contender
from bench.contenders.arec import ADAM, batch_of, compiled, fresh
from bench.tasks import Task
from specc_runtime import Batch, Model
from specc_runtime.train.lazy import build_optimizer

TASKS = {
    "afm": Task("afm", 2048),
    "din": Task("din"),
    "dien": Task("dien"),
    "bst": Task("bst", bound=20),
    "dsin": Task("dsin", bound=20, sessions=5),
    "dstn": Task("dstn", bound=5),
    "atrank": Task("atrank"),
}
SIZES = (1.0, 1.2, 0.7, 0.5, 1.5, 0.9, 1.1, 0.3)  # of a batch, in parts of the task's


class Run:
    """A module with its optimizer on one batch after another, as it is or through torch.compile."""

    def __init__(self, model: Model, batch: Batch, through: bool) -> None:
        self.batch = batch
        loss: Any = torch.compile(model.loss, dynamic=True) if through else model.loss
        score: Any = torch.compile(model, dynamic=True) if through else model
        self.work = Contender.of(
            model,
            lambda: loss(fresh(self.batch)),
            lambda: score(fresh(self.batch)),
            build_optimizer(model, "adam", ADAM),
        )


def measured(name: str, turns: int) -> dict[str, float]:
    """What is written of one model; in a process that has done nothing else."""
    from torch._dynamo.utils import counters

    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = TASKS[name]
    model = compiled(task)
    batches = [batch_of(model, _resized(task, part)) for part in SIZES]
    eager = Run(copy.deepcopy(model), batches[0], through=False)
    through = Run(model, batches[0], through=True)
    begin = time.perf_counter()
    through.work.train()
    through.work.score()
    first = time.perf_counter() - begin
    graphs = counters["stats"]["unique_graphs"]
    for batch in batches[1:]:
        through.batch = batch
        through.work.train()
        through.work.score()
    again = counters["stats"]["unique_graphs"] - graphs
    through.batch = batches[0]
    ratios = {
        work: median(
            _seconds(getattr(eager.work, work)) / _seconds(getattr(through.work, work)) for _ in range(turns)
        )
        for work in ("train", "score")
    }
    return {
        "train_ratio": ratios["train"],
        "score_ratio": ratios["score"],
        "graphs": graphs,
        "recompiles": again,
        "first_s": first,
    }


def _resized(task: Task, part: float) -> Task:
    return replace(task, batch=int(task.batch * part))


def _seconds(step: Callable[[], Any]) -> float:
    begin = time.process_time()
    step()
    return time.process_time() - begin


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True)
@click.option("--turns", default=9, show_default=True)
@click.option(
    "--model", "names", multiple=True, type=click.Choice(list(TASKS)), help="Only these. Repeatable."
)
@click.option("--here", is_flag=True, hidden=True, help="One model, in this process.")
def main(out: Path, turns: int, names: tuple[str, ...], here: bool) -> None:
    """Time emitted modules with and without torch.compile."""
    if here:
        click.echo(json.dumps(measured(names[0], turns)))
        return
    found: dict[str, Any] = {}
    for name in names or TASKS:
        command = [
            sys.executable,
            "-m",
            "bench.torch_compile",
            "--here",
            "--model",
            name,
            "--turns",
            str(turns),
        ]
        with TemporaryDirectory() as folder:  # what was compiled before is not used
            env = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "TORCHINDUCTOR_COMPILE_THREADS": "1",
                "TORCHINDUCTOR_CACHE_DIR": folder,
            }
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        click.echo(f"{name}: {json.dumps(found[name])}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "torch_compile.json").write_text(json.dumps({"models": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
