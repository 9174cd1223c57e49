"""`specc plan --devices 8x80GB`: tables that are divided between devices, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from specc.cli.common import FAULTS

if TYPE_CHECKING:
    from specc.ir.graph import Graph
    from specc.plan.cluster import Cluster, Sharding
    from specc.plan.task import Task

F = TypeVar("F", bound=Callable[..., Any])
RATES = {
    "wire": ("50GB", "what a device sends to others while it gets as much"),
    "memory_rate": ("2TB", "what a device reads or writes of its own memory"),
    "disk": ("2GB", "what a device writes of a checkpoint"),
}
SHOWN = 20  # tables that are printed


def cluster_options(command: F) -> F:
    """Add what is asked of a cluster: rates, and whose planner."""
    for name, (usual, what) in reversed(RATES.items()):
        command = click.option(
            f"--{name.replace('_', '-')}",
            metavar="SIZE",
            callback=_rate,
            help=f"Of a cluster: bytes a second, {what} ({usual}).",
        )(command)
    return click.option(
        "--engine",
        type=click.Choice(["torchrec"]),
        help="Of a cluster: also print what TorchRec's planner proposes.",
    )(command)


def _rate(ctx: click.Context, param: click.Parameter, given: str | None) -> int | None:
    from specc.plan.sizes import SizeError, size

    if given is None:
        return None
    try:
        found = size(given.removesuffix("/s"))
    except SizeError as fault:
        raise click.BadParameter(str(fault)) from None
    if not found:
        raise click.BadParameter(f"{given!r} is no rate")
    return found


def plan_cluster(
    graph: Graph, number: int, capacity: int, task: Task, given: Mapping[str, Any], as_json: bool
) -> int:
    """Print the plan, and return the exit code."""
    from specc.plan.cluster import Cluster, divide
    from specc.plan.sizes import size

    rates = {name: given[name] or size(usual) for name, (usual, _) in RATES.items()}
    cluster = Cluster(number, capacity, rates["wire"], rates["memory_rate"], rates["disk"])
    found = divide(graph, cluster, task)
    theirs = _torchrec(found, cluster) if given["engine"] == "torchrec" else None
    if as_json:
        data = as_data(graph.name, found)
        click.echo(json.dumps({**data, "torchrec": theirs} if theirs is not None else data, indent=1))
    else:
        _print(graph.name, found)
        if theirs is not None:
            _print_theirs(theirs)
    return 0 if found.fits else FAULTS


def _torchrec(found: Sharding, cluster: Cluster) -> list[dict[str, Any]]:
    from specc.cli.common import fail
    from specc.plan.torchrec import PlannerError, propose

    try:
        return propose(found, cluster)
    except PlannerError as fault:
        fail(str(fault))


def as_data(model: str, found: Sharding) -> dict[str, Any]:
    """Return the plan, JSON-able. Sizes are bytes, times seconds."""
    return {
        "model": model,
        "batch": found.batch,
        "cluster": asdict(found.cluster),
        "fits": found.fits,
        "tables": [asdict(shard) for shard in found.shards],
        "devices": [{**asdict(device), "total": device.total} for device in found.devices],
        "wire": [{**asdict(wire), "total": wire.total} for wire in found.wires],
        "touched": list(found.touched),
        "seconds": dict(found.seconds),
        "examples_a_second": found.examples,
        "problems": [
            {"name": p.name, "needs": p.needs, "has": p.has, "text": p.text, "helps": list(p.helps)}
            for p in found.problems
        ],
    }


def _print(model: str, found: Sharding) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from specc.plan.cluster import lines_of
    from specc.plan.sizes import human

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    number = found.cluster.number
    console.print(
        f"[bold]{model}[/bold]: training on {number} devices of {human(found.cluster.capacity)}, "
        f"{found.batch} examples a step on each"
    )
    tables = Table(title="tables", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("table", "rows", "width", "bytes", "state", "held", "different rows a batch"):
        tables.add_column(name, justify="left" if name in ("table", "held") else "right")
    for s in found.shards[:SHOWN]:
        by_rows, whole = f"by rows, 1/{number} each", f"whole, on device {s.device}"
        held = {"by rows": by_rows, "whole": whole, "copied": "a copy on each"}[s.held]
        cells = (f"{s.count:,}", str(s.width), human(s.bytes), human(s.state), held, f"{s.rows:,.0f}")
        tables.add_row(s.path.removesuffix(".weight"), *cells)
    console.print(tables)
    if len(found.shards) > SHOWN:
        console.print(f"and {len(found.shards) - SHOWN} smaller tables")
    devices = Table(title="memory", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("device", "tables", "optimizer", "dense", "activations", "total", "of", ""):
        devices.add_column(name, justify="right")
    least, most = (pick(found.devices, key=lambda d: d.total) for pick in (min, max))
    for label, d in (("the fullest", most), ("the emptiest", least)):
        parts = (d.tables, d.optimizer, d.dense, d.activations, d.total, found.cluster.capacity)
        devices.add_row(label, *map(human, parts), f"{d.total / found.cluster.capacity:.0%}")
    console.print(devices)
    for line in lines_of(found):
        console.print(line, soft_wrap=True)
    for problem in found.problems:
        console.print(f"[red bold]does not fit[/]: {problem.text}")
        for help_ in problem.helps:
            console.print(f"  · {help_}")
    if found.fits:
        console.print("[green]it fits[/]")


def _print_theirs(theirs: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title="TorchRec's planner", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("table", "sharding", "kernel", "devices"):
        table.add_column(name)
    for row in theirs:
        table.add_row(row["table"], row["sharding"], row["kernel"], _ranges(row["devices"]))
    Console(highlight=False, width=120).print(table)


def _ranges(numbers: list[int]) -> str:
    """Write 0, 1, 2, 5 as `0 to 2, 5`."""
    parts: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1] = parts[-1][0], number
        else:
            parts.append((number, number))
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)
