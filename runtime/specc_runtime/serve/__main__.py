"""`python -m specc_runtime.serve MODEL`: serve a trained model, where there is no compiler."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from specc_runtime.devices import DeviceError
from specc_runtime.files import FileError
from specc_runtime.record import ArtefactError
from specc_runtime.retrieval import RetrievalError, Stages
from specc_runtime.retrieval.stages import NEAREST
from specc_runtime.score import Scorer, prebuild
from specc_runtime.score.engine import AUTO, ENGINES
from specc_runtime.serve.run import AddressError, serve
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
        "--engine",
        choices=ENGINES,
        help="what runs the model: its own code, what `specc export` put beside its folder, or the quickest "
        "of those that are there (auto)",
    )
    parser.add_argument("--exported", type=Path, help="run this file, wherever `specc export` wrote it")
    parser.add_argument(
        "--prebuild",
        action="store_true",
        help="serve nothing: put into the folder what is made at each start",
    )
    parser.add_argument("--retrieve", type=Path, help="an index: candidates come from it")
    parser.add_argument("--rank", type=Path, help="with --retrieve: the model that ranks them")
    parser.add_argument("--nearest", type=int, help="with --retrieve: candidates that are found (200)")
    given = parser.parse_args(arguments)
    if (given.rank or given.nearest) is not None and given.retrieve is None:
        parser.error("--rank and --nearest are of --retrieve INDEX")
    if given.engine is not None and given.exported is not None:
        parser.error("--exported names the file, and the file its engine: leave --engine away")
    if (given.engine or given.exported) is not None and given.retrieve is not None and given.rank is None:
        parser.error("with --retrieve, --engine and --exported are of --rank MODEL2")
    for name, least in (
        ("threads", 1),
        ("nearest", 1),
        ("cache", 0),
        ("port", 0),
        ("max_candidates", 1),
        ("max_body", 1),
    ):
        if getattr(given, name) is not None and getattr(given, name) < least:
            parser.error(f"--{name.replace('_', '-')} is at least {least}")
    if given.port > 65535:
        parser.error("--port is at most 65535")
    limits = Limits(given.max_candidates, given.max_body)
    try:
        if given.prebuild:
            print("\n".join(prebuild(given.model)))
            return 0
        serve(
            lambda: _loaded(given),
            host=given.host, port=given.port, threads=given.threads, limits=limits,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )  # fmt: skip
    except (ArtefactError, RetrievalError, DeviceError, FileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except AddressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        print(f"error: {named}{error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _loaded(given: argparse.Namespace) -> Scorer | Stages:
    engine = given.exported or given.engine or AUTO
    if given.retrieve is None:
        return Scorer.load(given.model, cache=given.cache, engine=engine)
    nearest = given.nearest or NEAREST
    return Stages.load(
        given.model, given.retrieve, given.rank, nearest=nearest, cache=given.cache, engine=engine
    )


if __name__ == "__main__":
    sys.exit(main())
