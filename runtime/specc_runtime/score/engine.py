"""What runs a model's requests: its own code, or what `specc export` wrote of it, whichever is the quickest.

Promises: an engine that is not native gives what the model gives; a file that was exported of another model,
or before this one was trained anew, is never run. `auto` takes what lies beside the model's folder, and says
of what it leaves out why.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from specc_runtime.batch import Batch
from specc_runtime.encode import Encoders
from specc_runtime.engines import NATIVE, SUFFIXES, Exported, beside, exported_by, load_exported
from specc_runtime.model import Model
from specc_runtime.record import ArtefactError
from specc_runtime.score.requests import has_candidates, meant
from specc_runtime.score.sample import sample

AUTO = "auto"
ENGINES = (AUTO, NATIVE, "onnx", "aoti")
Run = Callable[[Batch], Mapping[str, Tensor]]
"""From the batch of a request to what `forward` gives."""
CANDIDATES, LENGTH = 200, 50  # of the request that engines are timed on, as far as the model's bounds allow
_ROUNDS, _SECONDS = 15, 0.5  # that each is timed; fewer rounds where these take longer
_APART = 2e-5  # of scores up to 1, and a share of larger ones: twice what an export is held to


@dataclass(frozen=True, eq=False)
class Engine:
    """name: "native", or the format of an exported file. run: None for the model itself.
    milliseconds: by name, what one request took of those that were compared. left_out: by name, why one
    was not."""

    name: str = NATIVE
    run: Run | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """What there is to say of the choice, in a line."""
        times = ", ".join(f"{name} {ms:.2g} ms" for name, ms in self.milliseconds.items())
        parts = [self.name + (f" ({times} for {CANDIDATES} candidates)" if times else "")]
        return "; ".join([*parts, *(f"not {name}: {why}" for name, why in self.left_out.items())])


def engine_of(model: Model, encoders: Encoders, directory: str | Path, wanted: str | Path = NATIVE) -> Engine:
    """What runs the model of a directory.

    wanted: "native"; "onnx" or "aoti", for what lies beside the directory; "auto", for the quickest of all of
        these that are there; or the path of an exported file.
    Raises ArtefactError where what is wanted is not there, cannot be loaded, or is not of the model.
    """
    if isinstance(wanted, Path) or wanted not in ENGINES:
        return _loaded(model, encoders, Path(wanted))
    if wanted == AUTO:
        return _quickest(model, encoders, Path(directory))
    path = exported_by(directory, wanted)
    return Engine() if path is None else _loaded(model, encoders, path)


def _loaded(model: Model, encoders: Encoders, path: Path) -> Engine:
    """An exported file of the model. Raises ArtefactError."""
    found = load_exported(path, threads=1)
    check(model, encoders, found)
    return Engine(found.format, found)


def _quickest(model: Model, encoders: Encoders, directory: Path) -> Engine:
    if any(weight.device.type != "cpu" for weight in model.parameters()):
        return Engine()
    there, left_out = {NATIVE: Engine()}, dict[str, str]()
    for name in SUFFIXES:
        path = beside(directory, name)
        if name not in ENGINES or not path.is_file():
            continue
        try:
            _require_same_owner(path, directory)
            there[name] = _loaded(model, encoders, path)
        except (ArtefactError, RuntimeError, OSError) as error:
            left_out[name] = str(error)
    if len(there) == 1:
        return Engine(left_out=left_out)
    model.score_in_c()
    taken = timed(model, encoders, {name: engine.run or model for name, engine in there.items()})
    best = min(taken, key=lambda name: taken[name])
    return replace(there[best], milliseconds=taken, left_out=left_out)


def _require_same_owner(path: Path, directory: Path) -> None:
    """Raises ArtefactError for a file beside a directory that somebody else put there: it is run."""
    if path.stat().st_uid != directory.stat().st_uid:
        raise ArtefactError(f"{path} is not of the user that {directory} is of; --exported {path} runs it")


def timed(model: Model, encoders: Encoders, runs: Mapping[str, Run]) -> dict[str, float]:
    """The milliseconds that each takes for a request, the median of rounds in which each has its turn."""
    batch = _request(model, encoders, CANDIDATES, LENGTH)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    begin = time.perf_counter()
    with torch.inference_mode():
        for run in [*runs.values()] * 2:
            run(replace(batch))
        for number in range(_ROUNDS):
            if number >= 3 and time.perf_counter() - begin > _SECONDS * len(runs):
                break
            for name, run in runs.items():
                start = time.perf_counter()
                run(replace(batch))  # of whose layout nothing is known yet
                seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(taken) for name, taken in seconds.items()}


def check(model: Model, encoders: Encoders, exported: Exported) -> None:
    """Raises ArtefactError unless an exported file gives the scores that the model gives."""
    again = "it was exported of another one, or before it was trained anew; export the model again"
    if None not in (exported.version, model.saved_as) and exported.version != model.saved_as:
        raise ArtefactError(f"{exported.path} has other weights than the model of the folder: {again}")
    batch = _request(model, encoders, 3, 3)
    with torch.inference_mode():
        outputs, given = model(batch), exported(batch)
    if absent := [name for name in outputs if name not in given]:
        raise ArtefactError(f"{exported.path} has no `{absent[0]}`, as the model of the folder has: {again}")
    found = meant(model, given)
    for name, values in meant(model, outputs).items():
        same = values.shape == found[name].shape
        if not same or not np.allclose(found[name], values, rtol=_APART, atol=_APART, equal_nan=True):
            raise ArtefactError(
                f"{exported.path} gives another `{name}` than the model of the folder: {again}"
            )


def _request(model: Model, encoders: Encoders, candidates: int, length: int) -> Batch:
    own = candidates if has_candidates(model.manifest) else None
    return sample(encoders.schema, model.manifest, own, length)
