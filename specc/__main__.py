"""`python -m specc`, and the entry point of `specc`: an interrupt while modules are read is told as any."""

from __future__ import annotations

import sys


def start() -> None:
    """Run the command line."""
    try:
        from specc.cli import main
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    main()


if __name__ == "__main__":
    start()
