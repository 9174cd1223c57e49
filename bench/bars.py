"""How many times as fast as the best of the others a compiled model is meant to be in each cell, and what the
work that is left to it allows.
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
# A product as models have them, whose speed stands for the processor's; and what is measured in C.
ROWS, DEPTH, COLUMNS = 12_800, 128, 384
MEASURED = """\
void multiply(int64_t n, int64_t k, int64_t m, const real *x, const real *w, real *y)
{
    memory *a = memory_();
    by_panels_(n, k, m, x, k, in_panels_(a, k, m, w, 1, m), 0, y, m, 0);
    release_(a);
}
void exponentials(int64_t n, const real *x, real *y)
{
    LANES for (int64_t i = 0; i < n; i++) y[i] = exp_(x[i]);
}
"""
# Exponentials of which the processor's speed is measured: their numbers stay in its nearest cache.
COUNT = 2048
# Bytes of a weight in a step at the least: it is read by the forward pass; in training its gradient is
# written, and Adam reads gradient, weight and two moments and writes all but the gradient.
BYTES = {"train": 4 * (1 + 1 + 4 + 3), "score": 4}


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


def least(task: Task, works: Iterable[str]) -> dict[str, dict[str, float]]:
    """What a compiled model has to do, by work, as counted in torch alone: `operations`, multiplications and
    additions of its matrix products; `exponentials`; `bytes` of weights that are moved; and the seconds that
    this processor takes of each kind at the least, as `seconds of operations` and so on."""
    process = Process.start(PLAIN, task, sys.executable)
    try:
        process.answer()
        counted = {work: process.ask(f"count {work}") for work in works}
    finally:
        process.stop()
    found = {}
    for work, count in counted.items():
        if "operations" not in count:
            continue
        bytes_ = count["numbers"] * BYTES[work]
        found[work] = {
            "operations": count["operations"],
            "seconds of operations": count["operations"] / peak(),
            "exponentials": count["exponentials"],
            "seconds of exponentials": count["exponentials"] * exponential(),
            "bytes": bytes_,
            "seconds of bytes": moving(bytes_),
        }
    return found


def quickest(ways: Iterable[Callable[[], Any]], turns: int = 25) -> float:
    """Seconds of the quickest turn of any of several ways, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for way in [*ways] * turns:
        begin = time.process_time()
        way()
        seconds.append(time.process_time() - begin)
    torch.set_num_threads(threads)
    return min(seconds)


def peak() -> float:
    """Multiplications and additions a second of a large matrix product, by torch's BLAS or by the runtime's
    C, whichever is quicker here."""
    a, b, out = torch.rand(ROWS, DEPTH), torch.rand(DEPTH, COLUMNS), torch.empty(ROWS, COLUMNS)
    ways: list[Callable[[], Any]] = [lambda: torch.matmul(a, b, out=out)]
    if (kit := load([KIT, MEASURED], torch.float32, multiply=[*[NUMBER] * 3, *[AT] * 3])) is not None:
        ways.append(
            lambda: kit.multiply(ROWS, DEPTH, COLUMNS, *(matrix.data_ptr() for matrix in (a, b, out)))
        )
    return 2 * ROWS * DEPTH * COLUMNS / quickest(ways)


def exponential(times: int = 100) -> float:
    """Seconds of an exponential of many, by torch or by the runtime's C, whichever is quicker here."""
    x, out = torch.linspace(-4, 4, COUNT), torch.empty(COUNT)
    one: list[Callable[[], Any]] = [lambda: torch.exp(x, out=out)]
    if (kit := load([KIT, MEASURED], torch.float32, exponentials=[NUMBER, AT, AT])) is not None:
        one.append(lambda: kit.exponentials(COUNT, x.data_ptr(), out.data_ptr()))

    def often(way: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                way()

        return run

    return quickest(map(often, one)) / (COUNT * times)


def moving(bytes_: float) -> float:
    """Seconds of a copy that reads and writes so many bytes together; they stay in caches where these hold
    them."""
    source = torch.zeros(max(1, int(bytes_) // 8))
    target = torch.zeros_like(source)
    return quickest([lambda: target.copy_(source)])


def limit(found: Mapping[str, Any], theirs: float, work: str) -> dict[str, float]:
    """By what is counted, the ratio to a contender that takes so many seconds if the compiled model did
    nothing else: `products`, at the processor's peak, and `all`, with exponentials and weights moved. Empty
    where nothing was counted."""
    counted = found.get("least", {}).get(work)
    if not counted or not counted["operations"]:
        return {}
    seconds = {kind: counted[f"seconds of {kind}"] for kind in ("operations", "exponentials", "bytes")}
    return {"products": theirs / seconds["operations"], "all": theirs / sum(seconds.values())}
