"""What a training tells while it goes on, and a file beside the model that keeps it.

Promises: a Logger is told of the same steps in the same order, interrupted or not: where training goes on
from a checkpoint, what was told of later steps is told again, and `JsonLines` has it once.
Leaves to others: TensorBoard, MLflow and Weights & Biases (loggers).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from specc_runtime.files import replace_file, unwritable

FILE = "metrics.jsonl"
RUNNING = "metrics.running.jsonl"  # of a training whose model is not saved yet


Tell = Callable[[str, int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Run:
    """A training that begins, or goes on from a checkpoint.

    name: the model's. directory: where the model will be. spec: its text, as it was compiled. settings: what
    decides the course of the training, by name: the recipe, the spec's params ("params.dim"), the hashes of
    the data, versions.
    step, epochs: how many there were before, those of the checkpoint. told: by kind of note, the last step
    that an earlier process told, which may be after the checkpoint.
    """

    name: str
    directory: Path
    spec: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    step: int = 0
    epochs: int = 0
    told: Mapping[str, int] = field(default_factory=dict)


class Logger(Protocol):
    """Keeps what training tells. What it raises ends the training."""

    def begin(self, run: Run) -> None:
        """Training begins, or goes on."""

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Something is known after a step, by kind:

        "train": {"epoch", "loss" (the mean since the last note), "lr", "speed" (examples a second)}.
        "valid": {"epoch", "metrics": by prediction and metric, "best": whether it is}.
        "saved", once the model is in its directory: {"epoch": the best one, "metrics": its "valid" ones, or
        none, "folder": the directory, "hash": the sha256 of its artefact.json, which has those of all files}.
        "test", after that and only with test data: {"epoch": as "saved", "metrics"}.
        """

    def close(self) -> None:
        """Nothing more comes. Where "saved" did not come, training was interrupted, or failed."""


def begun(run: Run) -> Run:
    """The run with what an earlier process told of it, if it goes on."""
    told: dict[str, int] = {}
    for line in _before(run.directory) if run.step else []:
        told[line["kind"]] = max(told.get(line["kind"], 0), line["step"])
    return replace(run, told=told)


@contextmanager
def telling(run: Run, loggers: Sequence[Logger]) -> Iterator[Tell]:
    """What tells the loggers, and the directory's metrics.jsonl."""
    run = begun(run)
    all_of = [JsonLines(run.directory), *loggers]

    def tell(kind: str, step: int, values: Mapping[str, Any]) -> None:
        for logger in all_of:
            logger.note(kind, step, values)

    with ExitStack() as closing:
        for logger in all_of:
            closing.callback(logger.close)
            logger.begin(run)
        yield tell


class JsonLines:
    """A JSON object a line, {"kind", "step", …}, in a directory's metrics.jsonl: notes of kind "train" and
    "valid".

    Until the model is saved they are in metrics.running.jsonl: the other tells of the model beside it.
    """

    def __init__(self, directory: Path) -> None:
        self.path, self.final = directory / RUNNING, directory / FILE

    def begin(self, run: Run) -> None:
        kept = [
            told
            for told in (_before(run.directory) if run.step else [])
            if told["step"] <= run.step and (told["kind"] != "valid" or told.get("epoch", 0) <= run.epochs)
        ]
        with replace_file(self.path) as fresh:
            fresh.write_text("".join(json.dumps(told) + "\n" for told in kept), encoding="utf-8")

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        try:
            if kind == "saved":
                self.path.replace(self.final)
            elif kind in ("train", "valid"):
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        except OSError as error:
            raise unwritable(self.final if kind == "saved" else self.path, error) from None

    def close(self) -> None:
        """Every line is written already."""


def _before(directory: Path) -> list[dict[str, Any]]:
    """What an earlier training of a directory told."""
    running = directory / RUNNING
    return read_lines(running if running.is_file() else directory / FILE)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What `JsonLines` has kept; none where there is no such file. Lines that are cut off are left out."""
    found = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict) and {"kind", "step"} <= told.keys():
                found.append(told)
    return found
