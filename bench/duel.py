"""Contenders side by side: each in its own process, run in turns, compared turn by turn.

The machine's speed drifts; what ran in the same turn met the same machine, so that the median of the
turns' ratios says more than a ratio of medians.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.tasks import Task

ROOT = Path(__file__).parents[1]
OURS = "arec"
WORK = ("train", "score")


@dataclass(frozen=True)
class Result:
    """seconds: by contender, then work, one figure a turn. memory: bytes of a training step at its
    peak. absent: by contender, why it is not there."""

    task: Task
    seconds: dict[str, dict[str, list[float]]]
    memory: dict[str, int]
    absent: dict[str, str]

    def ratio(self, contender: str, work: str) -> float:
        """How many times as long a contender takes as the compiled model."""
        theirs, ours = self.seconds[contender][work], self.seconds[OURS][work]
        return median(a / b for a, b in zip(theirs, ours, strict=True))

    def best(self, work: str) -> str:
        """The quickest of the others."""
        return min((c for c in self.seconds if c != OURS), key=lambda c: self.ratio(c, work))


@dataclass
class Process:
    name: str
    process: subprocess.Popen[str] = field(repr=False)

    @staticmethod
    def start(name: str, task: Task, python: str, slow_memory: bool = False) -> Process:
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        if slow_memory:
            # Every tensor in pages of its own, given back at once: the peak is that of what is held.
            settings |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        kind, _, variant = name.partition(":")
        fields = {k: v for k, v in asdict(task).items() if not k.startswith("_")}
        command = [python, "-m", "bench.worker", kind, json.dumps(fields), *([variant] if variant else [])]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=settings,
        )
        return Process(name, process)

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            last = self.process.stderr.read().strip().splitlines()[-1:]
            return {"absent": f"it failed: {last[0] if last else 'no message'}"}
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def duel(
    task: Task,
    contenders: Sequence[str],
    pythons: Mapping[str, str],
    rounds: int,
    memory: bool = True,
) -> Result:
    """Time all contenders in turns, then measure each one's memory. A contender is the name of a
    module in bench/contenders, `name:variant` one that is told a variant."""
    result = Result(task, {}, {}, {})
    running: list[Process] = []
    try:
        for name in contenders:
            process = Process.start(name, task, pythons.get(name, sys.executable))
            reply = process.answer()
            if "absent" in reply:
                result.absent[name] = reply["absent"]
                process.stop()
                continue
            running.append(process)
            result.seconds[name] = {work: [] for work in WORK}
        for _ in range(rounds):
            for work in WORK:
                for process in running:
                    result.seconds[process.name][work].append(process.ask(f"{work} 2")["seconds"])
    finally:
        for process in running:
            process.stop()
    if memory:
        for name in result.seconds:
            process = Process.start(name, task, pythons.get(name, sys.executable), slow_memory=True)
            process.answer()
            result.memory[name] = process.ask("memory train")["bytes"]
            process.stop()
    return result
