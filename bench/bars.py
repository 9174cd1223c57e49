"""How many times as fast as the best of the others a compiled model is meant to be in each cell, and what the
arithmetic that is left allows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from bench.duel import OURS, PLAIN, Process, Result
from bench.tasks import Task
from specc_runtime.native.kit import KIT
from specc_runtime.native.load import AT, NUMBER, load

# By cell, training step and scoring; every other cell is at least as fast as the best.
BARS = {
    "AFM, 26 x 16": (4.0, 7.0),
    "AFM, 26 x 16, batch 128": (1.5, 1.5),
    "DIN, T 100": (8.0, 12.0),
    "DIN, T 100, 100% of the bound": (2.5, 4.0),
    "DIN, T 100, width 32, batch 256": (6.0, 8.0),
    "DIN, T 100, one request of 500": (1.0, 14.0),
    "DIEN, T 100": (6.0, 3.5),
    "BST, T 20": (9.0, 10.0),
    "BST, T 20, mean pooling": (3.5, 3.5),
    "BST, T 20, mean pooling, 100% of the bound": (1.5, 1.5),
    "BST, T 20, mean pooling, one request of 500": (1.0, 5.0),
    "DSIN, 5 x 20": (5.5, 5.0),
    "DSTN, T 5": (3.0, 3.0),
    "DSTN, T 5, batch 32": (1.3, 1.3),
    "ATRank, T 100": (8.0, 8.0),
}
AT_LEAST = 1.0
# A product as models have them, whose speed stands for the processor's.
ROWS, DEPTH, COLUMNS = 12_800, 128, 384
MULTIPLY = """\
void multiply(int64_t n, int64_t k, int64_t m, const real *x, const real *w, real *y)
{
    memory *a = memory_();
    by_panels_(n, k, m, x, k, in_panels_(a, k, m, w, 1, m), 0, y, m, 0);
    release_(a);
}
"""


def bar(cell: str, work: str) -> float:
    """The bar of a cell by its name."""
    training, scoring = BARS.get(cell, (AT_LEAST, AT_LEAST))
    return training if work == "train" else scoring


def missed(cell: str, result: Result) -> list[str]:
    """The works of which a cell does not reach its bar."""
    return [
        work
        for work in result.seconds[OURS]
        if (best := result.best(work)) is not None and round(result.ratio(best, work), 2) < bar(cell, work)
    ]


def arithmetic(task: Task, works: Iterable[str]) -> dict[str, Any]:
    """Of a compiled model in torch alone: by work, multiplications and additions of its matrix products, and
    how many of these the processor does in a second (`peak`)."""
    process = Process.start(PLAIN, task, sys.executable)
    try:
        process.answer()
        counted = {work: process.ask(f"count {work}").get("operations") for work in works}
    finally:
        process.stop()
    return {"operations": counted, "peak": peak()}


def peak(turns: int = 9) -> float:
    """Multiplications and additions a second of a large matrix product on one thread, by torch's BLAS or by
    the kit of scoring in C, whichever is quicker here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a, b, out = torch.rand(ROWS, DEPTH), torch.rand(DEPTH, COLUMNS), torch.empty(ROWS, COLUMNS)
    ways: list[Callable[[], Any]] = [lambda: torch.matmul(a, b, out=out)]
    if (kit := load([KIT, MULTIPLY], torch.float32, multiply=[*[NUMBER] * 3, *[AT] * 3])) is not None:
        ways.append(
            lambda: kit.multiply(ROWS, DEPTH, COLUMNS, *(matrix.data_ptr() for matrix in (a, b, out)))
        )
    seconds = []
    for way in ways * turns:
        begin = time.process_time()
        way()
        seconds.append(time.process_time() - begin)
    torch.set_num_threads(threads)
    return 2 * ROWS * DEPTH * COLUMNS / min(seconds)


def limit(found: Mapping[str, Any], theirs: float, work: str) -> float | None:
    """The ratio to a contender that takes so many seconds, if the compiled model took no longer than its
    matrix products take at the processor's peak; None where these were not counted."""
    counted = found.get("arithmetic", {"operations": {}})
    operations = counted["operations"].get(work)
    return theirs * counted["peak"] / operations if operations else None
