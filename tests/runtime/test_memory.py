"""What a step frees is there for the next."""

from __future__ import annotations

import platform
import subprocess
import sys

CODE = """
import resource, torch
from specc_runtime.devices import keep_freed
keep_freed()
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    values = [torch.ones(2**17) for _ in range(40)]  # 20 MB, in parts of which none is large
    del values
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_pages_are_not_taken_anew() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    # Ten times 20 MB are 50 thousand pages. Other allocators than glibc's are left alone.
    assert int(done.stdout) < 2_000 or platform.libc_ver()[0] != "glibc"
