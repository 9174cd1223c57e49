"""The models of bench/handwritten: padded PyTorch by hand; `handwritten:compile` through torch.compile."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from bench.contender import Absent, Contender
from bench.tasks import Task, examples

PACKAGE = ""


def build(task: Task, variant: str = "") -> Contender:
    if task.rows:
        raise Absent("there is no such model")
    module = importlib.import_module(f"bench.handwritten.{task.model}")
    sizes: dict[str, tuple[Any, ...]] = {
        "afm": (task.channels, task.fields),
        "bst": (task.bound, task.head, task.channels, task.pooling),
        "dsin": (task.sessions, task.bound, task.channels),
        "dstn": (task.head, task.channels),
    }
    model = module.Model(*sizes.get(task.model, (task.channels,)))
    data = examples(task)
    loss, score = model.loss, model
    if variant == "compile":
        if task.model == "dien":
            raise Absent("torch.compile takes minutes for its loops over steps, and gains nothing")
        # Of the shapes of the one batch that there is.
        loss, score = torch.compile(loss, dynamic=False), torch.compile(model, dynamic=False)
    return Contender.of(model, lambda: loss(data), lambda: score(data))
