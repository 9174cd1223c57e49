"""Contenders side by side: each in its own process, run in turns, compared turn by turn.

The machine's speed drifts; what ran in the same turn met the same machine, so that the median of the
turns' ratios says more than a ratio of medians.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.tasks import Task

ROOT = Path(__file__).parents[1]
OURS = "arec"
# The compiled model in torch alone, without kernels in C.
PLAIN = f"{OURS}:torch"
WORK = ("train", "score")
# A step that takes longer is timed once a turn, others twice.
LONG_SECONDS = 2.0


@dataclass
class Result:
    """seconds: by contender, then work, one figure a turn. memory: bytes of a training step at its
    peak. By contender, too: versions; differs, where its model is another; lesser, those for whom that is
    less work; absent, why it is not there."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    differs: dict[str, str] = field(default_factory=dict)
    lesser: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def ratio(self, contender: str, work: str, than: str = OURS) -> float:
        """How many times as long a contender takes as the compiled model, or as another one."""
        theirs, ours = self.seconds[contender][work], self.seconds[than][work]
        return median(a / b for a, b in zip(theirs, ours, strict=True))

    def milliseconds(self, contender: str, work: str) -> float:
        """The quickest turn's."""
        return min(self.seconds[contender][work]) * 1e3

    @property
    def others(self) -> list[str]:
        """All contenders but the compiled model."""
        return [name for name in self.seconds if name != OURS]

    def best(self, work: str) -> str | None:
        """The quickest of the others that do the same work, if any does."""
        own = f"{OURS}:"
        same = [name for name in self.others if name not in self.lesser and not name.startswith(own)]
        return min(same, key=lambda name: self.ratio(name, work), default=None)

    @staticmethod
    def of_json(found: Mapping[str, Any]) -> Result:
        return Result(**{name: found[name] for name in Result.__dataclass_fields__})


@dataclass
class Process:
    name: str
    process: subprocess.Popen[str] = field(repr=False)
    # Of each work, runs a turn.
    times: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def start(name: str, task: Task, python: str, slow_memory: bool = False) -> Process:
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT}/runtime"}
        if task.warm:
            # glibc keeps what is freed, and no block has pages of its own.
            settings |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
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
            stderr=subprocess.DEVNULL,  # libraries talk, and an unread pipe fills up
            text=True,
            env=settings,
        )
        return Process(name, process)

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            return {"absent": f"its process ended with {self.process.wait()}"}
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"absent": f"its process ended with {self.process.wait()}"}
        return self.answer()

    def timed(self, work: str) -> float | None:
        """Seconds of one run, if the process lives."""
        seconds: float | None = self.ask(f"{work} {self.times.get(work, 2)}").get("seconds")
        if seconds is not None:
            self.times[work] = 1 if seconds > LONG_SECONDS else 2
        return seconds

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def duel(
    task: Task,
    contenders: Iterable[str],
    pythons: Mapping[str, str],
    rounds: int,
    memory: bool = True,
    works: Iterable[str] = WORK,
) -> Result:
    """Time all contenders in turns, then measure each one's memory. A contender is the name of a
    module in bench/contenders, `name:variant` one that is told a variant."""
    result = Result()
    works = tuple(works)
    with ExitStack() as stack:
        running = []
        for process, reply in started(stack, contenders, task, pythons):
            name = process.name
            if "absent" in reply and name == OURS:
                raise RuntimeError(f"the compiled {task.name}: {reply['absent']}")
            if "absent" in reply:
                result.absent[name] = reply["absent"]
                continue
            running.append(process)
            result.seconds[name] = {work: [] for work in works}
            result.versions[name] = reply["version"]
            if reply["differs"]:
                result.differs[name] = reply["differs"]
            if reply["lesser"]:
                result.lesser.append(name)
        for turn in range(rounds):
            for work in works:
                for process in list(running):
                    seconds = process.timed(work)
                    if seconds is None:
                        running.remove(process)
                        del result.seconds[process.name]
                        result.absent[process.name] = "its process ended while it was timed"
                        continue
                    result.seconds[process.name][work].append(seconds)
            print(f"  {task.name}: turn {turn + 1} of {rounds}", file=sys.stderr)
    if memory:
        with ExitStack() as stack:
            for process, _ in started(stack, result.seconds, task, pythons, slow_memory=True):
                bytes_ = process.ask("memory train").get("bytes")
                if bytes_:
                    result.memory[process.name] = bytes_
    return result


def started(
    stack: ExitStack,
    contenders: Iterable[str],
    task: Task,
    pythons: Mapping[str, str],
    slow_memory: bool = False,
) -> list[tuple[Process, dict[str, Any]]]:
    """All contenders, each with its first answer. They start side by side, and none works when all have
    answered; the stack ends them."""
    processes = []
    for name in contenders:
        processes.append(Process.start(name, task, pythons.get(name, sys.executable), slow_memory))
        stack.callback(processes[-1].stop)
    return [(process, process.answer()) for process in processes]
