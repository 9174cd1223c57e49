"""From a spec's text to a module that is ready, beyond importing torch; and checking every shipped spec.

    python -m bench.compile_time

The bench's sizes: of large tables the time goes to filling them with random numbers. Writes
bench/results/compile_time.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
MODELS = ("afm", "din", "dien", "bst", "dsin", "dstn", "atrank")


def ready(model: str) -> dict[str, float]:
    """Milliseconds in a fresh process: the first compilation, and the next one."""
    script = (
        "import json, sys, time, torch, specc, specc_runtime\n"
        "found = []\n"
        "for _ in range(3):\n"
        "    begin = time.process_time()\n"
        "    specc.compile(sys.argv[1])\n"
        "    found.append(time.process_time() - begin)\n"
        "print(json.dumps({'first': found[0] * 1e3, 'next': min(found[1:]) * 1e3}))"
    )
    path = ROOT / "bench" / "specs" / f"{model}_sized.arec"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True)
def main(out: Path) -> None:
    """Time compilation of the seven models, and `specc check` of all shipped specs in one process."""
    found: dict[str, object] = {model: ready(model) for model in MODELS}
    specs = sorted(str(path) for path in (ROOT / "specs").rglob("*.arec"))
    begin = time.perf_counter()
    subprocess.run([Path(sys.executable).parent / "specc", "check", *specs], capture_output=True, check=False)
    found["check"] = {"specs": len(specs), "milliseconds": (time.perf_counter() - begin) * 1e3}
    click.echo(json.dumps(found, indent=1))
    out.mkdir(parents=True, exist_ok=True)
    (out / "compile_time.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
