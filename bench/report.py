"""docs/performance.md, from what the benches wrote to bench/results.

python -m bench.report
"""

from __future__ import annotations

import json
import platform
from statistics import median
from typing import Any

from bench.duel import OURS, ROOT, WORK

RESULTS, PAGE = ROOT / "bench" / "results", ROOT / "docs" / "performance.md"

INTRODUCTION = """# Performance

Made by `python -m bench.report` from what `make bench` measured; every figure is a measurement.

One thread of processor time, {system}, float32, the same dimensions for all: 512 examples a step (AFM
2,048), item and category 64 + 64 channels, lengths from a power law with a mean of a quarter of the bound.
Contenders run in turns, each in a process of its own; a ratio is the median over the turns of how many times
as much time a contender takes as the compiled model. A step is forward, loss, backward and optimizer; the
compiled model's optimizer visits only the table rows of the batch (`specc_runtime.train.lazy` says where
that differs from dense Adam), the others' are torch's. Memory is the peak of a training step above what the
process held before it.
"""


def page(results: list[dict[str, Any]], tables: dict[str, dict[str, float]] | None) -> str:
    lines = [INTRODUCTION.format(system=f"{platform.machine()}, {platform.system()}"), "## Side by side", ""]
    lines += [
        "| task | turns | best other, training | ratio | best other, scoring | ratio | memory, ours / its |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(r) for r in results if OURS in r["seconds"] and len(r["seconds"]) > 1]
    lines += ["", "## All contenders", ""]
    for result in results:
        lines += _all(result)
    if tables:
        lines += _tables(tables)
    return "\n".join(lines).rstrip() + "\n"


def _ratio(result: dict[str, Any], name: str, work: str) -> float:
    ours, theirs = result["seconds"][OURS][work], result["seconds"][name][work]
    return median(b / a for a, b in zip(ours, theirs, strict=True))


def _best(result: dict[str, Any], work: str) -> tuple[str, float]:
    others = [name for name in result["seconds"] if name.partition(":")[0] != OURS]
    ratios = {name: _ratio(result, name, work) for name in others}
    name = min(ratios, key=ratios.__getitem__)
    return name, ratios[name]


def _row(result: dict[str, Any]) -> str:
    cells = [result["task"], str(len(result["seconds"][OURS]["train"]))]
    for work in WORK:
        name, ratio = _best(result, work)
        cells += [name, f"{ratio:.1f}"]
    memory, best = result["memory"], _best(result, "train")[0]
    cells.append(f"{memory.get(OURS, 0) / 1e6:.0f} / {memory.get(best, 0) / 1e6:.0f} MB")
    return f"| {' | '.join(cells)} |"


def _all(result: dict[str, Any]) -> list[str]:
    lines = [
        f"### {result['task']}",
        "",
        "| contender | training, ms | ratio | scoring, ms | ratio | memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, seconds in result["seconds"].items():
        cells = [name]
        for work in WORK:
            cells += [f"{median(seconds[work]) * 1e3:.1f}", f"{_ratio(result, name, work):.2f}"]
        cells.append(f"{result['memory'].get(name, 0) / 1e6:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"{name}: {why}." for name, why in result["absent"].items()), ""]
    return lines


def _tables(tables: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        "## Size of the tables",
        "",
        "A step with Adam, one table of 16 channels read 512 times and for histories of 25 on average "
        "(`python -m bench.tables`): gradients and state of the rows of the batch, beside dense ones.",
        "",
        "| rows | by row, ms | dense, ms |",
        "|---|---|---|",
    ]
    for rows, seconds in tables["lazy"].items():
        lines.append(f"| {int(rows):,} | {seconds * 1e3:.1f} | {tables['dense'][rows] * 1e3:.1f} |")
    return lines


def main() -> None:
    results = [json.loads(p.read_text()) for p in sorted(RESULTS.glob("*.json")) if p.name != "tables.json"]
    tables = RESULTS / "tables.json"
    PAGE.write_text(page(results, json.loads(tables.read_text()) if tables.is_file() else None))


if __name__ == "__main__":
    main()
