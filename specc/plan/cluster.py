"""What training takes of several devices between which the tables are divided: memory, bytes over the wire,
time.

Every device has the dense weights, and a batch of its own. A table is held by rows, an Nth of them on each
device, or as a whole on one. Of a table with rows of w numbers, of which a device's batch names u different
ones (`distinct`), N devices exchange in a step

    ids         8 u          each device asks for the rows of its batch
    rows        4 w u        and gets them,
    gradients   4 w u        and sends back what they are to change by

of which the share (N - 1) / N leaves a device whose table is held by rows. The owner of a whole table gets
ids and gradients from N - 1 devices, and sends rows to them. Where a spec places some tables on `sharded`,
each device has the others as copies, and gets the ids and gradients of N - 1 batches. Gradients of D bytes of
dense weights are reduced in a ring: 2 D (N - 1) / N leave each device.

Promises: what a device sends or gets, whichever is more, counts. Times are of bytes at given rates and none
overlaps; the arithmetic of the dense part is not in them. Rows are as if every id were as likely as any
other: in a real batch fewer are different.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from specc.ir.graph import Graph, Weight
from specc.passes.placement import BYTES
from specc.plan.activations import distinct
from specc.plan.memory import predict, rows_read, states
from specc.plan.sizes import SizeError, human, size
from specc.plan.task import Problem, Task

ID = 8
MORE = 0.1  # of the wire's bytes that a device may have beyond others, as it owns a table
_CLUSTER = re.compile(r"\s*(\d+)\s*[x×]\s*(\S+)\s*", re.IGNORECASE)
Held = Literal["by rows", "whole", "copied"]


@dataclass(frozen=True)
class Cluster:
    """number: of devices, each with `capacity` bytes. Rates are bytes a second: wire, what a device sends to
    others while it gets as much; memory, what it reads or writes of its own; disk, what it writes of a
    checkpoint."""

    number: int
    capacity: int
    wire: float = 50e9
    memory: float = 2e12
    disk: float = 2e9


@dataclass(frozen=True)
class Shard:
    """A table in the cluster. bytes: of its rows; state: of the optimizer's. device: its owner, where it is
    whole. rows: different ones that a device's batch names. learned: whether training changes it."""

    table: str
    path: str
    count: int
    width: int
    bytes: int
    state: int
    held: Held
    device: int | None
    rows: float
    learned: bool

    def on(self, device: int, number: int) -> float:
        """Return the share of it that a device holds."""
        if self.held == "whole":
            return float(device == self.device)
        return 1.0 if self.held == "copied" else 1 / number

    def wire(self, device: int, number: int) -> Wire:
        """Return the bytes of it that leave a device in a step, or come to it, whichever is more."""
        ids, values = ID * self.rows, BYTES * self.width * self.rows
        if self.held == "copied":
            times = float(number - 1) if self.learned else 0.0
            return Wire(ids * times, 0.0, values * times)
        if self.held == "by rows":
            times = (number - 1) / number
        else:
            times = number - 1 if device == self.device else min(number - 1, 1)
        return Wire(ids * times, values * times, values * times if self.learned else 0.0)

    def beside(self, number: int) -> float:
        """Return the bytes that a step's rows and their gradients take on a device, with ids beside both."""
        if self.held == "copied":
            return number * self.rows * (BYTES * self.width + ID) if self.learned else 0.0
        return (1 + self.learned) * self.rows * (BYTES * self.width + ID)


@dataclass(frozen=True)
class Wire:
    """Bytes in a step. dense: of the gradients of dense weights."""

    ids: float = 0.0
    rows: float = 0.0
    gradients: float = 0.0
    dense: float = 0.0

    @property
    def total(self) -> float:
        return self.ids + self.rows + self.gradients + self.dense

    def __add__(self, other: Wire) -> Wire:
        return Wire(
            self.ids + other.ids,
            self.rows + other.rows,
            self.gradients + other.gradients,
            self.dense + other.dense,
        )


@dataclass(frozen=True)
class OnDevice:
    """Bytes on one device."""

    tables: float
    optimizer: float
    dense: float
    activations: float

    @property
    def total(self) -> float:
        return self.tables + self.optimizer + self.dense + self.activations


@dataclass(frozen=True)
class Sharding:
    """A plan for a cluster. devices, wires: by device. touched: bytes of its own memory that a device's
    tables read and write in a step. batch: examples of one device."""

    cluster: Cluster
    batch: int
    shards: tuple[Shard, ...]
    devices: tuple[OnDevice, ...]
    wires: tuple[Wire, ...]
    touched: tuple[float, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def fits(self) -> bool:
        return not self.problems

    @property
    def seconds(self) -> Mapping[str, float]:
        """Return what a step takes at least, of the slowest device, and what a checkpoint does."""
        wire = max(wire.total for wire in self.wires) / self.cluster.wire
        memory = max(self.touched) / self.cluster.memory
        kept = max(d.tables + d.optimizer for d in self.devices) / self.cluster.disk
        return {"wire": wire, "memory": memory, "step": wire + memory, "checkpoint": kept}

    @property
    def examples(self) -> float:
        """Return how many examples a second the exchange of rows lets through."""
        step = self.seconds["step"]
        return self.batch * self.cluster.number / step if step else math.inf


def cluster_of(text: str) -> tuple[int, int] | None:
    """Return number and bytes of `8x80GB`; None for a text of another form. Raises SizeError."""
    found = _CLUSTER.fullmatch(text)
    if found is None:
        return None
    number, capacity = int(found[1]), size(found[2])
    if not number or not capacity:
        raise SizeError(f"{text!r} has no device, or no memory: write 8x80GB")
    return number, capacity


def divide(graph: Graph, cluster: Cluster, task: Task) -> Sharding:
    """Divide the tables of a graph between devices, for training with `task.batch` examples on each.

    They are those that the spec places on `sharded`, or all where it places none there. A table that takes
    more memory than a device's share of all is held by rows, and so is one whose owner would have a tenth
    more of the wire than others; any other as a whole, where least is by then.
    """
    every = [w for w in graph.weights.values() if w.kind == "table"]
    tables = [w for w in every if w.sharded] or every
    rows = {w.path: _rows(graph, w, task) for w in every}
    own = {w.path: BYTES * math.prod(w.shape) for w in every}
    full = {w.path: own[w.path] * (1 + _states(graph, w)) for w in every}
    traffic = {w.path: rows[w.path] * w.shape[1] for w in tables}
    fair = sum(full.values()) / cluster.number, sum(traffic.values())
    load = [0.0] * cluster.number
    shards = []
    for w in sorted(every, key=lambda w: -full[w.path]):
        if w not in tables:
            shards.append(_shard(w, own, full, rows, "copied", None))
            continue
        whole = full[w.path] <= fair[0] and traffic[w.path] <= MORE * fair[1] / cluster.number
        device = min(range(cluster.number), key=lambda d: load[d]) if whole else None
        for place in range(cluster.number):
            if device in (None, place):
                load[place] += full[w.path] / (1 if whole else cluster.number)
        held: Held = "whole" if whole else "by rows"
        shards.append(_shard(w, own, full, rows, held, device))
    return _sharding(graph, cluster, task, tuple(shards))


def _shard(
    weight: Weight,
    own: Mapping[str, int],
    full: Mapping[str, int],
    rows: Mapping[str, float],
    held: Held,
    device: int | None,
) -> Shard:
    count, width = weight.shape[0], weight.shape[1]
    path = weight.path
    learned = not weight.frozen
    state = full[path] - own[path]
    return Shard(weight.owner, path, count, width, own[path], state, held, device, rows[path], learned)


def _sharding(graph: Graph, cluster: Cluster, task: Task, shards: tuple[Shard, ...]) -> Sharding:
    number = cluster.number
    load = next(iter(predict(graph, task.batch, task.lengths, "training").values()))
    dense = [w for w in graph.weights.values() if w.kind != "table"]
    weights = sum(BYTES * math.prod(w.shape) for w in dense)
    learnt = sum(BYTES * math.prod(w.shape) for w in dense if w.kind != "buffer" and not w.frozen)
    asked = sum(s.beside(number) for s in shards)
    around = 2 * (number - 1) / number * learnt
    devices, wires, touched = [], [], []
    for device in range(number):
        devices.append(
            OnDevice(
                sum(s.bytes * s.on(device, number) for s in shards),
                sum(s.state * s.on(device, number) for s in shards) + learnt * states(graph),
                weights + learnt,
                load.activations + asked,
            )
        )
        wires.append(sum((s.wire(device, number) for s in shards), Wire(dense=around)))
        touched.append(sum(_touched(s, device, number) for s in shards))
    found = Sharding(cluster, task.batch, shards, tuple(devices), tuple(wires), tuple(touched))
    return Sharding(**{**vars(found), "problems": _problems(found, task)})


def _touched(shard: Shard, device: int, number: int) -> float:
    """Return the bytes of its own memory that a device reads and writes of a table in a step: rows once to
    send them, then rows and state once more, and back."""
    value = BYTES * shard.width
    state = value * shard.state / shard.bytes if shard.bytes else 0.0
    if not shard.learned:
        return number * shard.rows * shard.on(device, number) * value
    return number * shard.rows * shard.on(device, number) * (3 * value + 2 * state)


def _problems(found: Sharding, task: Task) -> tuple[Problem, ...]:
    capacity = int(found.cluster.capacity * task.share)
    needs = max(found.devices, key=lambda d: d.total)
    if needs.total <= capacity:
        return ()
    copied = sum(s.bytes + s.state for s in found.shards if s.held == "copied")
    room = capacity - needs.dense - needs.activations - copied
    divided = sum(s.bytes + s.state for s in found.shards if s.held != "copied")
    helps = []
    if copied and room <= 0:
        names = ", ".join(s.table for s in found.shards if s.held == "copied")
        helps.append(f"place more tables on sharded: every device has a copy of {names}")
    elif room > 0:
        helps.append(f"about {math.ceil(divided / room)} devices of this size would hold it")
    else:
        helps.append("a smaller batch: what it takes beside the tables leaves them no room")
    each, there = human(needs.total), human(capacity)
    text = f"the fullest device needs {each}, and has {there}"
    return (Problem("cluster", int(needs.total), capacity, text, tuple(helps)),)


def _rows(graph: Graph, weight: Weight, task: Task) -> float:
    """Return how many different rows of a table the batch of a device names."""
    return distinct(sum(rows_read(graph, weight.path, task.batch, task.lengths)), weight.shape[0])


def _states(graph: Graph, weight: Weight) -> int:
    return 0 if weight.frozen else states(graph)


def lines_of(found: Sharding) -> Sequence[str]:
    """Return what the plan says, in words."""
    c, seconds = found.cluster, found.seconds
    wire = max(found.wires, key=lambda w: w.total)
    checkpoint = sum(s.bytes + s.state for s in found.shards)
    return [
        f"over the wire, of the busiest device in a step: {human(wire.total)} "
        f"({human(wire.ids)} ids, {human(wire.rows)} rows, {human(wire.gradients)} gradients, "
        f"{human(wire.dense)} dense gradients)",
        f"a step takes at least {milliseconds(seconds['wire'])} at {human(c.wire)}/s between devices "
        f"and {milliseconds(seconds['memory'])} at {human(c.memory)}/s of memory, "
        "beside the arithmetic of the dense part",
        f"so at most {found.examples:,.0f} examples/s",
        f"a checkpoint has {human(checkpoint)}, written in {seconds['checkpoint']:,.0f} s at "
        f"{human(c.disk)}/s a device",
    ]


def milliseconds(seconds: float) -> str:
    """Write a time as `1.5 ms`, with three digits."""
    return f"{float(f'{1000 * seconds:.3g}'):,g} ms"
