"""Which table goes where: a placement that fits devices of given sizes, and moves as little as can be.

Promises: tables stay whole. All that is no table is together on one device, an accelerator if it fits one.
Of the placements that fit, the one of least traffic to and from there is proposed (exact for a few tables,
else greedy); if none fits, what does not, by how much, and what would help. The figures are those of
`memory.predict` for the placed graph.
Leaves to others: how a plan is shown (cli/plan).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import networkx as nx

from specc.elaborate.sharding import nowhere, shard, sharded
from specc.ir.graph import Graph
from specc.passes import after_places
from specc.passes.placement import REST, moves
from specc.plan.activations import ALL
from specc.plan.memory import Load, predict
from specc.plan.shortage import no_room, overfull
from specc.plan.sizes import Device
from specc.plan.task import MODES, Plan, Task, Unit, units
from specc.report import Report

# The cost of moving a byte: between accelerators, and through the host.
_BESIDE, _THROUGH_HOST = 1, 4
# So many assignments are visited before the search returns the best one found.
_TRIES = 50_000


def plan_as_placed(graph: Graph, sizes: Sequence[Device], task: Task) -> Plan:
    """Return the plan of a graph as its own places have it. sizes: of the devices; those that are not given
    have no limit."""
    placed = after_places(graph)
    capacities = {d.target: d.capacity for d in sizes}
    found = _plan(placed, {n: capacities.get(t, 0) for n, t in placed.devices.items()}, task)
    return replace(found, problems=overfull(found, task))


def propose(
    graph: Graph, sizes: Sequence[Device], task: Task, fixed: Mapping[str, str] | None = None
) -> Plan:
    """Propose a placement on devices of given sizes.

    graph: after the passes, without transfers. fixed: places that are to be kept, name -> target.
    """
    fixed = dict(fixed or {})
    found = _best(graph, sizes, task, fixed)
    if found.fits or any(p.alone for p in found.problems):
        return found
    smaller = _fitting_batch(graph, sizes, task, fixed)
    if not smaller:
        return found
    help_ = f"a batch of {smaller} would fit"
    return replace(found, problems=tuple(replace(p, helps=(*p.helps, help_)) for p in found.problems))


def _best(graph: Graph, sizes: Sequence[Device], task: Task, fixed: Mapping[str, str]) -> Plan:
    """Return the plan for the first device that the rest fits on; else the one that lacks least."""
    names = device_names(graph, sizes)
    flow = traffic(graph, task)
    plans: list[Plan] = []
    for home in _homes_of_rest(sizes, fixed):
        found = _on(graph, flow, sizes, names, home, task, fixed)
        if found.fits:
            return found
        plans.append(found)
    return min(plans, key=lambda p: sum(x.needs - x.has for x in p.problems))


def _fitting_batch(graph: Graph, sizes: Sequence[Device], task: Task, fixed: Mapping[str, str]) -> int:
    """Return about the largest batch for which there is a placement, 0 if there is none."""
    low, high = 0, task.batch
    while high - low > max(low // 8, 1):
        middle = (low + high) // 2
        fits = _best(graph, sizes, replace(task, batch=middle), fixed).fits
        low, high = (middle, high) if fits else (low, middle)
    return low


def device_names(graph: Graph, sizes: Iterable[Device]) -> dict[str, str]:
    """Return by target a name for each device: the spec's own where it has one."""
    named: dict[str, str] = {}
    for name, target in graph.devices.items():
        named.setdefault(target, name)
    taken = set(graph.devices) | set(graph.bindings) | {s.name for s in graph.spaces}
    taken |= {w.owner for w in graph.weights.values()}
    for device in sizes:
        if device.target not in named:
            name = "host" if device.target == "cpu" else device.target.replace(":", "_")
            while name in taken:
                name += "_device"
            named[device.target] = name
            taken.add(name)
    return named


# -------------------------------------------------------------- the problem


def traffic(graph: Graph, task: Task) -> nx.DiGraph[str]:
    """Return units and `rest` as a graph, each edge with the bytes that go along it."""
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_node(REST)
    for unit in units(graph, task):
        flow.add_node(unit.name, unit=unit)
        flow.add_edge(unit.name, REST, bytes=unit.traffic)
    return flow


def _homes_of_rest(sizes: Sequence[Device], fixed: Mapping[str, str]) -> list[Device]:
    """Return where all that is no table may be: the accelerators, largest first, then the CPU."""
    if REST in fixed:
        return [d for d in sizes if d.target == fixed[REST]] or [Device(fixed[REST], 0)]
    seen: set[tuple[bool, int]] = set()
    found = []
    for device in sorted(sizes, key=lambda d: (not d.accelerator, -d.capacity)):
        kind = (device.accelerator, device.capacity)
        if kind not in seen:  # one of several that are alike
            seen.add(kind)
            found.append(device)
    return found


# --------------------------------------------------------------- the search


def _on(
    graph: Graph,
    flow: nx.DiGraph[str],
    sizes: Sequence[Device],
    names: Mapping[str, str],
    home: Device,
    task: Task,
    fixed: Mapping[str, str],
) -> Plan:
    """Return the plan with the rest on one device.

    What the rows of tables take where they are read is known only once the tables are placed: if that turns
    out to be too much, they are placed again with that much less room.
    """
    given = [flow.nodes[name]["unit"] for name in flow if name != REST]
    spare = dict.fromkeys((d.target for d in sizes), 0)
    spare[home.target] = rest_bytes(graph, task)
    found: Plan | None = None
    for _ in range(3):
        rooms = {d.target: int(d.capacity * task.share) - spare[d.target] for d in sizes}
        where, left_over = assign(given, rooms, home.target, flow, fixed)
        found = _planned(graph, sizes, names, home, task, where, fixed)
        if left_over:
            problems = no_room(graph, left_over, rooms, sizes, task)
            return replace(found, problems=problems)
        over = overfull(found, task)
        if not over:
            return found
        for problem in over:
            target = found.devices[problem.name]
            spare[target] = spare.get(target, 0) + problem.needs - problem.has
    assert found is not None
    return replace(found, problems=overfull(found, task))


def assign(
    given: Sequence[Unit],
    rooms: Mapping[str, int],
    home: str,
    flow: nx.DiGraph[str],
    fixed: Mapping[str, str],
) -> tuple[dict[str, str], list[Unit]]:
    """Return a target for each unit, and the units that fit nowhere (they are put where there is most room).

    The cost of an assignment is the traffic along the edges that cross between devices.
    """

    def cost(unit: Unit, target: str) -> int:
        if target == home:
            return 0
        way = _THROUGH_HOST if "cpu" in (target, home) else _BESIDE
        return way * int(flow.edges[unit.name, REST]["bytes"])

    left = dict(rooms)
    where: dict[str, str] = {}
    for unit in given:
        if unit.name in fixed:
            where[unit.name] = fixed[unit.name]
            left[fixed[unit.name]] = left.get(fixed[unit.name], 0) - unit.bytes
    free = [u for u in given if u.name not in where]
    best = _search(free, left, cost)
    if best is not None:
        return where | best, []
    left_over: list[Unit] = []
    for unit in free:
        fits = [t for t in left if left[t] >= unit.bytes]
        if fits:
            target = min(fits, key=lambda t: (cost(unit, t), -left[t]))
        else:
            left_over.append(unit)
            target = max(left, key=lambda t: left[t])
        where[unit.name] = target
        left[target] -= unit.bytes
    return where, left_over


def _search(
    given: Sequence[Unit], rooms: Mapping[str, int], cost: Callable[[Unit, str], int]
) -> dict[str, str] | None:
    """Return the cheapest assignment that fits, by branch and bound; None if none was found in `_TRIES`."""
    best: dict[str, str] | None = None
    least = math.inf
    tries = 0
    left = dict(rooms)
    where: dict[str, str] = {}

    def visit(number: int, so_far: int) -> None:
        nonlocal best, least, tries
        tries += 1
        if so_far >= least or tries > _TRIES:
            return
        if number == len(given):
            best, least = dict(where), so_far
            return
        unit = given[number]
        seen: set[tuple[int, int]] = set()
        # Cheapest first; of equals, the one with most room, so that the load spreads.
        for target in sorted(left, key=lambda t: (cost(unit, t), -left[t], t)):
            alike = (cost(unit, target), left[target])
            if left[target] < unit.bytes or alike in seen:
                continue
            seen.add(alike)
            left[target] -= unit.bytes
            where[unit.name] = target
            visit(number + 1, so_far + cost(unit, target))
            left[target] += unit.bytes
            del where[unit.name]

    visit(0, 0)
    return best


# ------------------------------------------------------------- what comes out


def _planned(
    graph: Graph,
    sizes: Sequence[Device],
    names: Mapping[str, str],
    home: Device,
    task: Task,
    where: Mapping[str, str],
    fixed: Mapping[str, str],
) -> Plan:
    rest = names.get(home.target, home.target)
    wanted = {name: names.get(target, target) for name, target in {**where, **fixed}.items()}
    # A name without a place is with the rest; but a place that the spec says must be overridden.
    places = {name: device for name, device in wanted.items() if device != rest and name != REST}
    places |= {name: wanted.get(name, rest) for name in graph.places} | {REST: rest}
    used = set(places.values())
    devices = {name: target for target, name in names.items() if name in used}
    left = [n for n in sharded(graph) if not {n, n.partition(".")[0]} & places.keys()]
    graph = shard(graph, dict.fromkeys(left, nowhere(graph)), Report())
    placed = after_places(replace(graph, devices=devices, places=places, place_spans={}))
    capacities = {d.target: d.capacity for d in sizes}
    return _plan(placed, {name: capacities.get(target, 0) for name, target in devices.items()}, task)


def _plan(placed: Graph, capacities: Mapping[str, int], task: Task) -> Plan:
    loads = {mode: predict(placed, task.batch, task.lengths, mode) for mode in MODES}
    return Plan(placed, placed.devices, placed.places, capacities, loads, moves(placed))


def rest_bytes(graph: Graph, task: Task) -> int:
    """Return the bytes that all but the tables takes."""
    tables = {w.owner for w in graph.weights.values() if w.kind == "table"}
    away, here = "tables", "rest"
    apart = replace(graph, devices={away: "cpu", here: "cpu:0"}, places={"tables": away, REST: here})
    if not tables:
        return predict(graph, task.batch, task.lengths, task.mode).get(ALL, Load()).total
    return predict(after_places(apart), task.batch, task.lengths, task.mode).get(here, Load()).total
