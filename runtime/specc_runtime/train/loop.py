"""The training loop: any compiled model, any stream of batches.

Promises: the same model, data, recipe and seed give the same weights, interrupted or not. After each epoch
the directory holds a checkpoint. The model of the best epoch (by the metric on validation data; without such
data the last) is the one that is saved, at the end and with all that belongs to it: what the directory held
before stays until then. A loss or gradient that is not finite stops training before it reaches the
weights, and is traced to where it arose.
An interrupt (Ctrl-C, or SIGTERM) is taken between two steps: the checkpoint is written, and `Interrupted`
raised.
Where several processes have joined (ranks), each learns from its part of every batch, and the weights are
those that one process would have, up to rounding; what a model draws for its examples (dropout) each draws
for its own. The first process writes and tells.
Leaves to others: what is shown (watch), and what data and model are.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from specc_runtime import ranks
from specc_runtime.artefact import assign_weights, save
from specc_runtime.batch import Batch
from specc_runtime.data import Place, Stream
from specc_runtime.devices import transfer
from specc_runtime.feed import feed, read_by
from specc_runtime.fetched import is_fetched
from specc_runtime.finite import broken_weights, largest_gradient, where_loss
from specc_runtime.model import Model
from specc_runtime.ranks import RankLost
from specc_runtime.record import RECORD, SPEC, digest
from specc_runtime.train.checkpoint import Checkpoints, State
from specc_runtime.train.choice import TrainingError, chosen, first_of, is_better
from specc_runtime.train.content import identity
from specc_runtime.train.evaluate import Evaluation, Results, evaluate
from specc_runtime.train.joined import add_up
from specc_runtime.train.lazy import clip_gradients, take_gradients
from specc_runtime.train.precision import computing
from specc_runtime.train.recipe import Recipe
from specc_runtime.train.report import Logger, Run, Tell, telling
from specc_runtime.train.schedule import Moment
from specc_runtime.train.sharded import Sharded
from specc_runtime.trained import write_training
from specc_runtime.version import __version__

LINES = 100  # in metrics.jsonl, about so many an epoch
_APART = 0x9E3779B1  # between the seeds of processes


class Interrupted(Exception):
    """Training was interrupted by a signal, and its checkpoint written."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class Progress:
    """How far a training is. loss: the mean over the epoch so far. speed: examples a second."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    speed: float


@dataclass(frozen=True)
class Outcome:
    """The results of a training.

    epochs: of each {"epoch", "loss", "seconds", "best" (so far), and with validation data "valid" and
    "value", the metric's}. best: the number of the epoch whose weights the model has. before: how many of
    the epochs an earlier run had done, which this one resumed. seconds: how
    long this run took until the model was saved. test: of the saved model on test data, if there are any.
    """

    epochs: list[dict[str, Any]]
    best: int
    before: int = 0
    seconds: float = 0.0
    test: Evaluation | None = None


def train(
    model: Model,
    stream: Stream,
    recipe: Recipe,
    directory: Path,
    *,
    valid: Stream | None = None,
    beside: Sequence[Callable[[Path], None]] = (),
    last: Sequence[Callable[[Path], None]] = (),
    test: Callable[[], Evaluation] | None = None,
    about: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    tables: Sharded | None = None,
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    loggers: Sequence[Logger] = (),
) -> Outcome:
    """Train a model, in place, and save it to a directory. loggers: are told how it goes, beside
    metrics.jsonl in the directory.

    tables: what holds those that the model does not, which is its `source`.
    beside: as in `save`. last: likewise, for the trained model and not for its checkpoints. test: evaluates
    the model once it is saved. about: what must be the same where it is resumed, besides the recipe. facts:
    what else the model's training.json says of its data.
    Raises TrainingError, Interrupted, FileError, or ArtefactError where there is nothing to resume.
    """
    begun = time.monotonic()
    joined = ranks.now()
    first = joined is None or joined.first
    # Each process draws for its own part of a batch.
    torch.manual_seed(recipe.seed if joined is None else recipe.seed + joined.number * _APART)
    if joined is not None:
        joined.share(model.state_dict().values())
    optimizer = recipe.build(model)
    about = _about(recipe, about or {})
    checkpoints = Checkpoints(directory, beside, tables)
    state = checkpoints.read(model, optimizer, about) if resume else State(about=about)
    if tables is not None and not resume:
        tables.begin()
    before = len(state.epochs)
    if joined is None:
        take_gradients(optimizer)
    run = _run(model, recipe, directory, about, state)
    told = telling(run, loggers) if first else nullcontext(lambda *_: None)
    watch = watch if first else lambda progress: None
    tested = None
    with told as tell:
        with _interrupts() as interrupted:
            while state.place.epoch < recipe.epochs and not _enough(recipe, state):
                _epoch(model, optimizer, stream, recipe, checkpoints, state, watch, tell, interrupted)
                model.eval()
                results = None
                if valid is not None:
                    with ranks.together():
                        results = evaluate(model, valid, at=first_of(recipe.metric)).results
                _close(recipe, state, results, tell)
                checkpoints.write(model, optimizer, state)
                number = interrupted() or 0
                _stop(number if joined is None else max(n for (n,) in joined.numbers(number)))
            best = next((e["epoch"] for e in reversed(state.epochs) if e["best"]), len(state.epochs))
            if state.best_step not in (None, state.step):
                if first:
                    assign_weights(model, checkpoints.best(state))
                if tables is not None:
                    checkpoints.best_tables(state, tables)
            if first:
                known = partial(write_training, {**about, **(facts or {})}, state.epochs, best)
                with nullcontext() if tables is None else tables.leading():
                    save(model, directory, (*beside, *last, known))
            elif tables is not None:
                tables.follow()
        model.eval()
        seconds = time.monotonic() - begun
        if first:
            own = state.epochs[best - 1].get("valid", {}) if best else {}
            place = {"folder": str(directory), "hash": digest(directory / RECORD)}
            tell("saved", state.step, {"epoch": best, "metrics": own, **place})
        if test is not None and first:
            with nullcontext() if tables is None else tables.leading():
                tested = test()
            metrics = {name: of["model"] for name, of in tested.results.items()}
            tell("test", state.step, {"epoch": best, "metrics": metrics})
        elif test is not None and tables is not None:
            tables.follow()
    return Outcome(state.epochs, best, before, seconds, tested)


def _run(model: Model, recipe: Recipe, directory: Path, about: Mapping[str, Any], state: State) -> Run:
    """What loggers are told of a training before it begins or goes on."""
    settings = {k: v for k, v in asdict(recipe).items() if k != "options" and v is not None}
    settings |= {**recipe.options, **{f"params.{k}": v for k, v in model.manifest["params"].items()}}
    settings |= {part: identity(about[part]) for part in ("data", "valid") if about.get(part)}
    settings |= {"arec": __version__, "torch": str(torch.__version__)}
    name, spec = model.manifest["name"], model.files.get(SPEC, "")
    return Run(name, directory, spec, settings, state.step, len(state.epochs))


def _epoch(
    model: Model,
    optimizer: Optimizer,
    stream: Stream,
    recipe: Recipe,
    checkpoints: Checkpoints,
    state: State,
    watch: Callable[[Progress], None],
    tell: Tell,
    interrupted: Callable[[], int | None],
) -> None:
    """The rest of the epoch that the state is in."""
    model.train()
    epoch, steps = state.place.epoch, stream.steps(state.place.epoch)
    clock = time.monotonic()
    for batch, place in feed(stream.epoch(state.place), model):
        moment = _moment(state, stream, steps, recipe)
        recipe.at(optimizer, moment)
        if model.source is not None:
            recipe.at(model.source, moment)
        with model.fetched(batch):
            loss, size, number = _step(model, optimizer, batch, recipe, state, interrupted)
        state.step, state.place = state.step + 1, place
        state.total, state.seen = state.total + loss * size, state.seen + size
        clock, before = time.monotonic(), clock
        state.seconds += clock - before
        speed = state.seen / max(state.seconds, 1e-9)
        done = -(-state.seen // stream.batch)
        watch(Progress(epoch + 1, recipe.epochs, done, steps, state.total / state.seen, speed))
        if done % max(steps // LINES, 1) == 0 or done == steps:
            since = state.total - state.told_total, state.seen - state.told_seen
            state.told_total, state.told_seen = state.total, state.seen
            lr = optimizer.param_groups[0]["lr"]
            told = {"epoch": epoch + 1, "loss": since[0] / since[1], "lr": lr, "speed": speed}
            tell("train", state.step, told)
        if ranks.now() is None:
            number = interrupted() or 0
        if number or (recipe.every is not None and state.step % recipe.every == 0):
            checkpoints.write(model, optimizer, state)
        _stop(number)


def _stop(number: int) -> None:
    if number:
        raise Interrupted(number)


def _moment(state: State, stream: Stream, steps: int, recipe: Recipe) -> Moment:
    done = -(-state.seen // stream.batch)
    return Moment(state.step, state.place.epoch + done / max(steps, 1), steps, recipe.epochs)


def _step(
    model: Model,
    optimizer: Optimizer,
    batch: Batch,
    recipe: Recipe,
    state: State,
    interrupted: Callable[[], int | None],
) -> tuple[float, int, int]:
    """Take a step with a batch whose rows are there. Returns the loss, of how many examples it is, and the
    number of the signal that came to one of several processes, 0 if none: all three of the whole batch, where
    others have parts of it."""
    optimizer.zero_grad(set_to_none=True)
    with ranks.together(), computing(model, recipe.precision):
        losses = model.losses(read_by(model, batch))
        first, *others = _shared(losses).values()
        loss = torch.stack([first, *(transfer(x, first.device) for x in others)]).sum()
        if loss.requires_grad:
            loss.backward()
    joined, size, number = ranks.now(), batch.size, 0
    whole = loss.detach()
    if joined is not None:
        said = add_up((w for w in model.parameters() if not is_fetched(w)), joined, size, interrupted() or 0)
        size, number = sum(n for n, _ in said), max(n for _, n in said)
        whole = joined.reduced(whole)
    largest = largest_gradient(model)
    if joined is not None and model.source is not None:  # gradients of fetched rows are of this process alone
        largest = joined.reduced(whole.new_zeros(()) if largest is None else largest.to(whole))
    value, largest_value = _read(whole, largest)
    if not math.isfinite(value):
        terms = ", ".join(f"{name} is {float(term.detach())}" for name, term in losses.items())
        raise _not_finite(f"the loss ({terms})", model, batch, recipe, state)
    if not math.isfinite(largest_value):
        raise _not_finite("the gradient", model, batch, recipe, state)
    if loss.requires_grad:
        if recipe.clip is not None:
            clip_gradients(model.parameters(), recipe.clip)
        optimizer.step()
    if model.source is not None:
        model.source.learn()
    return value, size, number


def _shared(losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Losses of a part of a batch, of which the sum over the parts is the whole one's. Penalties are of
    weights, which every process has, and are shared out."""
    joined = ranks.now()
    if joined is None or "l2" not in losses:
        return losses
    return {**losses, "l2": losses["l2"] / joined.count}


def _read(loss: Tensor, largest: Tensor | None) -> tuple[float, float]:
    """Return two numbers, 0 for None, copied together: the only transfer from the device in a step."""
    if largest is None:
        return float(loss), 0.0
    value, gradient = torch.stack([loss, transfer(largest, loss.device)]).tolist()
    return value, gradient


def _close(recipe: Recipe, state: State, results: Results | None, tell: Tell) -> None:
    """End an epoch: note what it gave, and whether it is the best so far."""
    entry: dict[str, Any] = {
        "epoch": state.place.epoch + 1,
        "loss": state.total / max(state.seen, 1),
        "seconds": state.seconds,
        "best": True,
    }
    if results is not None:
        entry["valid"] = {name: found["model"] for name, found in results.items()}
        value = entry["value"] = chosen(recipe.metric, results)
        better = is_better(recipe.metric, value, state.best)
        entry["best"] = better
        state.stale = 0 if better else state.stale + 1
        if better:
            state.best = value
        tell("valid", state.step, {"epoch": entry["epoch"], "metrics": entry["valid"], "best": better})
    state.epochs.append(entry)
    state.place = Place(state.place.epoch + 1)
    state.total, state.seen, state.seconds = 0.0, 0, 0.0
    state.told_total, state.told_seen = 0.0, 0
    if entry["best"]:
        state.best_step = state.step


def _enough(recipe: Recipe, state: State) -> bool:
    return recipe.patience is not None and state.stale >= recipe.patience


def _about(recipe: Recipe, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the course of a training, and must be the same when it is resumed."""
    kept = {k: v for k, v in asdict(recipe).items() if k not in ("patience", "every")}
    if not recipe.over_all:
        del kept["epochs"]
    found: dict[str, Any] = json.loads(json.dumps({**kept, "options": dict(recipe.options), **about}))
    return found


def _not_finite(what: str, model: Model, batch: Batch, recipe: Recipe, state: State) -> RuntimeError:
    """What to raise: of several processes one tells it, whose part of the batch it arose in."""
    lines = [f"{what} is not a finite number at step {state.step + 1} (epoch {state.place.epoch + 1})"]
    found = where_loss(model, read_by(model, batch))
    joined = ranks.now()
    if joined is not None:
        met = [bool(lines) for (lines,) in joined.numbers(len(found))]
        if joined.number != (met.index(True) if any(met) else 0):
            return RankLost("another process tells why")
    lines += found
    if broken_weights(model):
        lines.append("they were moved by the step before, whose gradient was finite")
    lr = recipe.options.get("lr")
    lines.append(
        f"try a smaller learning rate than {lr:g} (--lr {lr / 10:g})" if lr else "try a smaller learning rate"
    )
    if recipe.clip is None:
        lines.append("bound the gradient: `clip = 5` in `train { … }`")
    lines.append("see that number fields are scaled: `number(standard)` or `number(log1p)`")
    return TrainingError("\n  ".join(lines))


@contextmanager
def _interrupts() -> Iterator[Callable[[], int | None]]:
    """Catch the first SIGINT or SIGTERM, and hold it for the loop to see; a second Ctrl-C ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    wanted = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in wanted}
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
