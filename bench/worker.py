"""One contender in a process of its own: builds it, then does what it is told a line at a time.

Answers are on stdout, one JSON object a line. First what was built, {"version", "differs", "lesser"}, or
{"absent": why}. Then for the commands on stdin: `train N` and `score N`, {"seconds": the quickest of N};
`memory train` and `memory score`, {"bytes": peak above what lay there before}; `count train` and `count
score`, {"operations": multiplications and additions of torch's matrix products, "exponentials": of torch's
sigmoids, softmaxes and the like, "numbers": of weights}.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.contender import DEVICE, Absent, Contender
from bench.tasks import Task


def main(name: str, task: Task, variant: str = "") -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # Contenders print what they like; the protocol has stdout to itself.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**what: Any) -> None:
        print(json.dumps(what), file=answers)

    try:
        torch.manual_seed(0)
        module = importlib.import_module(f"bench.contenders.{name}")
        # While it is built alone: a default device makes every call of torch slower.
        with nullcontext() if DEVICE == "cpu" else torch.device(DEVICE):
            contender: Contender = module.build(task, *([variant] if variant else []))
        if task.trains:
            contender.train()
        contender.score()
    except Absent as reason:
        answer(absent=str(reason))
        return
    except ImportError as reason:
        answer(absent=f"not installed ({reason})")
        return
    except Exception as error:  # another version of a library, say: named, as what is not there is
        answer(absent=f"it failed: {type(error).__name__}: {str(error)[:200]}")
        return
    version = importlib.metadata.version(module.PACKAGE) if module.PACKAGE else ""
    answer(version=version, differs=contender.differs, lesser=contender.lesser)
    for line in sys.stdin:
        verb, argument = line.split()
        if verb == "memory":
            answer(bytes=peak_memory(getattr(contender, argument)))
        elif verb == "count":
            work = getattr(contender, argument)
            found = {"operations": operations(work), "exponentials": exponentials(work)}
            answer(**found, numbers=contender.numbers)
        else:
            answer(seconds=fastest(getattr(contender, verb), int(argument)))


def fastest(work: Callable[[], Any], times: int) -> float:
    """Seconds of the quickest of a few runs: those of the processor, which with one thread are those on the
    clock but for the time that other processes had; on a device those on the clock until it is done."""
    found = []
    for _ in range(times):
        begin = _now()
        work()
        found.append(_now() - begin)
    return min(found)


def _now() -> float:
    if DEVICE == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def peak_memory(work: Any) -> int:
    """Bytes that a run needs at most above what the process held before it (Linux only, else 0)."""
    work()
    gc.collect()
    try:
        before = resident("VmRSS")
        # Where the mark may not be reset, the first run has set it already.
        with suppress(PermissionError), open("/proc/self/clear_refs", "w") as reset:
            reset.write("5")
        work()
        return max(resident("VmHWM") - before, 0)
    except OSError:
        return 0


def operations(work: Callable[[], Any]) -> int:
    """Multiplications and additions of a run's matrix products, as far as they are calls of torch."""
    aten = torch.ops.aten
    # It knows neither of those that add to a matrix in place.
    more = {aten.addmm_: added, aten.baddbmm_: added}
    with FlopCounterMode(display=False, custom_mapping=more) as counter:
        work()
    return counter.get_total_flops()


class Exponentials(TorchDispatchMode):
    """Counts the values that torch makes by an exponential each."""

    names = frozenset(
        {"exp", "sigmoid", "tanh", "_softmax", "_log_softmax", "softplus", "silu", "gelu", "elu"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._schema.name.removeprefix("aten::").removesuffix("_") in self.names:
            self.count += result.numel()
        return result


def exponentials(work: Callable[[], Any]) -> int:
    """Exponentials of a run, as far as they are made by calls of torch."""
    with Exponentials() as counter:
        work()
    return counter.count


def added(_: Any, a: Sequence[int], b: Sequence[int], **__: Any) -> int:
    """The operations of a product that is added to something, of shapes [..., m, k] and [..., k, n]."""
    return 2 * prod(a) * b[-1]


def resident(key: str) -> int:
    """Bytes that /proc tells of this process, such as VmRSS."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main(sys.argv[1], Task(**json.loads(sys.argv[2])), *sys.argv[3:])
