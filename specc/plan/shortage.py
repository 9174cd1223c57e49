"""Why a plan does not fit: what is too large, by how much, and what would help."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from specc.ir.graph import Graph
from specc.passes.placement import BYTES
from specc.plan.memory import Load, predict, states
from specc.plan.sizes import Device, human
from specc.plan.task import Plan, Problem, Task, Unit, units


def overfull(plan: Plan, task: Task) -> tuple[Problem, ...]:
    """Return a problem for each device on which there is more than it holds."""
    found = []
    for name, load in plan.loads[task.mode].items():
        capacity = int(plan.capacities.get(name, 0) * task.share)
        if capacity and load.total > capacity:
            text = f"{name} needs {human(load.total)}, {human(load.total - capacity)} more than it has"
            found.append(
                Problem(name, load.total, capacity, text, _smaller_batch(plan, name, capacity, task))
            )
    return tuple(found)


def _smaller_batch(plan: Plan, name: str, capacity: int, task: Task) -> tuple[str, ...]:
    """Return as advice the largest batch that fits a device, where there is one."""
    low, high = 0, task.batch
    while high - low > max(low // 50, 1):
        middle = (low + high) // 2
        load = predict(plan.graph, middle, task.lengths, task.mode).get(name, Load())
        low, high = (middle, high) if load.total <= capacity else (low, middle)
    return (f"a batch of {low} would fit",) if low else ()


def no_room(
    graph: Graph, left_over: Sequence[Unit], rooms: Mapping[str, int], sizes: Sequence[Device], task: Task
) -> tuple[Problem, ...]:
    """Return why units fit nowhere: each alone is too large, or all together.

    rooms: by target what the tables may take of each device.
    """
    largest = max(sizes, key=lambda d: d.capacity)
    has = int(largest.capacity * task.share)
    found = []
    for unit in left_over:
        if unit.bytes > has:
            may = f", of which {human(has)} may be used" if task.share < 1 else ""
            text = (
                f"{unit.name} needs {human(unit.bytes)}{_made_of(graph, unit, task)}; no device has it: "
                f"the largest, {largest.target}, has {human(largest.capacity)}{may}"
            )
            helps = _helps(graph, unit, rooms, sizes, task)
            found.append(Problem(unit.name, unit.bytes, has, text, helps, alone=True))
    together = [u for u in left_over if u.bytes <= has]
    if together:
        every = sum(u.bytes for u in units(graph, task))
        there = sum(max(room, 0) for room in rooms.values())
        short = sum(u.bytes for u in together)
        text = (
            f"the tables need {human(every)} in all, and the devices have {human(there)} left for them: "
            f"{', '.join(u.name for u in together)} ({human(short)}) find no room"
        )
        more = f"another {human(short)} of memory, such as cpu={_enough(short / task.share)}"
        found.append(Problem(together[0].name, short, 0, text, (more,)))
    return tuple(found)


def _made_of(graph: Graph, unit: Unit, task: Task) -> str:
    rows = sum(BYTES * math.prod(graph.weights[p].shape) for p in unit.tables)
    kept = rows * states(graph)
    if task.mode == "scoring" or not kept:
        return ""
    rule = graph.train.get("optimizer", {}).get("name", "adam")
    return f" ({human(rows)} of rows, {human(kept)} of {rule}'s state)"


def _helps(
    graph: Graph, unit: Unit, rooms: Mapping[str, int], sizes: Sequence[Device], task: Task
) -> tuple[str, ...]:
    """Return what would make a unit fit that is larger than any device."""
    table = max((graph.weights[p] for p in unit.tables), key=lambda w: math.prod(w.shape))
    count, width = table.shape
    a_row = max(unit.bytes // max(count, 1), 1)
    helps = [_shards(unit, count, a_row, rooms, sizes, task)]
    if not any(d.target == "cpu" for d in sizes):
        helps.append(f"the host's memory would hold it with cpu={_enough(unit.bytes / task.share)}")
    best = max((max(room, 0) // a_row for room in rooms.values()), default=0)
    if best:
        helps.append(f"hashed to fewer rows it would fit one device: hash({_rounded(best):_}, {width})")
    if task.mode == "training" and states(graph):
        helps.append(f"for scoring alone it takes {human(BYTES * count * width)}")
    return tuple(helps)


def _shards(
    unit: Unit, count: int, a_row: int, rooms: Mapping[str, int], sizes: Sequence[Device], task: Task
) -> str:
    """Return in how many shards by row a unit would fit: on these devices, or on more of the largest."""
    so_far = 0
    for number, room in enumerate(sorted(rooms.values(), reverse=True), 1):
        so_far += max(room, 0) // a_row
        if so_far >= count:
            return f"in {number} shards by row it would fit these devices"
    largest = max(sizes, key=lambda d: d.capacity)
    needed = math.ceil(unit.bytes / max(int(largest.capacity * task.share), 1))
    short = human(unit.bytes - sum(max(r, 0) for r in rooms.values()))
    return (
        f"in shards by row over all devices it is still {short} too large; "
        f"it fits in {needed} shards of {human(largest.capacity)}"
    )


def _enough(bytes_: float) -> str:
    return f"{math.ceil(bytes_ / 1e9 * 1.02)}GB"


def _rounded(number: int) -> int:
    """Return the number rounded down to two digits."""
    step = 10 ** max(len(str(number)) - 2, 0)
    return int(number // step * step)
