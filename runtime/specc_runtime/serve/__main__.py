"""`python -m specc_runtime.serve MODEL`: serve a trained model, where there is no compiler."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from specc_runtime.devices import DeviceError
from specc_runtime.files import FileError
from specc_runtime.record import ArtefactError
from specc_runtime.score import Scorer, prebuild
from specc_runtime.serve.run import serve
from specc_runtime.serve.service import Limits


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    plain = Limits()
    parser = argparse.ArgumentParser(
        prog="python -m specc_runtime.serve", description="Serve a trained model."
    )
    parser.add_argument("model", type=Path, help="its folder")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all networks (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free (8000)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="requests scored at once")
    parser.add_argument("--cache", type=float, default=64, help="megabytes of request states (64)")
    parser.add_argument("--max-candidates", type=int, default=plain.candidates, help="of a request")
    parser.add_argument("--max-body", type=int, default=plain.body, help="bytes of a request")
    parser.add_argument(
        "--exported", type=Path, help="run this file, which `specc export` wrote of the model"
    )
    parser.add_argument(
        "--prebuild",
        action="store_true",
        help="serve nothing: put into the folder what is made at each start",
    )
    given = parser.parse_args(arguments)
    for name, least in (("threads", 1), ("cache", 0), ("port", 0), ("max_candidates", 1), ("max_body", 1)):
        if getattr(given, name) < least:
            parser.error(f"--{name.replace('_', '-')} is at least {least}")
    if given.port > 65535:
        parser.error("--port is at most 65535")
    limits = Limits(given.max_candidates, given.max_body)
    try:
        if given.prebuild:
            print("\n".join(prebuild(given.model)))
            return 0
        serve(
            lambda: Scorer.load(given.model, cache=given.cache, exported=given.exported),
            host=given.host, port=given.port, threads=given.threads, limits=limits,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )  # fmt: skip
    except (ArtefactError, DeviceError, FileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {given.host}:{given.port} cannot be had: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
