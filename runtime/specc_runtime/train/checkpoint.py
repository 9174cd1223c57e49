"""Where training stands, on disk: weights, optimizer state, random state, and the place in the data.

Promises: training that goes on from a checkpoint is the training that was not interrupted, step for step.
A checkpoint is replaced as a whole, so that a crash while one is written leaves the one before. Nothing is
unpickled (`weights_only`).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from specc_runtime.artefact import ArtefactError, assign_weights
from specc_runtime.data import Place
from specc_runtime.model import Model

FOLDER, FORMAT = "checkpoint", 1


@dataclass
class State:
    """place: what of the data comes next. step: optimizer steps so far. total, seen: the sum of the losses
    of the epoch's examples, and their number; seconds: how long they took. epochs: what the epochs before
    gave.
    best: the best value of the metric, and stale: epochs since then. about: the recipe and data, which a
    training that goes on must share."""

    place: Place = field(default_factory=Place)
    step: int = 0
    total: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    stale: int = 0
    about: dict[str, Any] = field(default_factory=dict)


def write(directory: Path, model: Model, optimizer: Optimizer, state: State) -> None:
    """Write the checkpoint of a model's directory."""
    fresh = directory / f"{FOLDER}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    weights = {path: value.detach().cpu().contiguous() for path, value in model.state_dict().items()}
    save_file(weights, fresh / "weights.safetensors")
    # Dropout on an accelerator draws from its own generator.
    random = {"cpu": torch.get_rng_state()}
    if torch.accelerator.is_available() and torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    torch.save({"optimizer": optimizer.state_dict(), "random": random}, fresh / "optimizer.pt")
    (fresh / "state.json").write_text(
        json.dumps({"format": FORMAT, **asdict(state)}, indent=2) + "\n", encoding="utf-8"
    )
    old = directory / FOLDER
    if old.exists():
        gone = directory / f"{FOLDER}.old"
        shutil.rmtree(gone, ignore_errors=True)
        old.rename(gone)
        fresh.rename(old)
        shutil.rmtree(gone)
    else:
        fresh.rename(old)


def exists(directory: Path) -> bool:
    return (directory / FOLDER / "state.json").is_file()


def read(directory: Path, model: Model, optimizer: Optimizer, about: dict[str, Any]) -> State:
    """Give model, optimizer and random numbers what they had.

    Raises ArtefactError if there is no checkpoint, it cannot be read, or the recipe or data are others.
    """
    folder = directory / FOLDER
    if not exists(directory):
        raise ArtefactError(f"{directory} has no checkpoint to go on from; train without --resume")
    try:
        raw = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if raw.pop("format") != FORMAT:
            raise ArtefactError(f"{folder} is not of format {FORMAT}; train without --resume")
        state = State(**{**raw, "place": Place(**raw["place"])})
        changed = [key for key in about if state.about.get(key) != about[key]]
        if changed:
            raise ArtefactError(
                "\n".join(
                    f"the checkpoint was trained with {key} {state.about.get(key)!r}, not {about[key]!r}"
                    for key in changed
                )
                + "\ngive the same, or train without --resume"
            )
        kept = torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu")
        assign_weights(model, load_file(folder / "weights.safetensors"))
        optimizer.load_state_dict(kept["optimizer"])
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        SafetensorError,
        UnpicklingError,
    ) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{folder} cannot be read: {error}; train without --resume") from None
    torch.set_rng_state(kept["random"]["cpu"])
    if "cuda" in kept["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(kept["random"]["cuda"])
    return state


def remove(directory: Path) -> None:
    shutil.rmtree(directory / FOLDER, ignore_errors=True)
