"""Losses beside FuxiCTR's, step by step, as `make fidelity` runs it.

DIN, DIEN and BST start from the same weights and read the same batches, 200 different ones; both sides
train with torch's Adam at 0.001. What is printed is the largest difference between the two losses of a step.
With `--double` it is that of the two definitions; in single precision also what Adam makes of rounding, as it
moves a weight by the same step however small its gradient is.

Where the two are known to differ they are made equal. FuxiCTR's Dice takes its statistics over padded
positions too, so DIN's histories are at their bound. torch's GRU has two biases a gate that are read
only as their sum, and Adam moves that sum twice as far, so one of them stays at 0.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import specc
from bench.contenders import arec, fuxictr
from bench.tasks import WIDTH, Padded, Task
from specc_runtime import Batch, Model, Schema
from specc_runtime.train.lazy import build_optimizer

Arrays = dict[str, Tensor]
BOUND, BATCH = 20, 64
TASKS = (
    Task("din", batch=BATCH, bound=BOUND, full=True),
    Task("dien", batch=BATCH, bound=BOUND),
    Task("bst", batch=BATCH, bound=BOUND, small_head=True),
)


@dataclass(frozen=True)
class Same:
    """How largely two runs of losses differ."""

    model: str
    first: float
    last: float
    difference: float


def compare(task: Task, steps: int) -> Same:
    """Train both for some steps from one start."""
    torch.manual_seed(0)
    theirs, loss_of = fuxictr.MODELS[task.model](task)
    held = _held(theirs) if task.model == "dien" else []
    own = arec.SPECS / f"{task.model}_fuxictr.arec"
    ours = specc.compile(own if own.exists() else arec.spec_of(task), **arec.params_of(task))
    ours.load_state_dict(_MAPS[task.model](theirs.state_dict()), strict=False)
    ours.to(next(theirs.parameters()).dtype)
    theirs.train()
    ours.train()
    optimizers = [
        torch.optim.Adam(theirs.parameters(), lr=1e-3),
        build_optimizer(ours, "adam", {"lr": 1e-3}, tables="dense"),
    ]
    found: list[tuple[float, float]] = []
    for data in _batches(task, steps):
        losses = loss_of(data), ours.loss(batch_of(ours, data))
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
        for bias, kept in held:
            assert bias.grad is not None
            bias.grad.mul_(kept)
        for optimizer in optimizers:
            optimizer.step()
        found.append((float(losses[0].detach()), float(losses[1].detach())))
    return Same(task.model, found[0][1], found[-1][1], max(abs(a - b) for a, b in found))


def _batches(task: Task, steps: int) -> Iterator[Padded]:
    for _ in range(steps):
        data = Padded.of(task)  # each call draws new ones
        # Something to learn: which of two kinds the candidate is of.
        yield replace(data, label=(data.item % 2).to(torch.get_default_dtype()))


def batch_of(model: Model, data: Padded) -> Batch:
    """Padded examples as the compiled model reads them."""
    there = data.mask
    values = {
        "user.id": data.user, "ad.item": data.item, "ad.category": data.category,
        "history.item": data.items[there], "history.category": data.categories[there],
        "noise.item": data.other_items[there], "noise.category": data.other_categories[there],
    }  # fmt: skip
    schema = Schema.of(model.manifest)
    fields = {path: values[path] for path in schema.fields}
    return Batch(schema, len(data.user), dict(fields), {"history.t": data.lengths}, {"click": data.label})


def _held(theirs: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """The biases that repeat another, set to 0, each with 0 where its gradient is to be left out."""
    first, second = theirs.extraction_modules[0], theirs.evolving_modules[0].gru_cell
    found = []
    for bias in (first.bias_hh_l0, second.h2h.bias):
        kept = torch.ones_like(bias)
        kept[: 2 * len(bias) // 3] = 0  # reset and update; the candidate's own is scaled by the reset gate
        with torch.no_grad():
            bias.mul_(kept)
        found.append((bias, kept))
    return found


def _tables(theirs: Arrays, prefix: str) -> Arrays:
    names = {"user": "user.id", "item": "items", "category": "categories"}
    return {
        f"{ours}.weight": theirs[f"{prefix}embedding_layers.{name}.weight"] for name, ours in names.items()
    }


def _perceptron(theirs: Arrays, stem: str, ours: str, hidden: int) -> Arrays:
    """Layers of an MLP_Block: of its modules, every second one is linear, and those between activate."""
    found: Arrays = {}
    for place in range(hidden + 1):
        number = f"_{place + 1}" if place else ""
        name = f"{ours}.mlp.linear{number}" if place < hidden else f"{ours}.linear"
        found |= {f"{name}.{leaf}": theirs[f"{stem}.{2 * place}.{leaf}"] for leaf in ("weight", "bias")}
        slope = theirs.get(f"{stem}.{2 * place + 1}.alpha")
        if slope is not None:
            found[f"{ours}.mlp.dice{number}.slope"] = slope
    return found


def _din(theirs: Arrays) -> Arrays:
    return {
        **_tables(theirs, "embedding_layer.embedding_layer."),
        **_perceptron(theirs, "attention_layers.attention_layer.mlp", "joined.interest.weight", 1),
        **_perceptron(theirs, "dnn.mlp", "click", 2),
    }


def _dien(theirs: Arrays) -> Arrays:
    found = {
        **_tables(theirs, "embedding_layer.embedding_layer."),
        **_perceptron(theirs, "aux_net.mlp", "likeness", 2),
        **_perceptron(theirs, "dnn.mlp", "click", 2),
        "evolved.relevance.score.linear.weight": theirs["attention_modules.0.W_kernel"],
    }
    names = [f"extraction_modules.0.{kind}_{way}_l0" for kind in ("weight", "bias") for way in ("ih", "hh")]
    gates = ("reset.linear", "keep.linear", "candidate.drive")
    found |= _gates([theirs[n] for n in names], "states.gru.h.gru_cell", gates)
    cell = "evolving_modules.0.gru_cell"
    names = [f"{cell}.{way}.{kind}" for kind in ("weight", "bias") for way in ("x2h", "h2h")]
    gates = ("update.linear", "reset.linear", "fresh.candidate.drive")
    found |= _gates([theirs[n] for n in names], "evolved.augru", gates)
    # Ours joins user, ad, sum, product, evolved; theirs user, ad, evolved, sum, product.
    width, first = 2 * WIDTH, "click.mlp.linear.weight"
    user, ad, evolved, total, product = found[first].split([WIDTH, width, width, width, width], 1)
    found[first] = torch.cat([user, ad, total, product, evolved], 1)
    return found


def _gates(theirs: list[Tensor], ours: str, names: tuple[str, str, str]) -> Arrays:
    """Matrices and biases of two gates and the candidate; of the candidate the two stay apart."""
    of_x, of_h, bias_x, bias_h = (part.chunk(3) for part in theirs)
    found: Arrays = {}
    for place, name in enumerate(names[:2]):
        found[f"{ours}.{name}.weight"] = torch.cat([of_x[place], of_h[place]], 1)
        found[f"{ours}.{name}.bias"] = bias_x[place] + bias_h[place]
    for name, weight, bias in (("linear", of_x, bias_x), ("linear_2", of_h, bias_h)):
        found[f"{ours}.{names[2]}.{name}.weight"] = weight[2]
        found[f"{ours}.{names[2]}.{name}.bias"] = bias[2]
    return found


def _bst(theirs: Arrays) -> Arrays:
    found = _tables(theirs, "embedding.") | _perceptron(theirs, "dnn.mlp", "click", 2)
    found |= {"place": theirs["position"][:-1], "last_place": theirs["position"][-1]}
    block = "read.transformer"
    for leaf in ("weight", "bias"):
        parts = theirs[f"attention.in_proj_{leaf}"].chunk(3)
        attended = f"{block}.attended.self_attention"
        for name, part in zip(("query", "key", "value"), parts, strict=True):
            found[f"{attended}.{name}.linear.{leaf}"] = part
        found[f"{attended}.linear.{leaf}"] = theirs[f"attention.out_proj.{leaf}"]
        found[f"{block}.forwarded.linear.{leaf}"] = theirs[f"forward_layers.0.{leaf}"]
        found[f"{block}.forwarded.linear_2.{leaf}"] = theirs[f"forward_layers.2.{leaf}"]
    for name, norm in (("mixed.norm", "first_norm"), ("norm", "second_norm")):
        found[f"{block}.{name}.scale"] = theirs[f"{norm}.weight"]
        found[f"{block}.{name}.shift"] = theirs[f"{norm}.bias"]
    return found


_MAPS: dict[str, Callable[[Arrays], Arrays]] = {"din": _din, "dien": _dien, "bst": _bst}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.fidelity", description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--double", action="store_true", help="compute in float64")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if given.double:
        torch.set_default_dtype(torch.float64)
    for task in TASKS:
        same = compare(task, given.steps)
        if given.as_json:
            print(json.dumps(same.__dict__))
        else:
            print(
                f"{same.model:5} loss {same.first:.5f} -> {same.last:.5f}, "
                f"at most {same.difference:.1e} apart in {given.steps} steps"
            )


if __name__ == "__main__":
    main()
