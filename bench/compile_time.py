"""From a spec's text to a module that is ready, beyond importing torch; and checking every shipped spec.

    python -m bench.compile_time

What counts: everything after `import torch` in a fresh process, the import of specc and specc_runtime
included, at the sizes of the shipped specs. Large tables draw their starting values when they are first read:
that is timed apart. The quickest of several processes, in wall and in processor milliseconds; Python's own
cache of bytecode is in place, as it is from the second run of an installed package on. Writes
bench/results/compile_time.json.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import click

ROOT = Path(__file__).parents[1]
MODELS = ("afm", "din", "dien", "bst", "dsin", "dstn", "atrank")
_READY = """
import json, sys, time, torch
wall, cpu = time.perf_counter(), time.process_time()
import specc, specc_runtime
model = specc.compile(sys.argv[1])
found = {"wall": time.perf_counter() - wall, "first": time.process_time() - cpu}
wall = time.perf_counter()
list(model.parameters())
found["filled"] = time.perf_counter() - wall
del model
following = []
for _ in range(3):
    cpu = time.process_time()
    specc.compile(sys.argv[1])
    following.append(time.process_time() - cpu)
found["next"] = min(following)
print(json.dumps({name: seconds * 1e3 for name, seconds in found.items()}))
"""


def ready(model: str, turns: int, env: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds: of a process's first compilation `wall` and processor (`first`), and of the `next`."""
    path = ROOT / "specs" / f"{model}.arec"
    command = [sys.executable, "-c", _READY, path]
    found = []
    for _ in range(turns):
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=env)
        found.append(json.loads(done.stdout))
    return {name: min(turn[name] for turn in found) for name in found[0]}


def checked(turns: int, env: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds of `specc check` of all shipped specs in one process, Python's start included."""
    specs = sorted(str(path) for path in (ROOT / "specs").rglob("*.arec"))
    command = [Path(sys.executable).parent / "specc", "check", *specs]
    walls, processor = [], []
    for _ in range(turns):
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True, env=env)
        walls.append(time.perf_counter() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"specs": len(specs), "milliseconds": min(walls) * 1e3, "processor": min(processor) * 1e3}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True)
@click.option("--turns", default=5, show_default=True, help="Fresh processes for each; the quickest counts.")
def main(out: Path, turns: int) -> None:
    """Time compilation of the seven models, and `specc check` of all shipped specs in one process."""
    with TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env = {**kept, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": folder}
        ready(MODELS[0], 1, env)  # writes the bytecode
        found: dict[str, object] = {model: ready(model, turns, env) for model in MODELS}
        found["check"] = checked(turns, env)
    click.echo(json.dumps(found, indent=1))
    out.mkdir(parents=True, exist_ok=True)
    (out / "compile_time.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
