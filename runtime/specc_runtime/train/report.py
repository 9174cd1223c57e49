"""What a training tells while it goes on, and who keeps it: a file beside the model, TensorBoard.

Promises: a Logger is told of the same steps in the same order, interrupted or not: where training goes on
from a checkpoint, what was told of later steps is told again, and `JsonLines` has it once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from specc_runtime.files import replace_file, unwritable

FILE = "metrics.jsonl"
RUNNING = "metrics.running.jsonl"  # of a training whose model is not saved yet


Tell = Callable[[str, int, Mapping[str, Any]], None]


class Logger(Protocol):
    """Keeps what training tells."""

    def begin(self, step: int, epochs: int) -> None:
        """Training begins after so many steps and whole epochs, 0 and 0 or those of a checkpoint."""

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """kind "train": {"epoch", "loss" (the mean since the last note), "lr", "speed" (examples a second)}.
        kind "valid": {"epoch", "metrics": by prediction and metric, "best": whether it is}."""

    def close(self) -> None:
        """Nothing more comes."""


@contextmanager
def telling(directory: Path, loggers: Sequence[Logger], step: int, epochs: int) -> Iterator[Tell]:
    """What tells the loggers, and a directory's metrics.jsonl, which is in its place at the end."""
    own = JsonLines(directory)
    all_of = [own, *loggers]
    for logger in all_of:
        logger.begin(step, epochs)

    def tell(kind: str, step: int, values: Mapping[str, Any]) -> None:
        for logger in all_of:
            logger.note(kind, step, values)

    try:
        yield tell
        own.publish()
    finally:
        for logger in all_of:
            logger.close()


class JsonLines:
    """A JSON object a line, {"kind", "step", …}, in a directory's metrics.jsonl.

    Until the model is saved they are in metrics.running.jsonl: the other tells of the model beside it.
    """

    def __init__(self, directory: Path) -> None:
        self.path, self.final = directory / RUNNING, directory / FILE

    def begin(self, step: int, epochs: int) -> None:
        before = read_lines(self.path if self.path.is_file() else self.final) if step else []
        kept = [
            told
            for told in before
            if told["step"] <= step and (told["kind"] != "valid" or told.get("epoch", 0) <= epochs)
        ]
        with replace_file(self.path) as fresh:
            fresh.write_text("".join(json.dumps(told) + "\n" for told in kept), encoding="utf-8")

    def publish(self) -> None:
        """The model that the lines tell of is saved."""
        try:
            self.path.replace(self.final)
        except OSError as error:
            raise unwritable(self.final, error) from None

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        except OSError as error:
            raise unwritable(self.path, error) from None

    def close(self) -> None:
        """Every line is written already."""


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


class TensorBoard:
    """Scalars for TensorBoard: train/loss, train/lr, train/speed, valid/PREDICTION/METRIC.

    Raises ImportError where `tensorboard` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.kind, self.folder = SummaryWriter, folder
        self.writer: Any = None

    def begin(self, step: int, epochs: int) -> None:
        # Of what an earlier run told of later steps TensorBoard shows no more.
        self.writer = self.kind(str(self.folder), purge_step=step + 1 if step else None)

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        for name in ("loss", "lr", "speed"):
            if name in values:
                self.writer.add_scalar(f"{kind}/{name}", values[name], step)
        for prediction, metrics in values.get("metrics", {}).items():
            for metric, value in metrics.items():
                self.writer.add_scalar(f"{kind}/{prediction}/{metric}", value, step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
