"""Predicted memory beside measured: a training step and scoring of the seven models, on the CPU.

    python -m bench.memory --out bench/results

Each model is measured in a process of its own. What is held is what torch has allocated and not freed, by its
own account; beside it stands what the process takes at most, in which every tensor has pages of its own that
are given back at once: the difference is the allocator's. Lengths are drawn from a power law, a quarter of
the bound on average; the prediction (`specc plan`) is told their means, as it would take them from data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specc.plan.memory import Mode

if TYPE_CHECKING:
    from specc.plan.lengths import Lengths
    from specc_runtime import Batch

ROOT = Path(__file__).parents[1]
MODES: tuple[Mode, ...] = ("training", "scoring")
SEVEN = ("afm", "atrank", "bst", "dien", "din", "dsin", "dstn")


@dataclass(frozen=True)
class Row:
    """Bytes above the weights and the optimizer's state, by kind of work: predicted, held at most, and what
    the process took at most."""

    model: str
    batch: int
    predicted: Mapping[str, int]
    held: Mapping[str, int]
    process: Mapping[str, int]

    def error(self, work: str) -> float:
        """The prediction's, as a share of what was held."""
        return self.predicted[work] / self.held[work] - 1

    def added(self, work: str) -> float:
        """What the allocator added, as a share of what was held."""
        return self.process[work] / self.held[work] - 1


def row(model: str, batch: int) -> Row:
    """Predict and measure in a process of its own."""
    # Every tensor in pages of its own, given back at once.
    settings = {
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "8192",
        "MALLOC_TRIM_THRESHOLD_": "8192",
        "PYTHONPATH": f"{ROOT}:{ROOT}/runtime",
    }
    command = [sys.executable, "-m", "bench.memory", "--one", model, "--batch", str(batch)]
    done = subprocess.run(
        command, env={**os.environ, **settings}, cwd=ROOT, check=True, capture_output=True, text=True
    )
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def measured(model: str, batch: int) -> Row:
    """In this process."""
    import torch

    from bench.contenders.arec import batch_of
    from bench.tasks import Task
    from bench.worker import peak_memory
    from specc.driver import load
    from specc.emit import emit
    from specc.passes import optimise
    from specc.plan.activations import ALL
    from specc.plan.memory import batch_bytes, predict
    from specc_runtime import from_texts
    from specc_runtime.train.recipe import Recipe

    torch.set_num_threads(1)
    torch.manual_seed(0)
    graph, _ = load(ROOT / "specs" / f"{model}.arec")
    assert graph is not None
    graph = optimise(replace(graph, places={}, devices={}, place_spans={}))
    compiled = from_texts(emit(graph), model)
    examples = batch_of(compiled, Task(model, batch))
    optimizer = Recipe.of(compiled.manifest).build(compiled)

    def step() -> None:
        compiled.loss(examples.to("cpu")).backward()
        optimizer.step()
        optimizer.zero_grad()

    def score() -> None:
        with torch.no_grad():
            compiled(examples.to("cpu"))

    lengths = lengths_of(examples)
    loads = {mode: predict(graph, batch, lengths, mode)[ALL] for mode in MODES}
    # The batch itself is there before.
    predicted = {
        mode: int(load.activations + load.gradients - batch_bytes(graph, batch, lengths, mode))
        for mode, load in loads.items()
    }
    process, held = {"training": peak_memory(step)}, {"training": held_by(step)}
    compiled.eval()
    process["scoring"], held["scoring"] = peak_memory(score), held_by(score)
    return Row(model, batch, predicted, held, process)


def held_by(work: Callable[[], None]) -> int:
    """The most bytes that torch has allocated and not freed at one time during some work."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    found = profiler.profiler
    assert found is not None
    events = (e for e in found.kineto_results.events() if e.name() == "[memory]")
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def lengths_of(batch: Batch) -> Lengths:
    """Means of the lengths of a batch's sequences, and of their squares."""
    from specc.plan.lengths import Lengths

    moments = {}
    for axis, lengths in batch.lengths.items():
        space, _, name = axis.partition(".")
        x = lengths.double()
        moments[space, name] = (float(x.mean()), float((x * x).mean()))
    return Lengths(moments)


@click.command()
@click.option("--one", hidden=True, help="Measure this model in this process.")
@click.option("--only", multiple=True, help="Only these models.")
@click.option("--batch", default=1024, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True)
def main(one: str | None, only: tuple[str, ...], batch: int, out: Path) -> None:
    """Predict and measure memory."""
    if one is not None:
        click.echo(json.dumps(asdict(measured(one, batch))))
        return
    rows = []
    for model in only or SEVEN:
        rows.append(row(model, batch))
        click.echo(line(rows[-1]))
    out.mkdir(parents=True, exist_ok=True)
    (out / "memory.json").write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")


def line(row: Row) -> str:
    parts = [
        f"{mode}: {row.predicted[mode] / 1e6:7.1f} MB predicted, {row.held[mode] / 1e6:7.1f} held "
        f"({row.error(mode):+.0%}), {row.process[mode] / 1e6:7.1f} taken ({row.added(mode):+.0%})"
        for mode in MODES
    ]
    return f"{row.model:7} B {row.batch}  " + "   ".join(parts)


if __name__ == "__main__":
    main()
