"""Where training stands, on disk: weights, optimizer state, random state, and the place in the data.

Promises: training that goes on from a checkpoint is the training that was not interrupted, step for step.
A checkpoint is a folder that is replaced as a whole, and complete in itself: it has the encoders, baselines
and texts that the training began with, and the weights of its best epoch. A kill at any instruction leaves
the one before or the one after. Nothing is pickled. What goes on under other conditions is refused, and what
is different is said.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from specc_runtime import ranks, stale
from specc_runtime.artefact import assign_weights, write_model, write_tensors
from specc_runtime.data import Place
from specc_runtime.files import clean, replace_folder
from specc_runtime.model import Model
from specc_runtime.record import RECORD, SPEC, WEIGHTS, ArtefactError, held, link, seal
from specc_runtime.train.content import changes
from specc_runtime.train.sharded import Sharded
from specc_runtime.train.tree import pack, unpack

FOLDER, FORMAT = "checkpoint", 2
STATE, OPTIMIZER, BEST = "state.json", "optimizer.safetensors", "best.safetensors"
TABLES, BEST_TABLES = "tables", "best-tables"
_OWN = (STATE, OPTIMIZER, BEST, WEIGHTS, RECORD)


@dataclass
class State:
    """Where a training stands.

    place: which example comes next. step: optimizer steps so far. total, seen: sum of the losses and
    number of the examples of this epoch so far; told_total, told_seen: the same as of the last note to
    loggers. seconds: time spent in this epoch. epochs: the results of the epochs before. best: the best
    value of the metric so far; stale: epochs since then; best_step: the step after which the weights were
    those of the best epoch. about: the recipe, and "data" and "valid" by content, which a training that
    goes on must share.
    """

    place: Place = field(default_factory=Place)
    step: int = 0
    total: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    told_total: float = 0.0
    told_seen: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    stale: int = 0
    best_step: int | None = None
    about: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one training, each in place of the one before it.

    directory: the model's. beside: each writes files into the folder that it is given, which stay the same
    throughout the training. tables: what holds those that the model does not; its files are in folders of the
    checkpoint, which every process sees.
    """

    def __init__(
        self,
        directory: Path,
        beside: Iterable[Callable[[Path], None]] = (),
        tables: Sharded | None = None,
    ) -> None:
        self.folder, self.beside, self.tables = directory / FOLDER, list(beside), tables
        self._hashes: Mapping[str, str] | None = (
            None  # of the one that stands there, if it is of this training
        )
        self._step = 0  # and its step

    def write(self, model: Model, optimizer: Optimizer, state: State) -> None:
        """Replace the checkpoint by one of now; of several processes the first does. Raises FileError."""
        joined = ranks.now()
        others = [] if joined is None else _random_of(joined)[1:]
        if joined is not None and not joined.first:
            if self.tables is not None:
                self.tables.save(Path(joined.say()))
            self._step = state.step
            return
        # Rows are written with the steps that they skipped: carried out here, they would be rounded twice.
        with stale.as_it_is(), replace_folder(self.folder, lambda name: True) as fresh:
            known: dict[str, str] = {}
            if self._hashes is None:
                write_model(model, fresh, model.state_dict())
                for write in self.beside:
                    write(fresh)
            else:
                known = {name: value for name, value in self._hashes.items() if not _is_own(name)}
                for name in known:
                    link(self.folder / name, fresh / name)
                write_tensors(model.state_dict(), fresh / WEIGHTS)
            if state.best_step not in (None, state.step):
                best = WEIGHTS if state.best_step == self._step else BEST
                link(self.folder / best, fresh / BEST)
                was = TABLES if state.best_step == self._step else BEST_TABLES
                for name, value in (self._hashes or {}).items():
                    if name.startswith(f"{was}/"):
                        linked = f"{BEST_TABLES}/{name.rpartition('/')[2]}"
                        link(self.folder / name, fresh / linked)
                        known[linked] = value
            if self.tables is not None:
                folder = fresh / TABLES
                if joined is not None:
                    joined.say(str(folder.absolute()))
                known |= {f"{TABLES}/{name}": value for name, value in self.tables.save(folder).items()}
            # Dropout on an accelerator draws from its own generator.
            cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
            random = {"cpu": torch.get_rng_state(), "cuda": cuda, "others": others}
            text, tensors = pack({"optimizer": optimizer.state_dict(), "random": random})
            write_tensors(tensors, fresh / OPTIMIZER, tree=text)
            (fresh / STATE).write_text(
                json.dumps({"format": FORMAT, **asdict(state)}, indent=2) + "\n", encoding="utf-8"
            )
            record = seal(fresh, trained=True, known=known)
        self._hashes, self._step = record.files, state.step

    def read(self, model: Model, optimizer: Optimizer, about: Mapping[str, Any]) -> State:
        """Give model, optimizer and random numbers what they had.

        Raises ArtefactError if there is no checkpoint, it cannot be read, or spec, recipe or data are others.
        """
        folder = opened(self.folder.parent)
        files = held(folder)
        try:
            raw = json.loads(files.text(STATE))
            raw.pop("format")
            state = State(**{**raw, "place": Place(**raw["place"])})
            different = _different(files.text(SPEC) if files.has(SPEC) else "", model, state.about, about)
            if different:
                raise ArtefactError(
                    "\n".join(different) + "\ngive the same, or train without --resume, which begins anew"
                )
            kept = unpack(*_with_text(files.path(OPTIMIZER)))
            assign_weights(model, load_file(files.path(WEIGHTS)))
            optimizer.load_state_dict(kept["optimizer"])
            if self.tables is not None:
                self.tables.load(folder / TABLES, state.step)
            _draw_on(kept["random"], state.step)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            if isinstance(error, ArtefactError):
                raise
            raise ArtefactError(f"{folder} cannot be read: {error}; train without --resume") from None
        self._hashes, self._step = files.record.files if files.record else {}, state.step
        return state

    def best(self, state: State) -> dict[str, Tensor]:
        """The weights of the best epoch, once it is over and a checkpoint was written."""
        files = held(self.folder)
        return load_file(files.path(WEIGHTS if state.best_step == self._step else BEST))

    def best_tables(self, state: State, tables: Sharded) -> None:
        """Give the tables the rows of the best epoch."""
        tables.load(self.folder / (TABLES if state.best_step == self._step else BEST_TABLES), state.step)


def _is_own(name: str) -> bool:
    """Whether a file is of one checkpoint alone, and not the same throughout the training."""
    return name in _OWN or name.startswith((f"{TABLES}/", f"{BEST_TABLES}/"))


def _random_of(joined: ranks.Ranks) -> list[dict[str, Tensor]]:
    """By process, the state of its random numbers."""
    kinds = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        kinds["cuda"] = torch.cuda.get_rng_state()
    parts = {name: joined.each(state) for name, state in kinds.items()}
    return [{name: found[number] for name, found in parts.items()} for number in range(joined.count)]


def _draw_on(random: Mapping[str, Any], step: int) -> None:
    """Go on with the random numbers of a checkpoint; a process that was not there begins with its own."""
    joined = ranks.now()
    if joined is None or joined.first:
        torch.set_rng_state(random["cpu"])
        if random["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(random["cuda"])
    elif joined.number <= len(others := random.get("others", [])):
        own = others[joined.number - 1]
        torch.set_rng_state(own["cpu"])
        if "cuda" in own and torch.cuda.is_available():
            torch.cuda.set_rng_state(own["cuda"])
    else:
        torch.manual_seed((torch.initial_seed() + step * 0x85EBCA77) % 2**63)


def divided_in(directory: Path) -> list[str]:
    """The paths of the tables that the checkpoint of a directory has apart from the model; none where there
    is no checkpoint that can be read, which `opened` tells."""
    try:
        state = json.loads(held(directory / FOLDER).text(STATE))
        return [str(path) for path in state["about"]["divided"]["tables"]]
    except (ValueError, KeyError, TypeError):
        return []


def opened(directory: Path) -> Path:
    """The folder of a directory's checkpoint, all of whose files are whole. Raises ArtefactError."""
    folder = directory / FOLDER
    clean(folder)
    if not (folder / STATE).is_file() and not (folder / RECORD).is_file():
        raise ArtefactError(f"{directory} has no checkpoint to go on from; train without --resume")
    files = held(folder)
    if files.record is None:
        raise ArtefactError(
            f"{folder} was written by an earlier version of arec, and cannot be gone on from; "
            "train without --resume"
        )
    files.check()
    return folder


def _with_text(path: Path) -> tuple[str, dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()["tree"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _different(spec: str, model: Model, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a training would go on with that is not what it began with, in words."""
    found = []
    given = model.files.get(SPEC, "")
    if spec != given:
        lines = difflib.unified_diff(spec.splitlines(), given.splitlines(), "then", "now", "", "", 0, "")
        shown = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        more = [f"  … and {len(shown) - 8} lines more"] if len(shown) > 8 else []
        found += ["the checkpoint was trained with another spec:", *(f"  {x}" for x in shown[:8]), *more]
    divided, asked = ((settings.get("divided") or {}).get("tables", []) for settings in (before, now))
    if divided != asked:
        tables = ", ".join(path.removesuffix(".weight") for path in divided) or "no table"
        found.append(
            f"the checkpoint was trained with {tables} divided between processes: leave out --tables"
        )
    for key in now:
        if key in ("data", "valid"):
            what = "training" if key == "data" else "validation"
            found += changes(before.get(key) or [], now[key] or [], what)
        elif key == "divided" and divided != asked:
            continue
        elif isinstance(old := before.get(key), dict) and isinstance(now[key], dict):
            names = [n for n in {**old, **now[key]} if old.get(n) != now[key].get(n)]
            found += [_other(f"{key} {n} =", old.get(n), now[key].get(n)) for n in names]
        elif old != now[key]:
            found.append(_other(key, old, now[key]))
    return found


def _other(name: str, then: Any, now: Any) -> str:
    return f"the checkpoint was trained with {name} {then!r}, not {now!r}"
