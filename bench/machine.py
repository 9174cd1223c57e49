"""Where and of what something was measured: what every result says about itself.

`code` is a digest of all that a timing depends on here: results of the same code need no second measurement,
and writing about them changes nothing.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEASURED = ("specc", "runtime/specc_runtime", "specs", "bench")
KINDS = (".py", ".arec", ".lark")
# They write about results, or measure something else.
APART = frozenset(
    {
        "bars.py",
        "cells.py",
        "compile_time.py",
        "data.py",
        "gpu.py",
        "markdown.py",
        "memory.py",
        "other_sizes.py",
        "pages.py",
        "plot.py",
        "quality.py",
        "reading.py",
        "report.py",
        "serving_page.py",
        "torch_compile.py",
    }
)


def facts() -> dict[str, Any]:
    """Of a result that is being written."""
    from importlib.metadata import version

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "threads": 1,
        "revision": revision(),
        "code": code(),
    }


def processor() -> str:
    """Its name as Linux has it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def revision() -> str:
    """Of the working tree, with + where it has changes; empty outside a repository."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no", *MEASURED) else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@cache
def code() -> str:
    """Twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for folder in MEASURED:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in KINDS and not (folder == "bench" and path.name in APART):
                digest.update(path.relative_to(ROOT).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def available_memory() -> int:
    """Bytes that new processes may take (Linux; elsewhere as if there were enough)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 1 << 60
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
