"""Devices: where each value is computed, and the transfers between them.

Assumes: nothing; it runs after the passes that change what is computed.
Promises: without a `place` nothing changes. Otherwise every node has the name of a device, an operation's
inputs are on its own device, and a value is moved at most once to each other device: packed, so only
positions that exist, and as looked-up rows, never a table. What is the same in every example (numbers,
positions, lengths) is not moved but made where it is needed. Weights are where the node that reads them is.
Leaves to others: what a device's name stands for when the model runs (specc_runtime.devices).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from specc.graph.ir import Graph, Node, walk
from specc.report import Report
from specc.types.axis import Type

REST, TABLES = "rest", "tables"
BYTES = 4  # of one channel
_ID_BYTES = 8
# Made on every device that needs them: they cost less than a move.
_MADE_ANYWHERE = frozenset({"constant", "index", "length"})


@dataclass(frozen=True)
class Move:
    """A value that goes to another device once a batch.

    bytes: of one example with every sequence at its bound; histories shorter than that move less.
    """

    value: str
    type: Type
    origin: str
    destination: str
    bytes: int


def place(graph: Graph) -> Graph:
    if not graph.places:
        return graph
    targets = {**graph.devices}
    if REST not in graph.places:
        targets.setdefault(REST, "auto")
    graph = replace(graph, devices=targets)
    homes = _homes(graph)
    return _with_transfers(graph, homes)


def device_of_weight(graph: Graph) -> dict[str, str]:
    """By weight path the device it lives on; empty for a model without places."""
    return {path: n.device for n in walk(graph.nodes) if n.device is not None for path in n.weights}


# ---------------------------------------------------------------- homes


def _homes(graph: Graph) -> dict[int, str]:
    """The device of each outermost node. Nodes that share a weight are on one device: where its owner is
    placed, or else where the first of them is."""
    wished = {node.id: _wish(graph, node) for node in graph.nodes}
    leaders: dict[str, str] = {}
    for weights in (_weights(node) for node in graph.nodes):
        for path in weights:
            _join(leaders, weights[0], path)
    homes: dict[str, str] = {}
    for node in graph.nodes:
        for path in _weights(node):
            owned = _owner_place(graph, path)
            if owned is not None:
                homes.setdefault(_leader(leaders, path), owned)
    placed: dict[int, str] = {}
    for node in graph.nodes:
        if node.op == "scan_out":
            placed[node.id] = placed[node.inputs[0]]
            continue
        weights = _weights(node)
        wish = wished[node.id]
        placed[node.id] = homes.setdefault(_leader(leaders, weights[0]), wish) if weights else wish
    return placed


def _weights(node: Node) -> list[str]:
    return [path for inner in walk((node,)) for path in inner.weights]


def _leader(leaders: dict[str, str], path: str) -> str:
    while leaders.get(path, path) != path:
        path = leaders[path]
    return path


def _join(leaders: dict[str, str], first: str, second: str) -> None:
    one, other = _leader(leaders, first), _leader(leaders, second)
    leaders[other] = one


def _wish(graph: Graph, node: Node) -> str:
    """Where a node's own names put it: its space, else the innermost placed block or binding, else the
    rest."""
    field = node.attrs.get("field")
    if isinstance(field, str) and (space := field.partition(".")[0]) in graph.places:
        return _canonical(graph, graph.places[space])
    values = _values(graph)
    parts = _parts(node)
    for part in reversed(parts):
        # Inside a block a name may be anything: only at the top is it the declared value.
        if part in graph.places and (part not in values or part == parts[0]):
            return _canonical(graph, graph.places[part])
    return _canonical(graph, graph.places.get(REST, REST))


def _owner_place(graph: Graph, path: str) -> str | None:
    """Where the declaration that a weight belongs to is placed, if it is named in a `place`.

    Only declarations that hold weights are asked (tables, learned values, layers): bindings and blocks
    are by name in the nodes' scopes.
    """
    weight = graph.weights[path]
    if weight.owner in graph.places and weight.owner not in _values(graph):
        return _canonical(graph, graph.places[weight.owner])
    if weight.kind == "table" and TABLES in graph.places:
        return _canonical(graph, graph.places[TABLES])
    return None


def _values(graph: Graph) -> set[str]:
    """The names of top-level bindings, predictions and losses."""
    return {*graph.bindings, *(p.name for p in graph.predictions), *(x.name for x in graph.losses)}


def _parts(node: Node) -> list[str]:
    """The names of the instances and bindings a node stands in, second calls by their block's name."""
    names: list[str] = []
    for part in (*node.scope.split("."), node.name or ""):
        stem, _, number = part.rpartition("_")
        names += [stem, part] if stem and number.isdigit() else [part]
    return [name for name in names if name]


def _canonical(graph: Graph, device: str) -> str:
    """The first device with the same target: two names for one place need no moves between them.

    Of `auto` it is not known before a model is loaded what it stands for, so it is its own place.
    """
    target = graph.devices.get(device, device)
    return next((name for name, other in graph.devices.items() if other == target), device)


# ------------------------------------------------------------ transfers


def _with_transfers(graph: Graph, homes: Mapping[int, str]) -> Graph:
    fresh = count(max((n.id for n in walk(graph.nodes)), default=-1) + 1)
    index = {n.id: n for n in graph.nodes}
    there: dict[tuple[int, str], int] = {}  # a value on a device it was not computed on
    result: list[Node] = []

    def on(id: int, device: str) -> int:
        if homes[id] == device:
            return id
        if (id, device) not in there:
            node = index[id]
            if node.op in _MADE_ANYWHERE:
                made = replace(node, id=next(fresh), device=device)
            else:
                made = Node(
                    next(fresh), "transfer", (id,), node.type, node.span, {"device": device}, (), node.scope,
                    role=node.role, device=device,
                )  # fmt: skip
            result.append(made)
            there[id, device] = made.id
        return there[id, device]

    for node in graph.nodes:
        home = homes[node.id]
        inputs = tuple(on(i, home) for i in node.inputs)
        result.append(_settled(replace(node, inputs=inputs), home))
    return graph.with_nodes(_without_idle(tuple(result), graph))


def _settled(node: Node, device: str) -> Node:
    region = node.region
    if region is not None:
        region = replace(region, nodes=tuple(_settled(n, device) for n in region.nodes))
    return replace(node, device=device, region=region)


def _without_idle(nodes: tuple[Node, ...], graph: Graph) -> tuple[Node, ...]:
    """Without numbers and positions that were made elsewhere for all who read them."""
    read = {i for n in nodes for i in n.inputs} | set(graph.outputs) | set(graph.bindings.values())
    read |= {i for a in graph.attentions for i in (a.weight, a.score) if i is not None}
    return tuple(n for n in nodes if n.id in read or n.op not in _MADE_ANYWHERE)


# ------------------------------------------------------------- summary


def moves(graph: Graph) -> tuple[Move, ...]:
    """The moves of a placed graph, in their order: ids and numbers from the batch to where they are read,
    then every transfer. Empty for a model without places."""
    found = list(_feeds(graph))
    for node in graph.nodes:
        if node.op == "transfer":
            source = graph.node(node.inputs[0])
            assert source.device is not None
            assert node.device is not None
            size = BYTES * positions(node.type) * node.type.width
            found.append(Move(value_name(graph, source), node.type, source.device, node.device, size))
    return tuple(found)


def _feeds(graph: Graph) -> Iterator[Move]:
    fields = {f.path: f for s in graph.spaces for f in s.fields}
    seen: set[tuple[str, str]] = set()
    for node in graph.nodes:
        path = node.attrs.get("field")
        if not isinstance(path, str) or node.device is None or (path, node.device) in seen:
            continue
        seen.add((path, node.device))
        if graph.devices.get(node.device) == "cpu":
            continue  # where batches come from
        width = BYTES * fields[path].width if node.op == "input" else _ID_BYTES
        yield Move(path, node.type, "batch", node.device, width * positions(node.type))


def positions(type_: Type) -> int:
    """How many positions a value has at most."""
    number = 1
    for axis in type_.axes:
        number *= axis.bound if axis.size is None else axis.size
    return number


def value_name(graph: Graph, node: Node) -> str:
    """What a person calls a value: its binding, else the field or weight it is read from, else its place."""
    if isinstance(node.attrs.get("field"), str):
        return str(node.attrs["field"])
    if node.name is not None:
        scope = node.scope if node.scope.split(".")[-1] != node.name else node.scope.rpartition(".")[0]
        return f"{scope}.{node.name}" if scope else node.name
    if node.op == "learned":
        return node.weights[0]
    bound = next((name for name, id in graph.bindings.items() if id == node.id), None)
    return bound or f"{node.op} in {node.scope}" if node.scope else bound or node.op


# ----------------------------------------------------------- soundness


def check_places(graph: Graph, report: Report) -> None:
    """Report places that contradict each other (E0605) or that nothing is at (W0709)."""
    values = _values(graph)
    for node in graph.nodes:
        owners = {graph.weights[path].owner for path in _weights(node)} - values
        homes = {_canonical(graph, graph.places[o]): o for o in sorted(owners) if o in graph.places}
        if len(homes) > 1:
            (one, first), (other, second) = list(homes.items())[:2]
            report.error(
                "E0605",
                f"`{first}` is placed on {one} and `{second}` on {other}, and one operation reads both",
                node.span,
                why="what one step of a scan reads is on one device: a step cannot wait for a move",
                help=f"place `{first}` and `{second}` on the same device",
            )
    known = {REST, TABLES, *_values(graph), *(s.name for s in graph.spaces)}
    known |= {w.owner for w in graph.weights.values()}
    known |= {part for node in graph.nodes for part in _parts(node)}
    for name in _unused(graph.places, known):
        report.warning(
            "W0709",
            f"`{name}` is placed on {graph.places[name]}, but no value of the model is there",
            graph.nodes[0].span,
            help=f"use `{name}`, or remove it from `place`",
        )


def _unused(places: Mapping[str, str], known: Iterable[str]) -> list[str]:
    found = set(known)
    return [name for name in places if name not in found]
