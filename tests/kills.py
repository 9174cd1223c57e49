"""Kill a process before any one of its file-system calls, to see what it leaves.

`sweep(script, folder, …)` runs a script in a process that has imported what it needs, and forks: the n-th
child is killed (SIGKILL) before its n-th call that changes a disk. The script defines `prepare(folder)`,
which makes what there is before; `work(folder)`, which is killed; and `judge(folder)`, which raises where
what is left is wrong. A `warm()` does once in the parent what every child would do anew (imports, kernels).
It ends with the first child that is not killed, and returns how many were.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Audit events of calls that change a disk, raised before the call is made. Files that are written from C
# (safetensors, pyarrow) are so between two of these.
CHANGES = {
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.truncate",
    "os.chmod",
    "os.link",
    "os.symlink",
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def kill_before(number: int) -> None:
    """Have this process killed before its number-th call, from 0, that changes a disk."""
    left = number

    def count() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
            count()

    def counted(call: Any) -> Any:
        def replaced(*args: Any) -> Any:
            count()
            return call(*args)

        return replaced

    sys.addaudithook(hook)
    os.fsync = counted(os.fsync)
    os.pwrite = counted(os.pwrite)


def forked(what: Callable[[], Any]) -> int:
    """Do something in a child of this process; the child's wait status. It exits with what is returned if
    that is a number, with 70 after an exception."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            found = what()
            code = found if type(found) is int else 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1]


def sweep(script: str, folder: Path, step: int = 1, start: int = 0, timeout: float = 600) -> int:
    """How many calls a script makes; it is killed before each `step`-th of them. Fails where `judge` does."""
    program = textwrap.dedent(script) + textwrap.dedent(f"""
        import shutil
        from pathlib import Path
        from tests.kills import forked, kill_before
        globals().get("warm", lambda: None)()
        number = {start}
        while True:
            folder = Path({str(folder)!r}) / str(number)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            assert forked(lambda: prepare(folder)) == 0, "prepare"
            ended = forked(lambda: (kill_before(number), work(folder)))
            assert ended in (0, 9), ended
            assert forked(lambda: judge(folder)) == 0, f"killed before call {{number}}"
            shutil.rmtree(folder)
            if ended == 0:
                print(number)
                break
            number += {step}
        """)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-1])
