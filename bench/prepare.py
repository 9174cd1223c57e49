"""What `specc prepare` costs: processor time and peak memory on generated logs of 10^6 and 10^7 events.

    python -m bench.prepare --events 1000000 --events 10000000 --out bench/results

Each log is generated (a hundred events a user, items by a power law, in the order of time, as CSV), prepared
for DIN in a process of its own, and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
BEGIN, SPAN = 1_600_000_000, 30 * 86_400
EACH = 100  # events a user


@dataclass(frozen=True)
class Row:
    """seconds: of the processor, in all threads. peak: bytes that were resident at once. written: bytes."""

    model: str
    events: int
    memory: str
    seconds: float
    wall: float
    peak: int
    written: int


def write_log(path: Path, events: int, seed: int) -> None:
    """A CSV with user_id, item_id, category and timestamp, piece by piece."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    random = np.random.default_rng(seed)
    users, items = max(events // EACH, 10), max(events // 50, 100)
    size = 1 << 20
    schema = pa.schema([(name, pa.int64()) for name in ("user_id", "item_id", "category", "timestamp")])
    with csv.CSVWriter(path, schema) as writer:
        for at in range(0, events, size):
            count = min(size, events - at)
            item = (items * random.random(count) ** 3).astype(np.int64)
            moment = BEGIN + (SPAN * (at + np.sort(random.random(count)) * count) / events).astype(np.int64)
            columns = [random.integers(0, users, count), item, item % 997, moment]
            writer.write_table(pa.table([pa.array(c) for c in columns], schema=schema))


def measured(model: str, events: int, memory: str, folder: Path) -> Row:
    """Prepare in a process of its own."""
    log = folder / "log.csv"
    write_log(log, events, 0)
    command = [sys.executable, "-m", "bench.prepare", "--one", model, "--log", str(log), "--memory", memory]
    settings = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/runtime"}
    done = subprocess.run(command, env=settings, cwd=ROOT, check=True, capture_output=True, text=True)
    log.unlink()
    return Row(model, events, memory, **json.loads(done.stdout))


def one(model: str, log: Path, memory: str) -> None:
    """Prepare a log, and print what it took."""
    import resource
    import time

    from specc.cli.models import manifest_from
    from specc.prepare import Settings, prepare

    manifest = manifest_from(ROOT / "specs" / f"{model}.arec", {})
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=log.parent) as folder:
        data = Path(folder) / "data"
        prepare(manifest, log, data, Settings(test="0.1"), memory=memory)
        written = sum(path.stat().st_size for path in data.iterdir())
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": used.ru_utime + used.ru_stime,
                "wall": time.perf_counter() - begun,
                "peak": used.ru_maxrss * 1024,
                "written": written,
            }
        )
    )


@click.command()
@click.option("--events", multiple=True, type=int, default=(10**6,), help="How many. Repeatable.")
@click.option("--model", default="din", show_default=True)
@click.option("--memory", default="2GB", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where prepare.json goes.")
@click.option("--one", "alone", hidden=True, help="In this process.")
@click.option("--log", hidden=True, type=click.Path(path_type=Path))
def main(
    events: tuple[int, ...], model: str, memory: str, out: Path | None, alone: str | None, log: Path | None
) -> None:
    """Measure, and print a line a log."""
    if alone is not None and log is not None:
        one(alone, log, memory)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in events:
            rows.append(measured(model, count, memory, Path(folder)))
            row = rows[-1]
            click.echo(
                f"{row.model} {row.events:>12,} events  {row.seconds:8.1f} s of the processor "
                f"({row.wall:.1f} s)  "
                f"{row.peak / 2**20:8,.0f} MB at most  {row.written / 2**20:8,.0f} MB written"
            )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "prepare.json").write_text(
            json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
