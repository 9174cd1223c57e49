"""Processes that are started as torchrun starts them, without the one that watches over them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


def started(arguments: Sequence[str], count: int, cwd: Path = REPO) -> list[subprocess.Popen[str]]:
    """So many processes of `python ARGUMENTS`, which find each other."""
    port = free_port()
    found = []
    for number in range(count):
        own = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
               "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}  # fmt: skip
        path = os.pathsep.join([str(REPO), str(REPO / "runtime"), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, **{name: str(value) for name, value in own.items()}}
        command = [sys.executable, "-W", "ignore", *arguments]
        out = subprocess.PIPE
        found.append(subprocess.Popen(command, env=env, cwd=cwd, text=True, stdout=out, stderr=out))
    return found


def ended(some: Sequence[subprocess.Popen[str]], timeout: float = 300) -> list[tuple[int, str, str]]:
    """Of each its exit code, and what it wrote to stdout and stderr. Where one fails, the others have half a
    minute to end, too."""
    end = time.monotonic() + timeout
    with ThreadPoolExecutor(len(some)) as reading:
        texts = [reading.submit(process.communicate) for process in some]
        while any(p.poll() is None for p in some) and time.monotonic() < end:
            if any(p.poll() for p in some):
                end = min(end, time.monotonic() + 30)
            time.sleep(0.05)
        for process in some:
            process.kill()
        return [(p.wait(), *text.result()) for p, text in zip(some, texts, strict=True)]
