"""Devices: assign each value a device, and insert the transfers between devices.

Assumes: nothing; it runs after the passes that change what is computed.

Promises: without a `place` nothing changes. Otherwise every node has the name of a device, and an operation's
inputs are on its own device. A value is transferred at most once to each other device: packed, so without
padding, and as looked-up rows, never as a table. Values that are the same in every example (numbers,
positions, lengths) are not transferred but computed on each device that reads them. A weight is on the device
of the node that reads it.

Leaves to others: which target a device is when the model runs (specc_runtime.devices).
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
BYTES = 4  # of one channel, in single precision
_ID_BYTES = 8


@dataclass(frozen=True)
class Move:
    """A value that is transferred to another device, once a batch.

    origin: a device's name, or "batch" for what comes from data. bytes: for one example with every sequence
    at its bound; shorter sequences transfer less. once: the value is the same in every example, so that its
    size does not depend on the batch's. training: it is transferred in training only (labels).
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
    """Return the device of each weight, by path; empty for a model without places."""
    return {path: n.device for n in walk(graph.nodes) if n.device is not None for path in n.weights}


# ---------------------------------------------------------------- homes


@dataclass(frozen=True)
class _Declared:
    """The names at the top level of a spec, by what they name."""

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
    """Return the device of each outermost node. Nodes that share a weight are on one device: where the
    weight's owner is placed, else where the first placed node among them is, else with the rest."""
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
    """Weights that must be on one device because one operation reads them."""

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
    """Return where a node is placed by a name: of its field or space, else of the innermost placed instance,
    block or binding around it. None if by none."""
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
    """Yield the names by which a node may be placed, outermost first: the path of each instance around it
    (`joined.activation_2`), and that instance's block. At the top level a name is a declaration. Within a
    block names are local, so there a name counts only if no other declaration of the top level has it."""
    path = ""
    # A field's node has a generated name, which no `place` means.
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
    """Return where the declaration that owns a weight is placed, if a `place` names it. Only tables, learned
    values and layers own weights; bindings and blocks are found by the nodes' scopes. A table within a space
    is placed by its field (`user.id`) or space."""
    weight = graph.weights[path]
    space = weight.owner.partition(".")[0]
    for name in (weight.owner, *((space,) if space in declared.spaces else ())):
        if name in graph.places and name not in declared.values:
            return graph.places[name]
    if weight.kind == "table" and TABLES not in declared:
        return graph.places.get(TABLES)
    return None


def _canonical(graph: Graph, device: str) -> str:
    """Return the first device with the same target: between two names of one target nothing is transferred. A
    device that is `auto` stays by itself, because its target is known only when a model is loaded."""
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
    # The operands of a prediction's loss are transferred to the prediction's device.
    predicted = {p.name: homes[p.node] for p in graph.predictions}
    losses = tuple(
        x if (of := x.weighs or x.chooses) is None else replace(x, node=on(x.node, predicted[of]))
        for x in graph.losses
    )
    graph = replace(graph, losses=losses)
    return graph.with_nodes(_without_idle(tuple(result), graph))


def _made_anywhere(node: Node) -> bool:
    """Return whether a value is computed on every device that reads it, because that costs less than a
    transfer."""
    return traits(node).source in (Origin.LITERAL, Origin.AXIS)


def _settled(node: Node, device: str) -> Node:
    region = node.region
    if region is not None:
        region = replace(region, nodes=tuple(_settled(n, device) for n in region.nodes))
    return replace(node, device=device, region=region)


def _without_idle(nodes: tuple[Node, ...], graph: Graph) -> tuple[Node, ...]:
    """Return the nodes without numbers and positions whose readers all have a copy on their own device."""
    read = {i for n in nodes for i in n.inputs} | set(graph.outputs) | set(graph.bindings.values())
    read |= {i for a in graph.attentions for i in (a.weight, a.score) if i is not None}
    return tuple(n for n in nodes if n.id in read or not _made_anywhere(n))


# ------------------------------------------------------------- summary


def moves(graph: Graph) -> tuple[Move, ...]:
    """Return the transfers of a placed graph: ids, numbers, lengths and labels from the batch to the devices
    that read them, then the transfers between devices in their order. Empty for a model without places."""
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
    """Return whether a value consists of keys, which are integers."""
    moved = node.op in (op.ACROSS, op.TRANSFER)
    return node.op == op.KEY or (moved and _of_keys(graph, graph.node(node.inputs[0])))


def _away(graph: Graph, device: str | None) -> bool:
    """Return whether a device is not the one of batches, which are on the CPU."""
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
            # A multi-valued field: for each value an id, and its weight if it has one; for each row a count.
            width = 2 * _ID_BYTES if path in several else _ID_BYTES
            if "weight" in fields[path].options:
                width += BYTES
            if node.op == op.INPUT:
                width = BYTES * fields[path].width
            type_ = node.type.with_width(fields[path].width)
            yield Move(path, type_, "batch", device, width * positions(node.type))


def _lengths(graph: Graph) -> Iterator[Move]:
    """Yield the lengths of the sequences that values on a device have axes for: row counts, and the owner of
    each row."""
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
    """Yield the spaces' own axes that an axis is derived from or nested in, parents first."""
    if axis.parent is not None:
        yield from roots(axis.parent)
    for source in axis.source:
        yield from roots(source)
    if axis.kind == "space" and axis.ragged:
        yield axis


def _parents(axis: Axis) -> list[Axis]:
    return [] if axis.parent is None else [*_parents(axis.parent), axis.parent]


def _labels(graph: Graph) -> Iterator[Move]:
    """Yield the transfers of labels: to their prediction's device and to those of other readers."""
    predictions = {p.name: p for p in graph.predictions}
    readers = [(p.name, graph.node(p.node).device) for p in graph.predictions]
    readers += [(n.attrs["prediction"], n.device) for n in walk(graph.nodes) if n.op == op.LABEL]
    for name, device in dict.fromkeys(readers):
        if device is not None and _away(graph, device):
            size = _ID_BYTES if predictions[name].kind == "class" else BYTES
            yield Move(f"label of {name}", Type((), 1), "batch", device, size, training=True)


def same_everywhere(graph: Graph, node: Node) -> bool:
    """Return whether all examples share one row of a value: it depends on none, or on the whole batch."""
    if node.op == op.ACROSS:
        return True
    if traits(node).source not in (None, Origin.DATA):
        axis = node.attrs.get("axis")
        return not any(a.ragged for a in (*node.type.axes, *((axis,) if isinstance(axis, Axis) else ())))
    if node.region is not None or node.op == op.TO_ROWS or not pure(node):
        return False  # one row for each example, even if all are equal
    return bool(node.inputs) and all(same_everywhere(graph, graph.node(i)) for i in node.inputs)


def positions(type_: Type) -> int:
    """Return how many positions a value has at most."""
    number = 1
    for axis in type_.axes:
        number *= axis.bound if axis.size is None else axis.size
    return number


def value_name(graph: Graph, node: Node) -> str:
    """Return a value's name for messages: its binding, else the field or weight that it is read from, else
    its scope."""
    if isinstance(node.attrs.get("field"), str):
        return str(node.attrs["field"])
    if node.op == op.LOOKUP:
        first, *others = node.attrs["fields"]
        return f"{first} and {len(others)} more" if len(others) > 2 else ", ".join((first, *others))
    if node.name is not None:
        scope = node.scope if node.scope.split(".")[-1] != node.name else node.scope.rpartition(".")[0]
        return f"{scope}.{node.name}" if scope else node.name
    if node.op in (op.LEARNED, op.ROWS):
        return node.weights[0]
    bound = next((name for name, id in graph.bindings.items() if id == node.id), None)
    return bound or f"{node.op} in {node.scope}" if node.scope else bound or node.op


# ----------------------------------------------------------- soundness


def check_places(graph: Graph, report: Report) -> None:
    """Report places that contradict each other (E0605) and places that match nothing (W0709)."""
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
    """Return every name that a `place` of this graph may use."""
    declared = _Declared.of(graph)
    known = {REST, TABLES, *declared.values, *declared.spaces, *declared.owners}
    known |= {f.path for s in graph.spaces for f in s.fields}
    return known | {name for node in graph.nodes for names in _names(node, declared) for name in names}


def _unused(graph: Graph, declared: _Declared) -> list[str]:
    found = placeable(graph)
    return [name for name in graph.places if name not in found]
