"""The training loop: any compiled model, any stream of batches.

Promises: the same model, data, recipe and seed give the same weights, interrupted or not. After each epoch
the directory holds a checkpoint; the model of the best epoch (by the metric on validation data; without such
data the last) is the one that is saved. A loss that is not a number stops training and says where it arose.
An interrupt (Ctrl-C) is taken between two steps: the checkpoint is written, and `Interrupted` raised.
Leaves to others: what is shown (watch), and what data and model are.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from specc_runtime.artefact import assign_weights, save
from specc_runtime.artefact import load as load_model
from specc_runtime.batch import Batch
from specc_runtime.data import Place, Stream
from specc_runtime.devices import transfer
from specc_runtime.model import Model
from specc_runtime.train import checkpoint
from specc_runtime.train.checkpoint import State
from specc_runtime.train.evaluate import Results, evaluate
from specc_runtime.train.lazy import clip_gradients
from specc_runtime.train.metrics import higher
from specc_runtime.train.recipe import Recipe


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says why and what to try."""


class Interrupted(Exception):
    """Training was interrupted, and its checkpoint written."""


@dataclass(frozen=True)
class Progress:
    """loss: the mean over the epoch so far. speed: examples a second."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    speed: float


@dataclass(frozen=True)
class Outcome:
    """What the epochs gave, each {"epoch", "loss", "seconds", "best" (so far), and "valid" with validation
    data}; best is the number of the epoch whose weights the model has."""

    epochs: list[dict[str, Any]]
    best: int


def train(
    model: Model,
    stream: Stream,
    recipe: Recipe,
    directory: Path,
    *,
    valid: Stream | None = None,
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Train a model, in place, and save it to a directory.

    Raises TrainingError, Interrupted, or ArtefactError where there is nothing to resume.
    """
    torch.manual_seed(recipe.seed)
    optimizer = recipe.build(model)
    about = _about(recipe, stream)
    if resume:
        state = checkpoint.read(directory, model, optimizer, about)
    else:
        state = State(about=about)
        checkpoint.remove(directory)
    with _interrupts() as interrupted:
        while state.place.epoch < recipe.epochs and not _enough(recipe, state):
            _epoch(model, optimizer, stream, recipe, directory, state, watch, interrupted)
            results = None if valid is None else evaluate(model, valid)
            _close(model, recipe, directory, state, results)
            checkpoint.write(directory, model, optimizer, state)
    best = next((e["epoch"] for e in reversed(state.epochs) if e["best"]), len(state.epochs))
    if best != len(state.epochs):
        assign_weights(model, load_model(directory).state_dict())
    model.eval()
    return Outcome(state.epochs, best)


def _epoch(
    model: Model,
    optimizer: Optimizer,
    stream: Stream,
    recipe: Recipe,
    directory: Path,
    state: State,
    watch: Callable[[Progress], None],
    interrupted: Callable[[], bool],
) -> None:
    """The rest of the epoch that the state is in."""
    model.train()
    epoch, steps = state.place.epoch, stream.steps(state.place.epoch)
    clock = time.monotonic()
    for batch, place in stream.epoch(state.place):
        loss = _step(model, optimizer, batch, recipe, state)
        state.step, state.place = state.step + 1, place
        state.total, state.seen = state.total + loss * batch.size, state.seen + batch.size
        clock, before = time.monotonic(), clock
        state.seconds += clock - before
        speed = state.seen / max(state.seconds, 1e-9)
        done = -(-state.seen // stream.batch)
        watch(Progress(epoch + 1, recipe.epochs, done, steps, state.total / state.seen, speed))
        stop = interrupted()
        if stop or (recipe.every is not None and state.step % recipe.every == 0):
            checkpoint.write(directory, model, optimizer, state)
        if stop:
            raise Interrupted


def _step(model: Model, optimizer: Optimizer, batch: Batch, recipe: Recipe, state: State) -> float:
    optimizer.zero_grad(set_to_none=True)
    losses = model.losses(batch)
    first, *others = losses.values()
    loss = torch.stack([first, *(transfer(x, first.device) for x in others)]).sum()
    value = float(loss.detach())
    if value != value or abs(value) == float("inf"):
        raise TrainingError(_not_a_number(model, losses, recipe, state))
    if loss.requires_grad:
        loss.backward()
        if recipe.clip is not None:
            clip_gradients(model.parameters(), recipe.clip)
        optimizer.step()
    return value


def _close(model: Model, recipe: Recipe, directory: Path, state: State, results: Results | None) -> None:
    """End an epoch: note what it gave, and save the model if it is the best so far."""
    entry: dict[str, Any] = {
        "epoch": state.place.epoch + 1,
        "loss": state.total / max(state.seen, 1),
        "seconds": state.seconds,
        "best": True,
    }
    if results is not None:
        entry["valid"] = {name: found["model"] for name, found in results.items()}
        value = _metric(recipe.metric, results)
        better = state.best is None or (value > state.best if higher(recipe.metric) else value < state.best)
        entry["best"] = better
        state.stale = 0 if better else state.stale + 1
        if better:
            state.best = value
    state.epochs.append(entry)
    state.place = Place(state.place.epoch + 1)
    state.total, state.seen, state.seconds = 0.0, 0, 0.0
    if entry["best"]:
        save(model, directory)


def _metric(name: str, results: Results) -> float:
    """The metric's mean over the predictions that have it."""
    found = [of["model"][name] for of in results.values() if name in of["model"]]
    if not found:
        known = sorted({metric for of in results.values() for metric in of["model"]})
        raise TrainingError(
            f"the validation data give no {name}, only {', '.join(known)}: "
            + ("GAUC needs a `group` in `train { … }`" if name == "gauc" else "choose another `metric`")
            + ", and AUC examples of both labels"
        )
    return sum(found) / len(found)


def _enough(recipe: Recipe, state: State) -> bool:
    return recipe.patience is not None and state.stale >= recipe.patience


def _about(recipe: Recipe, stream: Stream) -> dict[str, Any]:
    """What decides on the course of training: all of it must be the same when it is taken up again."""
    kept = {k: v for k, v in asdict(recipe).items() if k not in ("epochs", "patience", "every")}
    return {**kept, "options": dict(recipe.options), "data": [[str(u.file), u.rows] for u in stream.units]}


def _not_a_number(model: Model, losses: Mapping[str, Tensor], recipe: Recipe, state: State) -> str:
    terms = [f"{name} is {float(value.detach())}" for name, value in losses.items()]
    broken = [
        path
        for path, weight in model.state_dict().items()
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all())
    ]
    lines = [
        f"the loss is not a finite number at step {state.step + 1} (epoch {state.place.epoch + 1}): "
        + ", ".join(terms)
    ]
    if broken:
        lines.append("weights that are not finite any more: " + ", ".join(broken[:5]))
    lr = recipe.options.get("lr")
    lines.append(
        f"try a smaller learning rate than {lr:g} (--lr {lr / 10:g})" if lr else "try a smaller learning rate"
    )
    if recipe.clip is None:
        lines.append("bound the gradient: `clip = 5` in `train { … }`")
    lines.append("see that number fields are scaled: `number(standard)` or `number(log1p)`")
    return "\n  ".join(lines)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed meanwhile; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
