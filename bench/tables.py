"""Step time against table size: gradients by row beside dense ones.

    python -m bench.tables

One table of 16 channels, looked up for 512 examples with histories of 25 positions on average, a small
head, Adam. Writes bench/results/tables.json.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

import click
import torch
from torch import nn

from bench.tasks import Task
from specc_runtime.layers import Table
from specc_runtime.ops import embed
from specc_runtime.train.lazy import build_optimizer

WIDTH, BATCH = 16, 512


class Small(nn.Module):
    """A target and the mean of a history, each through the same table."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.items = Table(rows, WIDTH)
        self.out = nn.Sequential(nn.Linear(2 * WIDTH, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, target: torch.Tensor, history: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
        history = embed(self.items.weight, history)
        total = history.new_zeros(len(target), WIDTH).index_add(0, example, history)
        logit: torch.Tensor = self.out(torch.cat([embed(self.items.weight, target), total], -1))
        return logit.squeeze(-1)


@click.command()
@click.option("--largest", default=7, show_default=True, help="Power of ten of the largest table.")
@click.option("--rounds", default=9, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True)
def main(largest: int, rounds: int, out: Path) -> None:
    """Time a step with tables of 10^4 rows and up, lazy and dense in turns."""
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {"lazy": {}, "dense": {}}
    for power in range(4, largest + 1):
        rows = 10**power
        task = Task("tables")
        lengths = task.lengths(BATCH, 100)
        example = torch.repeat_interleave(lengths)
        target, history = task.ids(rows, BATCH), task.ids(rows, int(lengths.sum()))
        label = task.labels()
        seconds: dict[str, list[float]] = {"lazy": [], "dense": []}
        for kind, times in seconds.items():
            model = Small(rows)
            optimizer = build_optimizer(model, "adam", {"lr": 1e-3}, tables=kind)
            for _ in range(rounds + 1):
                begin = time.perf_counter()
                optimizer.zero_grad()
                logit = model(target, history, example)
                nn.functional.binary_cross_entropy_with_logits(logit, label).backward()
                optimizer.step()
                times.append(time.perf_counter() - begin)
            del model, optimizer
            found[kind][str(rows)] = median(times[1:])
        click.echo(
            f"{rows:>10,} rows: " + ", ".join(f"{k} {v[str(rows)] * 1e3:8.1f} ms" for k, v in found.items())
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "tables.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
