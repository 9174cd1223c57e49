"""`specc serve`: a trained model's scores over HTTP."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.models import ModelFolder, device_option, devices_from, trained_from, trust_option
from specc.cli.numbers import Whole

if TYPE_CHECKING:
    from specc_runtime.score import Scorer


def _again(path: Path, devices: Any, untrusted: bool) -> tuple[Any, Any]:
    """The model and encoders of what the folder has by now. Raises ArtefactError, DeviceError."""
    from specc.driver import SpecError
    from specc.untrusted import texts_of
    from specc_runtime import ArtefactError
    from specc_runtime.encode import load_trained

    try:
        return load_trained(path, devices, texts_of if untrusted else None)
    except SpecError as error:
        raise ArtefactError(str(error)) from None


def _prebuild(path: Path) -> None:
    from specc_runtime import ArtefactError
    from specc_runtime.files import FileError
    from specc_runtime.score import prebuild

    try:
        names = prebuild(path)
    except (ArtefactError, FileError) as error:
        fail(str(error))
    click.echo(f"{path}: {', '.join(names) or 'nothing to build'}", err=True)


@click.command("serve", short_help="Serve a trained model over HTTP.")
@click.argument("model_path", metavar="MODEL", type=ModelFolder())
@click.option("--host", default="127.0.0.1", help="The address; 0.0.0.0 for all networks (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0 for any that is free (8000).")
@click.option("--threads", type=Whole(1), help="Requests scored at once (as many as cores).")
@click.option("--cache", type=click.FloatRange(min=0), default=64, help="Megabytes of request states (64).")
@click.option("--max-candidates", type=Whole(1), default=10_000, help="Of a request (10000).")
@click.option("--max-body", type=Whole(1), default=4 << 20, help="Bytes of a request (4194304).")
@click.option(
    "--engine",
    type=click.Choice(("auto", "native", "onnx", "aoti")),
    help="What runs MODEL: its own code, what `specc export` put beside it (MODEL.onnx, MODEL.aoti.pt2), or "
    "the quickest of those that are there (auto).",
)
@click.option(
    "--exported",
    type=click.Path(exists=True, path_type=Path, dir_okay=False),
    help="Run this file, wherever `specc export` wrote it: ONNX, AOTInductor or pt2.",
)
@click.option("--prebuild", is_flag=True, help="Serve nothing: put into MODEL what is made at each start.")
@click.option(
    "--retrieve",
    metavar="INDEX",
    type=click.Path(exists=True, path_type=Path, file_okay=False),
    help="Take the candidates of a request from an index of `specc index`.",
)
@click.option(
    "--rank",
    metavar="MODEL2",
    type=click.Path(exists=True, path_type=Path, file_okay=False),
    help="With --retrieve: the trained model that ranks what was found.",
)
@click.option("--nearest", type=Whole(1), help="With --retrieve: how many are found (200).")
@device_option
@trust_option
def command(
    model_path: Path,
    host: str,
    port: int,
    threads: int | None,
    cache: float,
    max_candidates: int,
    max_body: int,
    engine: str | None,
    exported: Path | None,
    prebuild: bool,
    retrieve: Path | None,
    rank: Path | None,
    nearest: int | None,
    devices: tuple[str, ...],
    untrusted: bool,
) -> None:
    """Serve the trained MODEL.

    POST /score takes a request as a line of `specc score` is, and answers a score for each candidate;
    with ?top=K the best K, with their places and keys. GET /health and /metrics say how it is; POST
    /reload serves MODEL as its folder has it then; /openapi.json says what requests are.

    Without --engine the quickest runs of what is there: MODEL's own code, and what `specc export` put beside
    it. Each is timed at the start, and the choice is told; what was exported of other weights is left out.

    With --retrieve a request has no candidates: the answer has those of INDEX that are nearest to it, with
    --rank the best of them by MODEL2.

    Nobody but this machine is listened to unless --host says so. There is no encryption, and anybody who
    reaches the port may ask and reload: beyond one machine put a proxy in front.

    With --prebuild the libraries of the model's C and the indices of its vocabularies are put into its
    folder, as `specc train` does for the processor that it runs on: a server then starts sooner, and needs
    no C compiler on a processor such as this one.
    """
    if prebuild:
        if retrieve is not None:
            raise click.UsageError(
                "--prebuild is of MODEL alone: leave --retrieve away, and prebuild --rank too"
            )
        _prebuild(model_path)
        return
    try:
        from specc_runtime.serve.run import AddressError, serve
        from specc_runtime.serve.service import Limits
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed: pip install 'arec[serve]'")
    from specc_runtime.record import ArtefactError
    from specc_runtime.retrieval import RetrievalError, Stages
    from specc_runtime.retrieval.stages import NEAREST
    from specc_runtime.score import Scorer

    if retrieve is None and (rank is not None or nearest is not None):
        raise click.UsageError("--rank and --nearest are of --retrieve INDEX")
    if engine is not None and exported is not None:
        raise click.UsageError("--exported names the file, and the file its engine: leave --engine away")
    if (engine or exported) is not None and retrieve is not None and rank is None:
        raise click.UsageError("with --retrieve, --engine and --exported are of --rank MODEL2")
    # Of somebody else's model no code is run that is not asked for, nor machine code that lies beside it.
    by: str | Path = exported or engine or ("native" if untrusted else "auto")
    wanted = devices_from(devices)
    paths = [model_path, *([] if rank is None else [rank])]
    first = [[trained_from(path, wanted, untrusted) for path in paths]]

    def load() -> Scorer | Stages:
        (model, encoders), *others = (
            first.pop() if first else [_again(path, wanted, untrusted) for path in paths]
        )
        if retrieve is None:
            return Scorer.of(model, encoders, model_path, cache=cache, engine=by)
        ranker = None
        if rank is not None:
            ranker = Scorer.of(*others[0], rank, cache=cache, engine=by)
        return Stages.of(model, encoders, retrieve, ranker, nearest or NEAREST)

    try:
        serve(
            load,
            host=host,
            port=port,
            threads=threads or os.cpu_count() or 1,
            limits=Limits(max_candidates, max_body),
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
    except (ArtefactError, RetrievalError, AddressError) as error:
        fail(str(error))
