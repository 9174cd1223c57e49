"""Predicted memory beside measured: a training step and scoring of the seven models, on the CPU.

    python -m bench.memory --batch 32 --batch 256 --batch 4096 --out bench/results
    python -m bench.memory --only din --only atrank --full --process --batch 256

What is held is the most that torch has allocated and not freed, by its own account. With `--process`, beside
it stands by how much a process grows, as users run it: what glibc's malloc takes for the same tensors.
Lengths are drawn from a power law, a quarter of the bound on average, or with `--full` all at the bound; the
prediction (`specc plan`) is told their means, as it would take them from data.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.plan.memory import Mode

if TYPE_CHECKING:
    from torch import Tensor

    from specc.plan.lengths import Lengths
    from specc_runtime import Batch

ROOT = Path(__file__).parents[1]
MODES: tuple[Mode, ...] = ("training", "scoring")
SEVEN = ("afm", "atrank", "bst", "dien", "din", "dsin", "dstn")


# Steps after which a process hardly grows any more.
STEPS = 10


@dataclass(frozen=True)
class Row:
    """Bytes above the weights and the optimizer's state, by kind of work: predicted, held at most, and by how
    much a process grew, if that was measured."""

    model: str
    batch: int
    full: bool
    predicted: Mapping[str, int]
    held: Mapping[str, int]
    process: Mapping[str, int] = field(default_factory=dict)

    def error(self, work: str) -> float:
        """The prediction's, as a share of what was held."""
        return self.predicted[work] / self.held[work] - 1

    def added(self, work: str) -> float:
        """What the allocator added, as a share of what was held."""
        return self.process[work] / self.held[work] - 1


class Subject:
    """A model with its optimizer, and what is done with a batch of it."""

    def __init__(self, model: str) -> None:
        import torch

        from specc.driver import load
        from specc.emit import emit
        from specc.passes import optimise
        from specc_runtime import from_texts
        from specc_runtime.train.recipe import Recipe

        torch.set_num_threads(1)
        torch.manual_seed(0)
        graph, _ = load(ROOT / "specs" / f"{model}.arec")
        assert graph is not None
        self.name = model
        self.graph = optimise(replace(graph, places={}, devices={}, place_spans={}))
        self.compiled = from_texts(emit(self.graph), model)
        self.optimizer = Recipe.of(self.compiled.manifest).build(self.compiled)

    def batch(self, size: int, full: bool = False) -> Batch:
        from bench.contenders.arec import batch_of
        from bench.tasks import Task

        return batch_of(self.compiled, Task(self.name, size, full=full))

    def work(self, mode: str, batch: Batch) -> Callable[[], None]:
        """A step of training, or scoring, with a batch."""
        import torch

        def step() -> None:
            self.compiled.loss(batch.to("cpu")).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

        def score() -> None:
            with torch.no_grad():
                self.compiled(batch.to("cpu"))

        self.compiled.train(mode == "training")
        return step if mode == "training" else score

    def row(self, size: int, full: bool = False) -> Row:
        """Predict and measure what is held."""
        from specc.plan.activations import ALL
        from specc.plan.memory import batch_bytes, predict

        batch = self.batch(size, full)
        lengths = lengths_of(batch)
        predicted, held = {}, {}
        for mode in MODES:
            load = predict(self.graph, size, lengths, mode)[ALL]
            # The batch itself is there before.
            own = batch_bytes(self.graph, size, lengths, mode)
            predicted[mode] = int(load.activations + load.gradients - own)
            work = self.work(mode, batch)
            work()  # states of the optimizer, kernels that are compiled, rows of the batch
            held[mode] = held_by(work)
        return Row(self.name, size, full, predicted, held)

    def growth(self, mode: str, size: int, full: bool = False) -> int:
        """By how many bytes this process grows over some steps, after one with few examples. To be measured
        once in a process: memory that earlier work has left is used again."""
        from bench.worker import resident

        first = self.work(mode, self.batch(4, full))
        work = self.work(mode, self.batch(size, full))
        first()
        # Pages that are zero are not there before something is written to them.
        for state in tensors(self.optimizer.state_dict()):
            state.mul_(1)
        gc.collect()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the mark is what is there now
        for _ in range(STEPS):
            work()
        return resident("VmHWM") - before


def in_process(model: str, mode: str, size: int, full: bool) -> int:
    """`Subject.growth` of a new process."""
    command = [sys.executable, "-m", "bench.memory", "--one", model, mode, "--batch", str(size)]
    settings = {"PYTHONPATH": f"{ROOT}:{ROOT}/runtime"}
    done = subprocess.run(
        [*command, *(["--full"] if full else [])],
        env={**os.environ, **settings}, cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout.splitlines()[-1])


def tensors(state: Any) -> Iterator[Tensor]:
    """All within lists and mappings."""
    import torch

    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, (Mapping, list, tuple)):
        for part in state.values() if isinstance(state, Mapping) else state:
            yield from tensors(part)


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
@click.option("--one", type=(str, str), hidden=True, help="Measure this model and work in this process.")
@click.option("--only", multiple=True, help="Only these models.")
@click.option("--batch", "batches", default=(256,), multiple=True, show_default=True)
@click.option("--full", is_flag=True, help="Every history at its bound.")
@click.option("--process", is_flag=True, help="Measure what a process takes, too.")
@click.option("--out", type=click.Path(path_type=Path), help="A folder for memory.json.")
def main(
    one: tuple[str, str] | None,
    only: tuple[str, ...],
    batches: tuple[int, ...],
    full: bool,
    process: bool,
    out: Path | None,
) -> None:
    """Predict and measure memory."""
    if one is not None:
        click.echo(Subject(one[0]).growth(one[1], batches[0], full))
        return
    rows = []
    for model in only or SEVEN:
        subject = Subject(model)
        for batch in batches:
            row = subject.row(batch, full)
            if process:
                row = replace(row, process={m: in_process(model, m, batch, full) for m in MODES})
            rows.append(row)
            click.echo(line(row))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "memory.json").write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")


def line(row: Row) -> str:
    parts = []
    for mode in MODES:
        text = f"{mode}: {row.predicted[mode] / 1e6:8.3f} MB predicted, {row.held[mode] / 1e6:8.3f} held"
        text += f" ({row.error(mode):+.1%})"
        if row.process:
            text += f", {row.process[mode] / 1e6:7.1f} taken ({row.added(mode):+.0%})"
        parts.append(text)
    return f"{row.model:7} B {row.batch:<5} " + "   ".join(parts)


if __name__ == "__main__":
    main()
