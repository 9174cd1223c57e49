"""Meet every call of a process that changes a disk with a kill, or with an error, whichever library makes it.

`killed(script, …)` and `failing(script, error, …)` run a script in a process that has imported what it
needs, and forks: the n-th child meets it at its n-th call. The script defines `prepare(folder)`, which makes
what there is before; `work(folder)`, which meets it; and `judge(folder)`, which raises where what is left is
wrong.
They end with the first child that meets nothing, and return how many calls there were. Where errors are met,
`work` must raise `Expected`, which the script defines.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_PROGRAM = """
import ctypes, shutil
from pathlib import Path
from tests.kills import forked
import pyarrow.compute, pyarrow.csv, pyarrow.json, pyarrow.parquet, yaml  # each child would do it
_calls = ctypes.CDLL(None)
_calls.fault_at.argtypes = (ctypes.c_long, ctypes.c_int)
def _work(folder, number, error):
    _calls.fault_at(number, error)
    try:
        work(folder)
    except (Expected if error else ()) as told:
        _calls.fault_at(-1, 0)
        assert str(told) and "Traceback" not in str(told), told
        return 9
    _calls.fault_at(-1, 0)
    return 0
def _sweep(root, error, start, step):
    number, first = start, Path(root) / "before"
    first.mkdir()
    assert forked(lambda: prepare(first)) == 0, "prepare"
    while True:
        folder = Path(root) / str(number)
        shutil.copytree(first, folder)
        ended = forked(lambda: _work(folder, number, error))
        met = ended in (9, 9 << 8)
        assert met or ended == 0, (number, ended)
        assert forked(lambda: judge(folder)) == 0, f"at call {number}"
        shutil.rmtree(folder)
        if not met:
            print(number)
            return
        number += step
"""


def killed(script: str, folder: Path, step: int = 1, start: int = 0) -> int:
    """Kill the process before each `step`-th call that changes a disk."""
    return _swept(script, folder, 0, start, step)


def failing(script: str, error: int, folder: Path, step: int = 1, start: int = 0) -> int:
    """Have each `step`-th call that needs space on a disk, and all after it, fail with an error."""
    return _swept(script, folder, error, start, step)


def _swept(script: str, folder: Path, error: int, start: int, step: int) -> int:
    program = _PROGRAM + textwrap.dedent(script) + f"\n_sweep({str(folder)!r}, {error}, {start}, {step})\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        cwd=_ROOT, capture_output=True, text=True, check=False, timeout=3600,
        env={**os.environ, "LD_PRELOAD": str(_library(folder))},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-1])


def _library(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and Linux")
    built = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl"], check=True)
    return built
