"""The models of bench/handwritten: padded PyTorch by hand."""

from __future__ import annotations

import importlib

from bench.contender import Absent, Contender
from bench.tasks import Task, examples

PACKAGE = ""


def build(task: Task) -> Contender:
    if task.rows:
        raise Absent("there is no such model")
    module = importlib.import_module(f"bench.handwritten.{task.model}")
    sizes = {"bst": (task.bound, task.head), "dsin": (task.sessions, task.bound), "dstn": (task.head,)}
    model = module.Model(*sizes.get(task.model, ()))
    data = examples(task)
    return Contender.of(model, lambda: model.loss(data), lambda: model(data))
