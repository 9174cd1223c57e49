"""`python -m specc`, and the entry point of `specc`: an interrupt while modules are read is told as any."""

from __future__ import annotations

import gc
import sys


def start() -> None:
    """Run the command line."""
    try:
        from specc.cli import main
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    try:
        main()
    finally:
        gc.freeze()  # what is left goes with the process: to look through it for cycles first takes its time


if __name__ == "__main__":
    start()
