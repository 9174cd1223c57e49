"""Results as files: one a task in a folder, each with what it was measured of and on.

Promises: `kept` finds a result only where the same code was measured as often, against the same contenders.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench.duel import Result
from bench.machine import code, facts
from bench.tasks import Task, examples


def write(path: Path, result: Result, task: Task, rounds: int, **more: Any) -> dict[str, Any]:
    """A result, beside its task and the machine's facts; returns what it wrote."""
    measured = asdict(result)
    measured["seconds"] = {
        name: {work: [round(s, 7) for s in times] for work, times in works.items()}
        for name, works in result.seconds.items()
    }
    told = {
        "task": task.name,
        "model": task.model,
        "batch": task.batch,
        "lengths": examples(task).means,
        "rounds": rounds,
    }
    found = {**told, **more, "machine": facts(), **measured}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def amend(path: Path, **more: Any) -> None:
    """Add to what was written of a task."""
    path.write_text(json.dumps({**read(path), **more}, indent=1) + "\n")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def kept(path: Path, contenders: Iterable[str], rounds: int) -> Result | None:
    """The result that makes measuring again needless, if there is one."""
    if not path.is_file():
        return None
    found = read(path)
    same = found.get("machine", {}).get("code") == code() and found.get("rounds", 0) >= rounds
    if not same or not set(contenders) <= {*found["seconds"], *found["absent"]}:
        return None
    return Result.of_json(found)


def once(
    path: Path,
    task: Task,
    contenders: Iterable[str],
    rounds: int,
    again: bool,
    measure: Callable[[], Result],
    **more: Any,
) -> Result:
    """What was measured of the same code before, or else what is measured now, and written. again: now in
    any case."""
    result = None if again else kept(path, contenders, rounds)
    if result is not None:
        click.echo(f"{task.name}: measured before", err=True)
        return result
    begin = time.monotonic()
    result = measure()
    write(path, result, task, rounds, **more)
    click.echo(f"{task.name}: {time.monotonic() - begin:.0f} s", err=True)
    return result


def all_of(folder: Path, kind: str) -> list[Mapping[str, Any]]:
    """Every result of a kind: `models`, `passes`, `tables`."""
    return [read(path) for path in sorted((folder / kind).glob("*.json"))]
