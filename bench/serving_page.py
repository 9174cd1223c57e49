"""The part of docs/performance.md about serving, from what `bench.serve` wrote."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.markdown import table, times, wrapped

ABOUT_ONE = """
`python -m bench.serve`: one request of 200 candidates with a history of 50, one thread, in milliseconds of
the processor; the median over {rounds} turns. `state kept` is the candidates' part alone, of a request that
came before; the others are how many times as long an engine takes as the model's own code: what
`specc export` makes of the model, and FuxiCTR's module on 200 rows that repeat the request. `specc serve`
runs the quickest that is there of the model's own code and what was exported. The share of encoding, from a
dict of lists to tensors, is of the quickest's time. Measured on {date} at revision {revision}, on
{processor}.
"""
ABOUT_START = """
The shipped specs, with tables of 10^6 rows and full vocabularies, in a fresh process that has imported
torch, the best of three: seconds to load on the clock and of the processor, and the first request beside the
hundredth, all different, in milliseconds of the processor.
"""
ABOUT_LOAD = """
DIN under load on loopback, server and clients in one process: by `specc serve` with two threads, and by an
endpoint written by hand in FastAPI with the same model, {seconds:g} seconds each. Of two stages the first is
`specs/more/two_tower.arec` with a flat index of 20,000 items, of which 200 are found and ranked by DIN.
"""
WAYS = {"onnx": "ONNX Runtime ×", "aoti": "AOTInductor ×", "fuxictr": "FuxiCTR ×"}
ORDER = ("afm", "din", "dien", "bst", "dsin", "dstn", "atrank")


def serving(results: Path) -> str:
    """The section; empty where nothing was measured."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted((results / "serve").glob("*.json"))}
    models = {name: found[name] for name in ORDER if name in found}
    if not models:
        return ""
    machine = {
        key: " and ".join(sorted({str(each["machine"][key]) for each in models.values()}))
        for key in ("date", "revision", "processor")
    }
    rounds = " or ".join(sorted({str(each["rounds"]) for each in models.values()}))
    parts = [
        f"## One request\n\n{wrapped(ABOUT_ONE.format(rounds=rounds, **machine))}",
        table(
            ["model", "native ms", "state kept ms", *WAYS.values(), "encoding ms", "share"],
            [_row(name, each["ms"]) for name, each in models.items()],
        ),
        _absent(models),
        wrapped(ABOUT_START),
        table(
            ["model", "load s", "of the processor", "first ms", "hundredth ms"],
            [_start(name, each["starts"]) for name, each in models.items()],
        ),
    ]
    if load := found.get("load"):
        rows = [[str(cell) for cell in row.values()] for row in load["rows"]]
        parts += [
            wrapped(ABOUT_LOAD.format(seconds=load["seconds"])),
            table(["", "connections", "requests a second", "p50 ms", "p99 ms"], rows),
        ]
    return "\n".join(part for part in parts if part)


def _row(name: str, ms: Mapping[str, list[float]]) -> list[str]:
    middle = {way: statistics.median(taken) for way, taken in ms.items()}
    ratios = {
        way: statistics.median(a / b for a, b in zip(ms[way], ms["native"], strict=False))
        for way in WAYS
        if ms.get(way)
    }
    quickest = min(middle[way] for way in ("native", "onnx", "aoti") if way in middle)
    own = [f"{middle[way]:.2f}" for way in ("native", "state kept")]
    others = [times(ratios[way]) if way in ratios else "–" for way in WAYS]
    return [name, *own, *others, f"{middle['encode']:.2f}", f"{100 * middle['encode'] / quickest:.0f} %"]


def _start(name: str, starts: list[Mapping[str, float]]) -> list[str]:
    best = {key: min(each[key] for each in starts) for key in starts[0]}
    seconds = [f"{best[key]:.2f}" for key in ("load_s", "load_cpu_s")]
    return [name, *seconds, *(f"{best[key]:.1f}" for key in ("first_ms", "hundredth_ms"))]


def _absent(models: Mapping[str, Any]) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, each in models.items():
        for way, why in each["absent"].items():
            reasons.setdefault((WAYS[way].removesuffix(" ×"), why), []).append(name)
    said = [f"{way} of {', '.join(names)} ({why})" for (way, why), names in reasons.items()]
    return wrapped(f"Not there: {'; '.join(said)}.") if said else ""
