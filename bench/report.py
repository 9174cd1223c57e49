"""docs/performance.md from what the benches wrote to bench/results."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from bench.duel import OURS

ROOT = Path(__file__).parents[1]
NAMES = {
    "handwritten": "by hand, padded",
    "deepctr": "DeepCTR-Torch 0.3.0",
    "fuxictr": "FuxiCTR 2.3.10",
    "rechub": "torch-rechub 0.9.0",
    "recbole": "RecBole 1.2.1",
}
HEAD = """# Performance

Written by `python -m bench.report` from what `make bench` measured; do not edit. One thread, plain PyTorch
on the CPU, all contenders in turns, each in a process of its own. A ratio is the median over the turns of how
many times as long a contender takes as the compiled model, in processor seconds, so that other load on the
machine counts less; times are the quickest turn's. Batches of 512 (AFM 2048), items and categories 64 + 64
wide, lengths from a power law with a mean of a quarter of the bound. Memory is the peak of a training step
above what the process held. The sizes are in `bench/tasks.py` and `bench/specs/`.

The figures below are of a machine of two cores that others kept busy, three turns each, against the contender
named alone: a first measurement, to be repeated on a quiet machine against all of them with `make bench`.

A ratio in a cell is against the best other contender of that column, whose name follows.

| model | training step | scoring | ms a step (best other) | MB a step (best other) |
|---|---|---|---|---|
"""


def main() -> None:
    results = [json.loads(p.read_text()) for p in sorted((ROOT / "bench" / "results").glob("*.json"))]
    lines = [_line(r) for r in results if "seconds" in r and OURS in r["seconds"] and len(r["seconds"]) > 1]
    text = HEAD + "\n".join(lines) + "\n"
    text += _absent([r for r in results if "absent" in r]) + _compiled() + _tables()
    (ROOT / "docs" / "performance.md").write_text(text)


def _ratio(result: dict[str, Any], contender: str, work: str) -> float:
    pairs = zip(result["seconds"][contender][work], result["seconds"][OURS][work], strict=True)
    return median(a / b for a, b in pairs)


def _line(result: dict[str, Any]) -> str:
    others = [c for c in result["seconds"] if c != OURS]
    best = {work: min(others, key=lambda c: _ratio(result, c, work)) for work in ("train", "score")}
    cells = [f"{_ratio(result, best[work], work):.1f} × {NAMES[best[work]]}" for work in ("train", "score")]
    train = best["train"]
    ours, theirs = (min(result["seconds"][c]["train"]) * 1e3 for c in (OURS, train))
    memory = result["memory"]
    least = min((memory[c] for c in others if memory.get(c)), default=0)
    held = f"{memory.get(OURS, 0) / 1e6:.0f} ({least / 1e6:.0f})"
    return f"| {result['task']} | {cells[0]} | {cells[1]} | {ours:.0f} ({theirs:.0f}) | {held} |"


def _absent(results: list[dict[str, Any]]) -> str:
    said = dict.fromkeys(
        f"* {NAMES[c]}: {why}" for r in results for c, why in r["absent"].items() if c in NAMES
    )
    return "\nNot there:\n\n" + "\n".join(said) + "\n" if said else ""


def _compiled() -> str:
    path = ROOT / "bench" / "results" / "compile_time.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    check = found.pop("check")
    rows = "\n".join(
        f"| {m} | {t['wall']:.0f} | {t['first']:.0f} | {t['next']:.0f} |" for m, t in found.items()
    )
    return (
        "\n## Compile time\n\nFrom a spec's text to a module that is ready, in milliseconds of the first "
        "compilation in a process, beyond importing torch: the import of the compiler and of the runtime "
        "counts, and so does filling the tables with random numbers.\n\n"
        "| model | wall | processor | processor, of the next one |\n|---|---|---|---|\n"
        f"{rows}\n\n`specc check` of all {check['specs']} shipped specs in one process, without torch: "
        f"{check['milliseconds']:.0f} ms of wall time, {check['processor']:.0f} ms of processor time.\n"
    )


def _tables() -> str:
    path = ROOT / "bench" / "results" / "tables.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    rows = "\n".join(
        f"| {int(n):,} | {found['lazy'][n] * 1e3:.1f} | {found['dense'][n] * 1e3:.1f} |"
        for n in found["lazy"]
    )
    return (
        "\n## Tables\n\nA step with one table of 16 channels, gradients and Adam by row, beside dense ones "
        "(what the libraries do), in milliseconds. Where this differs from dense Adam: a row's moments decay "
        "only at the steps that name it, and only then does it move; Adagrad and SGD are the same.\n\n"
        f"| rows | by row | dense |\n|---|---|---|\n{rows}\n"
    )


if __name__ == "__main__":
    main()
