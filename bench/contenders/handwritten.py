"""The models of bench/handwritten: padded PyTorch by hand."""

from __future__ import annotations

import importlib

from bench.contender import Contender
from bench.tasks import Fields, Padded, Task


def build(task: Task) -> Contender:
    module = importlib.import_module(f"bench.handwritten.{task.model}")
    sizes = {"bst": (task.bound,), "dsin": (task.sessions, task.bound)}
    model = module.Model(*sizes.get(task.model, ()))
    data = Fields.of(task) if task.model == "afm" else Padded.of(task)
    return Contender.of(model, lambda: model.loss(data), lambda: model(data))
