"""The models of bench/handwritten: padded PyTorch by hand; `handwritten:compile` through torch.compile."""

from __future__ import annotations

import importlib

import torch

from bench.contender import Absent, Contender
from bench.tasks import Task, examples

PACKAGE = ""


def build(task: Task, variant: str = "") -> Contender:
    if task.rows:
        raise Absent("there is no such model")
    module = importlib.import_module(f"bench.handwritten.{task.model}")
    sizes = {"bst": (task.bound, task.head), "dsin": (task.sessions, task.bound), "dstn": (task.head,)}
    model = module.Model(*sizes.get(task.model, ()))
    data = examples(task)
    loss, score = model.loss, model
    if variant == "compile":
        if task.model == "dien":
            raise Absent("torch.compile takes minutes for its loops over steps, and gains nothing")
        loss, score = torch.compile(loss), torch.compile(model)
    return Contender.of(model, lambda: loss(data), lambda: score(data))
