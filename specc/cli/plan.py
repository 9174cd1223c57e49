"""`specc plan`: memory and moves by device, and a placement that fits, from a spec alone.

Promises: no torch is loaded. With `--devices` a placement is proposed, and written on request as what
`--placement` reads or as lines of the spec; without, the plan of the spec as it is placed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from specc.cli.cluster import cluster_options, plan_cluster
from specc.cli.common import FAULTS, fail, place_options, placement_from, set_option, show
from specc.cli.numbers import Whole

if TYPE_CHECKING:
    from rich.console import Console

    from specc.devices import Placement
    from specc.ir.graph import Graph
    from specc.plan.memory import Mode
    from specc.plan.sizes import Device
    from specc.plan.task import Plan, Task


def _sizes(ctx: click.Context, param: click.Parameter, given: str | None) -> list[Device] | tuple[int, int]:
    """Return devices, or the number and bytes of `8x80GB`."""
    from specc.plan.cluster import cluster_of
    from specc.plan.sizes import SizeError, devices

    try:
        return (cluster_of(given) or devices(given)) if given is not None else []
    except SizeError as fault:
        raise click.BadParameter(str(fault)) from None


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "--devices",
    "sizes",
    metavar="DEVICE=SIZE,...",
    callback=_sizes,
    help="The devices that there are, such as cuda:0=80GB,cuda:1=24GiB,cpu=256GB: a placement is proposed. "
    "8x80GB is eight between which tables are divided, in training.",
)
@cluster_options
@click.option("--batch", type=Whole(1), help="Examples a step; without it the spec's own.")
@click.option(
    "--lengths",
    type=click.Path(exists=True),
    metavar="DATA",
    help="Parquet examples to take the lengths of sequences from; without, all are at their bounds.",
)
@click.option(
    "--for",
    "mode",
    type=click.Choice(["training", "scoring"]),
    default="training",
    show_default=True,
    help="What has to fit.",
)
@click.option(
    "--headroom",
    type=click.FloatRange(0, 0.9),
    default=0.05,
    show_default=True,
    help="The share of each device that is left free.",
)
@click.option(
    "--rows",
    multiple=True,
    metavar="TABLE=N",
    callback=lambda ctx, param, given: _counts(given),
    help="Plan for a table of so many rows, such as --rows items=100_000_000. Repeatable.",
)
@click.option("--keep", is_flag=True, help="Keep the spec's places; only say whether they fit.")
@set_option
@place_options
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
@click.option("--write", type=click.Path(dir_okay=False), help="Write the placement as YAML for --placement.")
@click.option("--lines", is_flag=True, help="Print the placement as lines of a spec, and nothing else.")
def command(
    file: str,
    sizes: list[Device] | tuple[int, int],
    batch: int | None,
    lengths: str | None,
    mode: str,
    headroom: float,
    rows: dict[str, int],
    keep: bool,
    params: dict[str, Any],
    places: tuple[str, ...],
    devices: tuple[str, ...],
    placement_file: str | None,
    as_json: bool,
    write: str | None,
    lines: bool,
    **of_cluster: Any,
) -> None:
    """Predict memory by device, and propose places.

    Exit codes: 0 it fits (or no sizes are given), 1 it does not or the spec has faults, 2 wrong usage.
    """
    from specc.plan.solver import plan_as_placed, propose

    wanted = placement_from(places, devices, placement_file)
    graph = _with_rows(_graph(file, params, wanted, as_json), rows)
    if isinstance(sizes, tuple):
        if wanted.places or keep or write or lines or mode == "scoring":
            raise click.UsageError(
                f"--devices {sizes[0]}x… divides tables between equal devices, for training: --place, "
                "--placement, --keep, --write, --lines and --for scoring are of devices with names"
            )
        sys.exit(
            plan_cluster(graph, *sizes, _task(graph, batch, lengths, mode, headroom), of_cluster, as_json)
        )
    if given := [name for name, value in of_cluster.items() if value is not None]:
        raise click.UsageError(f"--{given[0].replace('_', '-')} is of a cluster, such as --devices 8x80GB")
    task = _task(graph, batch, lengths, mode, headroom if sizes else 0.0)
    if sizes and not keep:
        fixed = {name: graph.devices[d] for name, d in graph.places.items() if name in wanted.places}
        for name, target in fixed.items():
            if target not in {d.target for d in sizes}:
                raise click.UsageError(f"{name} is to be on {target}, which --devices does not have")
        plan = propose(graph, sizes, task, fixed)
    else:
        plan = plan_as_placed(graph, sizes, task)
    _hand_out(plan, task, as_json, write, lines)
    sys.exit(0 if plan.fits else FAULTS)


def _counts(given: tuple[str, ...]) -> dict[str, int]:
    """Parse `items=100_000_000` as numbers by name."""
    found: dict[str, int] = {}
    for text in given:
        name, _, number = (part.strip() for part in text.partition("="))
        digits = number.replace("_", "")
        if not name or not (digits.isascii() and digits.isdigit()) or not int(digits):
            raise click.BadParameter(f"{text!r} is not TABLE=N, such as items=100_000_000")
        found[name] = int(digits)
    return found


def _with_rows(graph: Graph, rows: Mapping[str, int]) -> Graph:
    """Return the graph with tables of so many rows: a table, and what `lookup` has beside it."""
    from dataclasses import replace

    from specc.ir.graph import readings
    from specc.report.suggest import nearest

    tables = {w.owner: w.path for w in graph.weights.values() if w.kind == "table"}
    weights = dict(graph.weights)
    for name, count in rows.items():
        if name not in tables:
            close = nearest(name, tables)
            advice = f"did you mean {close}?" if close else f"its tables: {', '.join(tables)}"
            raise click.UsageError(f"{graph.name} has no table {name}; {advice}")
        fields = {f.path for s in graph.spaces for f in s.fields if f.table == tables[name]}
        read = {r.table for n in graph.nodes for r in readings(n) if r.field in fields}
        for path in read:
            weights[path] = replace(weights[path], shape=(count, *weights[path].shape[1:]))
    return replace(graph, weights=weights)


def _graph(file: str, params: Mapping[str, Any], wanted: Placement, as_json: bool) -> Graph:
    """Return the graph after all passes, not placed yet. Ends the command where the spec has faults."""
    from specc.devices import with_placement
    from specc.driver import load
    from specc.passes import before_places

    graph, report = load(file, params)
    if graph is not None:
        graph = with_placement(graph, wanted, report)
    if graph is None or report.has_errors:
        show(report, "json" if as_json else "terminal")
        sys.exit(FAULTS)
    show(report)
    return before_places(graph)


def _task(graph: Graph, batch: int | None, data: str | None, mode: str, headroom: float) -> Task:
    from specc.plan.lengths import Lengths, LengthsError, from_data
    from specc.plan.task import Task

    try:
        lengths = from_data(data, graph) if data else Lengths()
    except LengthsError as fault:
        fail(str(fault))
    size = math.ceil((batch or int(graph.train.get("batch") or 512)) * lengths.candidates)
    return Task(size, lengths, "scoring" if mode == "scoring" else "training", 1 - headroom)


def _hand_out(plan: Plan, task: Task, as_json: bool, write: str | None, lines: bool) -> None:
    from specc.devices import to_lines, to_yaml

    if write:
        from specc_runtime.files import replace_file

        with replace_file(write) as fresh:
            fresh.write_text(to_yaml(plan.graph), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(as_data(plan, task), indent=1))
    elif lines:
        click.echo(to_lines(plan.graph), nl=False)
    else:
        _print(plan, task)
        if write:
            click.echo(f"written to {write}: specc compile FILE --placement {write}")
    if not as_json and lines:
        for problem in plan.problems:
            click.echo(f"does not fit: {problem.text}", err=True)


def as_data(plan: Plan, task: Task) -> dict[str, Any]:
    """Return the plan, JSON-able. Sizes are bytes; those of moves are of one example."""
    from specc.elaborate.sharding import sharded

    return {
        "model": plan.graph.name,
        "batch": task.batch,
        "lengths": "data" if task.lengths.moments else "bounds",
        "for": task.mode,
        "fits": plan.fits,
        "devices": {
            name: {"target": target, "capacity": plan.capacities.get(name) or None}
            for name, target in plan.devices.items()
        },
        "places": dict(plan.places),
        "sharded": sharded(plan.graph),
        "loads": {
            mode: {
                name: {
                    "tables": load.tables,
                    "weights": load.weights,
                    "gradients": load.gradients,
                    "optimizer": load.optimizer,
                    "activations": load.activations,
                    "total": load.total,
                    "allocator_adds": load.added if plan.may_be_cpu(name) else None,
                }
                for name, load in loads.items()
            }
            for mode, loads in plan.loads.items()
        },
        "moves": [
            {
                "value": m.value,
                "type": str(m.type),
                "from": m.origin,
                "to": m.destination,
                "bytes": m.bytes,
                "once_a_batch": m.once,
                "training_only": m.training,
            }
            for m in plan.moves
        ],
        "problems": [
            {"name": p.name, "needs": p.needs, "has": p.has, "text": p.text, "helps": list(p.helps)}
            for p in plan.problems
        ],
    }


# ------------------------------------------------------------------ on paper


def _many(plan: Plan, task: Task) -> str:
    """Return how many examples a step has; a candidate of a request is counted as if it had its own."""
    if not plan.graph.of_requests:
        return f"{task.batch} examples"
    if not task.lengths.moments and task.lengths.candidates == 1:
        return f"{task.batch} requests of one candidate each (--lengths says how many there are)"
    return f"{task.batch} candidates, {task.lengths.candidates:.3g} a request,"


def _print(plan: Plan, task: Task) -> None:
    from rich.console import Console

    from specc.elaborate.sharding import sharded

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    how_long = "lengths as in the data" if task.lengths.moments else "every sequence at its bound"
    console.print(f"[bold]{plan.graph.name}[/bold]: {_many(plan, task)} a step, {how_long}")
    for mode, loads in plan.loads.items():
        console.print(_loads(plan, mode, loads))
    for text in _added(plan, task.mode):
        console.print(text)
    if names := sharded(plan.graph):
        console.print(
            f"whole here, and sharded where several processes train: {', '.join(names)} "
            "(--devices 8x80GB plans that)"
        )
    if plan.moves:
        console.print(_moves(plan, task))
    _verdict(console, plan)


def _loads(plan: Plan, mode: str, loads: Mapping[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    from specc.plan.sizes import human

    table = Table(title=mode, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("device")
    table.add_column("holds", overflow="fold", max_width=40)
    for name in ("tables", "weights", "gradients", "optimizer", "activations", "total"):
        table.add_column(name, justify="right")
    if any(plan.capacities.values()):
        table.add_column("of", justify="right")
        table.add_column("", justify="right")
    for name in sorted(loads, key=lambda n: (plan.devices.get(n, n) == "cpu", plan.devices.get(n, n))):
        load, capacity = loads[name], plan.capacities.get(name, 0)
        target = plan.devices.get(name, "")
        parts = (load.tables, load.weights, load.gradients, load.optimizer, load.activations, load.total)
        cells = [human(x) for x in parts]
        if any(plan.capacities.values()):
            share = load.total / capacity if capacity else 0
            style = "red bold" if share > 1 else ""
            cells += [human(capacity), f"[{style}]{share:.0%}[/]" if style else f"{share:.0%}"]
        label = f"{name} ({target})" if target and target != name else name
        table.add_row(label, _holds(plan, name), *cells)
    return table


def _added(plan: Plan, mode: Mode) -> list[str]:
    """Return a line for each device that may be a CPU: what malloc adds in a process."""
    from specc.plan.memory import ALLOCATOR
    from specc.plan.sizes import human

    shares = " to ".join(f"{100 * share:.0f}" for share in ALLOCATOR)
    return [
        f"{name}: on a CPU, malloc adds {' to '.join(map(human, load.added))} in {mode} "
        f"({shares} % of gradients and activations, as measured)"
        for name, load in plan.loads[mode].items()
        if plan.may_be_cpu(name)
    ]


def _holds(plan: Plan, device: str) -> str:
    """Return what is placed on a device, and the tables that are there with the rest."""
    from specc.passes.placement import REST, device_of_weight

    if not plan.places:
        return "everything"
    weights = plan.graph.weights
    tables = [
        weights[p].owner
        for p, d in device_of_weight(plan.graph).items()
        if d == device and weights[p].kind == "table"
    ]
    names = [name for name, where in plan.places.items() if where == device and name != REST]
    names += [name for name in dict.fromkeys(tables) if name.partition(".")[0] not in names]
    rest = plan.places.get(REST, REST) == device
    return ", ".join([*names, *(["the rest"] if rest else [])])


def _moves(plan: Plan, task: Task) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from specc.plan.sizes import human

    table = Table(title="transfers", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name, side in (("value", "left"), ("type", "left"), ("from", "left"), ("to", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    table.add_column("an example, at most", justify="right")
    table.add_column("a batch", justify="right")
    for m in plan.moves:
        note = " (training)" if m.training else ""
        of_batch = _of_batch(m, task)
        table.add_row(
            m.value + note, escape(str(m.type)), m.origin, m.destination, human(m.bytes), human(of_batch)
        )
    return table


def _of_batch(move: Any, task: Task) -> float:
    from specc.passes.placement import positions

    if move.once:
        return float(move.bytes)
    at_bound = positions(move.type) or 1
    return float(move.bytes * task.batch * task.lengths.positions(move.type) / at_bound)


def _verdict(console: Console, plan: Plan) -> None:
    from rich.markup import escape

    from specc.devices import to_lines
    from specc.elaborate.sharding import sharded

    for problem in plan.problems:
        console.print(f"[red bold]does not fit[/]: {escape(problem.text)}")
        for help_ in problem.helps:
            console.print(f"  · {escape(help_)}")
    if plan.places or sharded(plan.graph):
        console.print("[bold]places[/bold]" if plan.fits else "[bold]places that come nearest[/bold]")
        for line in to_lines(plan.graph).splitlines():
            console.print(f"  {escape(line)}")
    if plan.fits and any(plan.capacities.values()):
        console.print("[green]it fits[/]")
