"""A task to plan for, the tables by the names that place them, and the plan that comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from specc.ir.graph import Graph, Weight
from specc.passes.placement import BYTES, Move
from specc.plan.lengths import Lengths
from specc.plan.memory import Load, Mode, gradient_bytes, rows_read, states

MODES: tuple[Mode, ...] = ("training", "scoring")


@dataclass(frozen=True)
class Unit:
    """Tables that are placed together under one name: a declared table, or a space with tables of its own.

    bytes: what they take. traffic: bytes of their rows that a step reads and, in training, sends back.
    """

    name: str
    tables: tuple[str, ...]
    bytes: int
    traffic: int


@dataclass(frozen=True)
class Problem:
    """What does not fit: the name of a unit or device, the bytes it needs, the most that there is for it,
    and what would help. alone: it is a unit that no device has room for, whatever else is there."""

    name: str
    needs: int
    has: int
    text: str
    helps: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class Plan:
    """devices: by name, their targets. places: name -> device name. loads: by mode and device name.
    capacities: by device name, 0 where none is known."""

    graph: Graph
    devices: Mapping[str, str]
    places: Mapping[str, str]
    capacities: Mapping[str, int]
    loads: Mapping[Mode, Mapping[str, Load]]
    moves: tuple[Move, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def fits(self) -> bool:
        return not self.problems

    def may_be_cpu(self, device: str) -> bool:
        """Return whether a device is a CPU, or may turn out to be one: `auto`, or a model without places."""
        return self.devices.get(device, "auto").partition(":")[0] in ("cpu", "auto")


@dataclass(frozen=True)
class Task:
    """What is planned for. share: how much of each device may be used."""

    batch: int
    lengths: Lengths
    mode: Mode = "training"
    share: float = 1.0


def units(graph: Graph, task: Task) -> list[Unit]:
    """Return the tables by the name that places them, largest first."""
    by_name: dict[str, list[Weight]] = {}
    for weight in graph.weights.values():
        if weight.kind == "table":
            by_name.setdefault(_unit_name(graph, weight), []).append(weight)
    found = []
    for name, weights in by_name.items():
        size = sum(table_bytes(graph, w, task) for w in weights)
        rows = sum(
            sum(rows_read(graph, w.path, task.batch, task.lengths)) * BYTES * w.shape[1] for w in weights
        )
        both_ways = 2 if task.mode == "training" else 1
        # The rows lie there for a moment, as values and (in training) as gradients.
        size += int(both_ways * rows)
        found.append(Unit(name, tuple(w.path for w in weights), size, int(both_ways * rows)))
    return sorted(found, key=lambda u: (-u.bytes, u.name))


def _unit_name(graph: Graph, weight: Weight) -> str:
    space = weight.owner.partition(".")[0]
    return space if any(s.name == space for s in graph.spaces) else weight.owner.partition(".")[0]


def table_bytes(graph: Graph, weight: Weight, task: Task) -> int:
    """Return the bytes that a table takes, in training with its gradient and the optimizer's state."""
    own = BYTES * math.prod(weight.shape)
    if task.mode == "scoring" or weight.frozen:
        return own
    return own * (1 + states(graph)) + gradient_bytes(graph, weight, task.batch, task.lengths)
