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
from dataclasses import replace
from itertools import count

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node, fields_of, readings, walk
from specc.ops import Origin, op, pure, traits
from specc.passes.lift import lift_sources
from specc.report import Label, Report
from specc.source import Source, Span
from specc.types.axis import Axis, Type

REST, TABLES = "rest", "tables"
BYTES = 4  # of one channel
_ID_BYTES = 8


@dataclass(frozen=True)
class Move:
    """A value that goes to another device once a batch.

    origin: a device's name, or "batch" for what was read from data.
    bytes: of one example with every sequence at its bound; histories shorter than that move less.
    once: whether the value is the same in every example: its bytes move once, however large the batch.
    training: whether it moves in training only (labels).
    """

    value: str
    type: Type
    origin: str
    destination: str
    bytes: int
    once: bool = False
    training: bool = False


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


@dataclass(frozen=True)
class _Declared:
    """The names at the top of a spec, by what they are."""

    values: frozenset[str]  # bindings, predictions, losses
    spaces: frozenset[str]
    owners: frozenset[str]  # tables, learned values, layers

    @staticmethod
    def of(graph: Graph) -> _Declared:
        values = {*graph.bindings, *(p.name for p in graph.predictions)}
        values |= {r.name for r in graph.results} | {x.name for x in graph.losses}
        spaces = {s.name for s in graph.spaces}
        owners = {w.owner for w in graph.weights.values()} - values
        return _Declared(frozenset(values), frozenset(spaces), frozenset(owners))

    def __contains__(self, name: str) -> bool:
        return name in self.values or name in self.spaces or name in self.owners


def _homes(graph: Graph) -> dict[int, str]:
    """The device of each outermost node. Nodes that share a weight are on one device: where its owner is
    placed, else where the first of them that is placed is, else with the rest."""
    declared = _Declared.of(graph)
    bound = {id: graph.places[name] for name, id in graph.bindings.items() if name in graph.places}
    wished = {n.id: bound.get(n.id) or _wish(graph, n, declared) for n in graph.nodes}
    groups = _Groups.of(graph)
    homes: dict[str, str] = {}
    for path in groups.paths:
        owned = _owner_place(graph, path, declared)
        if owned is not None:
            homes.setdefault(groups.leader(path), owned)
    for node in graph.nodes:
        wish = wished[node.id]
        if wish is not None and (weights := _weights(node)):
            homes.setdefault(groups.leader(weights[0]), wish)
    rest = graph.places.get(REST, REST)
    placed: dict[int, str] = {}
    for node in graph.nodes:
        weights = _weights(node)
        if node.op == op.SCAN_OUT:
            placed[node.id] = placed[node.inputs[0]]
        elif weights:
            placed[node.id] = _canonical(graph, homes.get(groups.leader(weights[0]), rest))
        else:
            placed[node.id] = _canonical(graph, wished[node.id] or rest)
    return placed


class _Groups:
    """Weights that are on one device because one operation reads them."""

    def __init__(self) -> None:
        self._leaders: dict[str, str] = {}

    @staticmethod
    def of(graph: Graph) -> _Groups:
        groups = _Groups()
        for weights in map(_weights, graph.nodes):
            for path in weights:
                one, other = groups.leader(weights[0]), groups.leader(path)
                groups._leaders[other] = one
        return groups

    @property
    def paths(self) -> Iterable[str]:
        return self._leaders

    def leader(self, path: str) -> str:
        while (above := self._leaders.get(path, path)) != path:
            path = above
        return path


def _weights(node: Node) -> list[str]:
    return [path for inner in walk((node,)) for path in inner.weights]


def _wish(graph: Graph, node: Node, declared: _Declared) -> str | None:
    """Where a node's own names put it: its field or space, else the innermost placed instance, block or
    binding that it stands in."""
    field = node.attrs.get("field")
    if isinstance(field, str):
        for name in (field, field.partition(".")[0]):
            if name in graph.places:
                return graph.places[name]
    for names in reversed(list(_names(node, declared))):
        for name in names:
            if name in graph.places:
                return graph.places[name]
    return None


def _names(node: Node, declared: _Declared) -> Iterator[tuple[str, ...]]:
    """By what names a node may be placed, outermost first: the path of each instance it stands in
    (`joined.activation_2`), and that instance's block. At the top a name is a declaration; within a block a
    name may be anything, so there only those count that are not declared at the top as something else."""
    path = ""
    # A field's node has a made-up name.
    name = "" if "field" in node.attrs else node.name or ""
    for part in (*node.scope.split("."), name):
        if not part:
            continue
        if not path:
            path = part
            yield (path,)
            continue
        path = f"{path}.{part}"
        stem, _, number = part.rpartition("_")
        blocks = [part, stem] if stem and number.isdigit() else [part]
        yield (path, *(name for name in blocks if name not in declared))


def _owner_place(graph: Graph, path: str, declared: _Declared) -> str | None:
    """Where the declaration that a weight belongs to is placed, if it is named in a `place`.

    Only declarations that hold weights are asked (tables, learned values, layers): bindings and blocks
    are by name in the nodes' scopes. A table within a space is placed by its field (`user.id`) or space.
    """
    weight = graph.weights[path]
    space = weight.owner.partition(".")[0]
    for name in (weight.owner, *((space,) if space in declared.spaces else ())):
        if name in graph.places and name not in declared.values:
            return graph.places[name]
    if weight.kind == "table" and TABLES not in declared:
        return graph.places.get(TABLES)
    return None


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
            if _made_anywhere(node):
                made = replace(node, id=next(fresh), device=device)
            else:
                made = Node(
                    next(fresh), op.TRANSFER, (id,), node.type, node.span, {"device": device}, (), node.scope,
                    role=node.role, device=device,
                )  # fmt: skip
            result.append(made)
            there[id, device] = made.id
        return there[id, device]

    for node in graph.nodes:
        home = homes[node.id]
        inputs = tuple(on(i, home) for i in node.inputs)
        result.append(_settled(replace(node, inputs=inputs), home))
    # What a prediction's loss is made of comes to where the prediction is.
    predicted = {p.name: homes[p.node] for p in graph.predictions}
    losses = tuple(
        x if (of := x.weighs or x.chooses) is None else replace(x, node=on(x.node, predicted[of]))
        for x in graph.losses
    )
    graph = replace(graph, losses=losses)
    return graph.with_nodes(_without_idle(tuple(result), graph))


def _made_anywhere(node: Node) -> bool:
    """Whether a value is made on every device that needs it: that costs less than a move."""
    return traits(node).source in (Origin.LITERAL, Origin.AXIS)


def _settled(node: Node, device: str) -> Node:
    region = node.region
    if region is not None:
        region = replace(region, nodes=tuple(_settled(n, device) for n in region.nodes))
    return replace(node, device=device, region=region)


def _without_idle(nodes: tuple[Node, ...], graph: Graph) -> tuple[Node, ...]:
    """Without numbers and positions that were made elsewhere for all who read them."""
    read = {i for n in nodes for i in n.inputs} | set(graph.outputs) | set(graph.bindings.values())
    read |= {i for a in graph.attentions for i in (a.weight, a.score) if i is not None}
    return tuple(n for n in nodes if n.id in read or not _made_anywhere(n))


# ------------------------------------------------------------- summary


def moves(graph: Graph) -> tuple[Move, ...]:
    """The moves of a placed graph: ids, numbers, lengths and labels from the batch to where they are read,
    then every transfer in its order. Empty for a model without places."""
    found = [*_feeds(graph), *_lengths(graph), *_labels(graph)]
    for node in graph.nodes:
        if node.op == op.TRANSFER:
            source = graph.node(node.inputs[0])
            assert source.device is not None
            assert node.device is not None
            channel = _ID_BYTES if _of_keys(graph, source) else BYTES
            size = channel * positions(node.type) * node.type.width
            name, once = value_name(graph, source), same_everywhere(graph, source)
            found.append(Move(name, node.type, source.device, node.device, size, once))
    return tuple(found)


def _of_keys(graph: Graph, node: Node) -> bool:
    """Whether a value is of keys, which are integers."""
    moved = node.op in (op.ACROSS, op.TRANSFER)
    return node.op == op.KEY or (moved and _of_keys(graph, graph.node(node.inputs[0])))


def _away(graph: Graph, device: str | None) -> bool:
    """Whether a device is another than that of batches, which are made on the CPU."""
    return device is not None and graph.devices.get(device) != "cpu"


def _feeds(graph: Graph) -> Iterator[Move]:
    fields = {f.path: f for s in graph.spaces for f in s.fields}
    seen: set[tuple[str, str]] = set()
    for node in graph.nodes:
        device = node.device
        if device is None or not _away(graph, device):
            continue
        several = {r.field for r in readings(node) if r.mode is not None}
        for path in fields_of(node):
            if (path, device) in seen:
                continue
            seen.add((path, device))
            # Of a field with several values a row: one, its weight if it has one, and how many there are.
            width = 2 * _ID_BYTES if path in several else _ID_BYTES
            if "weight" in fields[path].options:
                width += BYTES
            if node.op == op.INPUT:
                width = BYTES * fields[path].width
            type_ = node.type.with_width(fields[path].width)
            yield Move(path, type_, "batch", device, width * positions(node.type))


def _lengths(graph: Graph) -> Iterator[Move]:
    """Lengths of the sequences that a device has values along: how many rows there are, and whose."""
    seen: set[tuple[Axis, str]] = set()
    for node in walk(graph.nodes):
        device, own = node.device, node.attrs.get("axis")
        if device is None or not _away(graph, device):
            continue
        for axis in (*node.type.axes, *((own,) if isinstance(own, Axis) else ())):
            for root in roots(axis):
                if (root, device) in seen:
                    continue
                seen.add((root, device))
                type_ = Type(tuple(_parents(root)), 1)
                name = f"length of {root.key[1]}.{root.key[2]}"
                yield Move(name, type_, "batch", device, _ID_BYTES * positions(type_))


def roots(axis: Axis) -> Iterator[Axis]:
    """The axes of spaces that an axis comes from or lies in, parents first."""
    if axis.parent is not None:
        yield from roots(axis.parent)
    for source in axis.source:
        yield from roots(source)
    if axis.kind == "space" and axis.ragged:
        yield axis


def _parents(axis: Axis) -> list[Axis]:
    return [] if axis.parent is None else [*_parents(axis.parent), axis.parent]


def _labels(graph: Graph) -> Iterator[Move]:
    """Labels go to where their prediction is, and to whatever else reads them."""
    predictions = {p.name: p for p in graph.predictions}
    readers = [(p.name, graph.node(p.node).device) for p in graph.predictions]
    readers += [(n.attrs["prediction"], n.device) for n in walk(graph.nodes) if n.op == op.LABEL]
    for name, device in dict.fromkeys(readers):
        if device is not None and _away(graph, device):
            size = _ID_BYTES if predictions[name].kind == "class" else BYTES
            yield Move(f"label of {name}", Type((), 1), "batch", device, size, training=True)


def same_everywhere(graph: Graph, node: Node) -> bool:
    """Whether a value has one row for all examples: it is of none, or of the whole batch."""
    if node.op == op.ACROSS:
        return True
    if traits(node).source not in (None, Origin.DATA):
        axis = node.attrs.get("axis")
        return not any(a.ragged for a in (*node.type.axes, *((axis,) if isinstance(axis, Axis) else ())))
    if node.region is not None or not pure(node):
        return False  # there is one for each example, even of the same value in all
    return bool(node.inputs) and all(same_everywhere(graph, graph.node(i)) for i in node.inputs)


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
    if node.op == op.LOOKUP:
        first, *others = node.attrs["fields"]
        return f"{first} and {len(others)} more" if len(others) > 2 else ", ".join((first, *others))
    if node.name is not None:
        scope = node.scope if node.scope.split(".")[-1] != node.name else node.scope.rpartition(".")[0]
        return f"{scope}.{node.name}" if scope else node.name
    if node.op == op.LEARNED:
        return node.weights[0]
    bound = next((name for name, id in graph.bindings.items() if id == node.id), None)
    return bound or f"{node.op} in {node.scope}" if node.scope else bound or node.op


# ----------------------------------------------------------- soundness


def check_places(graph: Graph, report: Report) -> None:
    """Report places that contradict each other (E0605) or that nothing is at (W0709)."""
    if not graph.places:
        return
    graph = lift_sources(graph)
    declared = _Declared.of(graph)
    groups = _Groups.of(graph)
    start = Span(Source(graph.source, ""), 0, 0)
    seen: dict[str, dict[str, str]] = {}  # by group, its homes and who asks for each
    for node in graph.nodes:
        for path in _weights(node):
            home = _owner_place(graph, path, declared)
            if home is None:
                continue
            asked = seen.setdefault(groups.leader(path), {})
            asked.setdefault(_canonical(graph, home), graph.weights[path].owner)
            if len(asked) > 1:
                (one, first), (other, second) = list(asked.items())[:2]
                report.error(
                    "E0605",
                    f"`{first}` is placed on {one} and `{second}` on {other}, and one operation reads both",
                    node.span,
                    why="what one step of a scan reads is on one device: a step cannot wait for a move",
                    help=f"place `{first}` and `{second}` on the same device",
                    secondary=tuple(
                        Label(graph.place_spans[name], f"`{name}` is placed here")
                        for name in (first, second)
                        if name in graph.place_spans
                    ),
                )
    for name in _unused(graph, declared):
        report.warning(
            "W0709",
            f"`{name}` is placed on {graph.places[name]}, but no value of the model is there",
            graph.place_spans.get(name, start),
            help=f"use `{name}`, or remove it from `place`",
        )


def placeable(graph: Graph) -> set[str]:
    """Every name that a place of this graph may have."""
    declared = _Declared.of(graph)
    known = {REST, TABLES, *declared.values, *declared.spaces, *declared.owners}
    known |= {f.path for s in graph.spaces for f in s.fields}
    return known | {name for node in graph.nodes for names in _names(node, declared) for name in names}


def _unused(graph: Graph, declared: _Declared) -> list[str]:
    found = placeable(graph)
    return [name for name in graph.places if name not in found]
