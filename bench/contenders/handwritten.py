"""The models of bench/handwritten: padded PyTorch by hand."""

from __future__ import annotations

import importlib

import torch

from bench.contender import Contender
from bench.tasks import Behaviours, Fields, Padded, Task


def build(task: Task) -> Contender:
    module = importlib.import_module(f"bench.handwritten.{task.model}")
    sizes = {"bst": (task.bound,), "dsin": (task.sessions, task.bound)}
    model = module.Model(*sizes.get(task.model, ()))
    data = {"afm": Fields, "atrank": Behaviours}.get(task.model, Padded).of(task)
    # Torch's quickest Adam: who writes carefully by hand knows of it.
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    return Contender.of(model, lambda: model.loss(data), lambda: model(data), optimizer)
