"""Which tables of a model are divided between the processes that train it, and what then is not possible.

Promises: several processes divide the tables that the spec places on `sharded`, and any number of them
divides all where that is asked for, except those that are frozen or read as a whole, which stay in every
process: that is told. What the division rules out is said, all of it, before anything is read. It needs no
torchrec.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from specc_runtime import ranks
from specc_runtime.layers import Table
from specc_runtime.model import Model
from specc_runtime.starting import Start
from specc_runtime.train.choice import TrainingError
from specc_runtime.train.recipe import Recipe

Tables = Literal["replicated", "sharded"] | None
OPTIMIZERS = ("adagrad", "adam", "sgd")
_KNOWN = ("lr", "eps", "initial_accumulator_value", "betas")


@dataclass(frozen=True)
class Division:
    """paths: of the tables that are divided. said: of those that could be asked for and are not, why."""

    paths: tuple[str, ...]
    said: tuple[str, ...] = ()

    @staticmethod
    def of(manifest: Mapping[str, Any], tables: Tables, before: Sequence[str] | None = None) -> Division:
        """tables: "sharded" divides all that can be, "replicated" none; None goes by the checkpoint that is
        gone on from, if there is one (before: what it has divided), else by the spec, where several processes
        have joined. Raises TrainingError where the spec asks for what cannot be."""
        if tables is None and before is not None:
            return Division(tuple(before))
        asked = [] if tables == "replicated" else [*manifest.get("tables", ())]
        if tables is None:
            asked = [t for t in asked if t.get("sharded") and ranks.now() is not None]
        paths = tuple(t["path"] for t in asked if not t["frozen"] and not t["whole"])
        said, faults = [], []
        for table in asked:
            name = table["path"].removesuffix(".weight")
            if table["frozen"] or table["whole"]:
                why = "is frozen" if table["frozen"] else "is read as a whole, row by row"
                said.append(f"{name} {why}, and stays in every process")
                faults += [f"`place {name} on sharded`: {name} {why}"] if tables is None else []
        if faults:
            raise TrainingError("\n".join(faults))
        if asked and not paths:
            said.append("no table is divided: every process holds all of them")
        return Division(paths, tuple(said))


def divide(model: Model, paths: Iterable[str]) -> None:
    """Take the storage of some tables away, and give it to the others that were made without."""
    apart = set(paths)
    for name, table in tables_of(model).items():
        weight = table._parameters["weight"]
        if weight is None:
            continue  # it is gone already
        if f"{name}.weight" in apart:
            if table.start is None:
                rows, width = weight.shape
                table.start = Start(rows, width, ("values",), values=weight.detach().cpu())
            table._parameters["weight"] = None
        elif weight.is_meta and table.start is not None:
            filled = table.start.fill(torch.empty(weight.shape))
            table.weight = nn.Parameter(filled, requires_grad=weight.requires_grad)
            table.start = None
    if apart:
        # It follows the model's `.to()`, where no weight does.
        model.register_buffer("@home", torch.empty(0), persistent=False)


def tables_of(model: Model) -> dict[str, Table]:
    """The tables of a model, by the path of each."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Table)}


def are_divided(model: Model) -> tuple[str, ...]:
    """The paths of tables whose storage was taken away."""
    return tuple(
        f"{name}.weight" for name, table in tables_of(model).items() if table._parameters["weight"] is None
    )


def check(model: Model, paths: Iterable[str], recipe: Recipe, rowwise: bool) -> torch.device:
    """The device that divided tables are on. Raises TrainingError with every reason against it."""
    homes = {w["path"]: w["device"] for w in model.manifest["weights"]}
    places = {model.home if homes[path] is None else model.device(homes[path]) for path in paths}
    faults = []
    if len(places) > 1:
        faults.append(f"they are placed on {' and '.join(sorted(map(str, places)))}: place all on one device")
    if recipe.clip is not None:
        faults.append(
            "`clip` needs the norm of the whole gradient, and what several processes add to a row is summed "
            "where the row is: take a smaller learning rate instead"
        )
    options = recipe.torch_options()
    if recipe.optimizer not in OPTIMIZERS:
        faults.append(
            f"their rows are updated by FBGEMM, which has no {recipe.optimizer} as torch defines it: choose "
            f"{', '.join(OPTIMIZERS[:-1])} or {OPTIMIZERS[-1]}"
        )
    elif recipe.optimizer == "adam" and any(p.type == "cpu" for p in places):
        faults.append("FBGEMM has no Adam on a CPU: choose adagrad or sgd, or train on accelerators")
    for name, value in options.items():
        if value and name not in _KNOWN and recipe.optimizer in OPTIMIZERS:
            faults.append(f"`{name}` moves rows that no process names in a step: leave it out")
    if rowwise and recipe.optimizer != "adagrad":
        faults.append(f"--rowwise is of adagrad alone, and the recipe has {recipe.optimizer}")
    if faults:
        raise TrainingError("tables that are divided between processes:\n  " + "\n  ".join(faults))
    return next(iter(places))
