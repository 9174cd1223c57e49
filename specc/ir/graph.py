"""The typed graph: the whole model as values in single assignment, for one example.

Promises: every node has a type and the span it came from; nothing here says batch, pad or mask.
The meaning of each `op` is in `specc/interpret`; its inputs, attributes and weights are declared
in `specc/ops`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from specc.frozen import dataclass
from specc.ops import op
from specc.source import Span
from specc.types import kinds
from specc.types.axis import Axis, Type


@dataclass(frozen=True)
class Weight:
    """One tensor that belongs to the model, named by its path in the spec.

    kind: "table" (embedding rows), "learned", "matrix", "bias", "scale", "shift",
        "slope" (PReLU, Dice), "buffer" (running statistics, not trained).
    init: an initializer call such as ("normal", 0.01), ("xavier",), ("zeros",), ("constant", c),
        ("uniform", a).
    l2: weight of the penalty (0 for none); `l2_by_frequency` divides a row's penalty by
        its count in the training data (DIN, eq. 6).
    pretrained: the file or trained model that it starts from.
    vocabulary: of a table whose rows stand for learned keys, the name of the vocabulary that has them.
    counts: the path of a field, how often each row of whose table the training data have in it.
    owner: the declared table, learned, layer or binding it belongs to; `place` goes by it.
    sharded: of a table, whether processes that train divide its rows between them.
    """

    path: str
    shape: tuple[int, ...]
    kind: str
    init: tuple[Any, ...]
    span: Span
    owner: str
    l2: float = 0.0
    l2_by_frequency: bool = False
    frozen: bool = False
    pretrained: str | None = None
    vocabulary: str | None = None
    counts: str | None = None
    sharded: bool = False


@dataclass(frozen=True)
class Region:
    """The body of a scan, for one position of its axis.

    captures: region nodes (op "capture") that stand for the scan's first inputs, in order;
        a captured value that had the scan's axis is seen without it.
    states: region nodes (op "state"), the states before this position.
    inits: for each state the index in the scan's inputs of its start, or None for zeros.
    nexts: for each state the region node that is its new value.
    nodes: all region nodes, in order.
    """

    nodes: tuple[Node, ...]
    captures: tuple[int, ...]
    states: tuple[int, ...]
    inits: tuple[int | None, ...]
    nexts: tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One value. `scope` is the dotted path of the instance it was written in
    (`joined.activation`), `name` the binding it was given there, if any."""

    id: int
    op: str
    inputs: tuple[int, ...]
    type: Type
    span: Span
    attrs: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    scope: str = ""
    name: str | None = None
    region: Region | None = None
    role: str = "request"  # "request" | "candidate"; set by passes/roles.py
    device: str | None = None  # set by passes/placement.py


@dataclass(frozen=True)
class FieldSpec:
    """One field of a space: where its raw column is, and how it becomes numbers.

    encoding: "ids" | "vocab" | "hash" | "bucket" | "time" | "number" | "vector" | "bag" | "cross", and
        "key", the 64-bit keys of another field.
    options: what the encoding was given (n, edges, mode, default, …), JSON-able; of a cross the paths of its
        fields, "of".
    column: None for a cross, which is made of what its fields have read.
    split: separators of a column of texts that hold lists, outermost first; of the innermost lists.
    table: path of the weight its ids index, or None for numbers and vectors. Two fields with
        the same `vocabulary` name share one vocabulary (the table's name, else the field's path).
    width: channels of the field's value.
    """

    path: str  # "ad.item"
    space: str
    name: str
    column: str | None  # what `from` says, else "ad_item"
    fallback: str | None  # "item", where no other field could mean that column
    role: str
    axes: tuple[Axis, ...]
    encoding: str
    options: Mapping[str, Any]
    table: str | None
    vocabulary: str | None
    width: int
    span: Span
    split: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpaceSpec:
    name: str
    role: str
    axes: tuple[Axis, ...]
    fields: tuple[FieldSpec, ...]
    span: Span
    doc: str | None = None


@dataclass(frozen=True)
class TableRows:
    """Classes that are the rows of a table, from `first` on: its weight, its width and the paths of what is
    counted of its rows and of their bias; vocabulary: that whose keys the rows stand
    for. encoding, options: those of the table."""

    table: str
    width: int
    first: int
    counts: str
    bias: str | None = None
    vocabulary: str | None = None
    encoding: str = "ids"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """kind: "binary" | "real" | "choice" | "class"; `classes` for the last. `node` is the logit or value, or
    of classes that are the rows of a table a vector, whose products with them are the logits.

    rows: of these classes what they are.
    condition: what makes a label of the column 1, such as (">=", 4); without it the column holds labels.
    positive: what the part of a positive label in the loss is multiplied with.
    range: between which a real label lies; what is predicted beyond it is taken as its nearer end.
    loss: of "real": ("mse",), ("mae",) or ("huber", d), the distance beyond which it is linear.
    among: of "choice": "batch" (the candidates of all examples) or "request" (those of one request).
    """

    name: str
    kind: str
    node: int
    column: str
    span: Span
    classes: int = 0
    condition: tuple[str, int | float | bool | str] | None = None
    positive: float = 1.0
    range: tuple[float, float] | None = None
    loss: tuple[Any, ...] = ("mse",)
    rows: TableRows | None = None
    among: str = ""


@dataclass(frozen=True)
class Output:
    """A result without a label: one vector an example. `node` is its value."""

    name: str
    node: int
    span: Span


@dataclass(frozen=True)
class ExtraLoss:
    """A term of the loss; or, if `weighs` names a prediction, what that one's loss is multiplied with; or, if
    `chooses` does, the loss of an example that was chosen there."""

    name: str
    node: int
    span: Span
    weighs: str | None = None
    chooses: str | None = None


@dataclass(frozen=True)
class AttentionRecord:
    """An instance of an `attention` block: `weight` (and `score`) are nodes."""

    path: str
    weight: int
    score: int | None
    span: Span


@dataclass(frozen=True)
class Graph:
    name: str
    doc: str | None
    nodes: tuple[Node, ...]  # in an order in which every input comes first
    weights: Mapping[str, Weight]
    spaces: tuple[SpaceSpec, ...]
    predictions: tuple[Prediction, ...]
    losses: tuple[ExtraLoss, ...]
    attentions: tuple[AttentionRecord, ...]
    bindings: Mapping[str, int]  # every top-level binding, for summaries and pictures
    params: Mapping[str, Any]  # resolved values
    devices: Mapping[str, str]
    places: Mapping[str, str]  # declared name (or "rest") -> device name
    train: Mapping[str, Any]  # JSON-able: optimizer {"name", "options"}, batch, epochs, metric, group
    edition: int = 1
    source: str = ""  # name of the spec file
    place_spans: Mapping[str, Span] = field(default_factory=dict)  # where each placed name is placed
    results: tuple[Output, ...] = ()  # what comes out beside the predictions

    @property
    def terms(self) -> tuple[ExtraLoss, ...]:
        """Return the losses that are added to those of predictions."""
        return tuple(x for x in self.losses if x.weighs is None and x.chooses is None)

    @property
    def of_requests(self) -> bool:
        """Return whether training data have the form of requests: a row is one with all of its candidates."""
        return any(p.among == "request" for p in self.predictions)

    @property
    def choices(self) -> Mapping[str, ExtraLoss]:
        """Return by prediction the loss of an example that was chosen, for those that look beyond it."""
        return {x.chooses: x for x in self.losses if x.chooses is not None}

    @property
    def loss_weights(self) -> Mapping[str, ExtraLoss]:
        """By prediction, what its loss is multiplied with."""
        return {x.weighs: x for x in self.losses if x.weighs is not None}

    def node(self, id: int) -> Node:
        return self._index[id]

    @property
    def _index(self) -> dict[int, Node]:
        index = self.__dict__.get("_by_id")
        if index is None:
            index = {n.id: n for n in walk(self.nodes)}
            object.__setattr__(self, "_by_id", index)
        return index

    @property
    def outputs(self) -> tuple[int, ...]:
        """Return all nodes that must be kept: what the model returns, losses and their weights."""
        return (*self.given, *(x.node for x in self.losses))

    @property
    def given(self) -> tuple[int, ...]:
        """Return the nodes that a model returns: predictions and other results."""
        return tuple(self.named.values())

    @property
    def named(self) -> Mapping[str, int]:
        """Return the nodes of predictions and other results, by name."""
        return {p.name: p.node for p in self.predictions} | {r.name: r.node for r in self.results}

    def with_nodes(self, nodes: tuple[Node, ...]) -> Graph:
        return replace(self, nodes=nodes)


@dataclass(frozen=True)
class Reading:
    """One field that a node looks up in a table. mode: how the rows of a multi-valued field become one."""

    field: str
    table: str
    mode: str | None = None


def readings(node: Node) -> tuple[Reading, ...]:
    """Return the fields that a node looks up in tables, in the order of its channels; empty for any other
    node."""
    match node.op:
        case op.EMBED | op.EMBED_BAG:
            return (Reading(node.attrs["field"], node.weights[0], node.attrs.get("mode")),)
        case op.LOOKUP:
            parts = zip(node.attrs["fields"], node.weights, node.attrs["modes"], strict=True)
            return tuple(Reading(*part) for part in parts)
    return ()


def read_as_a_whole(graph: Graph) -> dict[str, Span]:
    """Return by path, with where, the tables of which a model reads all rows, not only those of fields."""
    found = {path: n.span for n in walk(graph.nodes) if not readings(n) for path in n.weights}
    found |= {p.rows.table: graph.node(p.node).span for p in graph.predictions if p.rows is not None}
    return {path: span for path, span in found.items() if graph.weights[path].kind == "table"}


def fields_of(node: Node) -> tuple[str, ...]:
    """Return the fields that a node reads."""
    return (node.attrs["field"],) if "field" in node.attrs else tuple(r.field for r in readings(node))


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """Yield every node, including those inside regions (before the node that has the region)."""
    for node in nodes:
        if node.region is not None:
            yield from walk(node.region.nodes)
        yield node


def rankings(nodes: tuple[Node, ...]) -> dict[Axis, int]:
    """Return by axis of positions chosen by a score, in which something lives, the node that says which."""
    return {n.attrs["axis"]: n.id for n in nodes if n.op == op.RANKED}


def reads_of(node: Node, ranked: Mapping[Axis, int]) -> tuple[int, ...]:
    """Return the nodes that must be known before a node: its inputs, and what says how long its axes are.

    ranked: the `rankings` of the graph.
    """
    if not ranked:
        return node.inputs
    axes = (*node.type.axes, *(a for a in node.attrs.values() if isinstance(a, Axis)))
    lengths = {ranked[best] for axis in axes for best in kinds.chosen(axis) if best in ranked}
    return (*node.inputs, *sorted(lengths - {node.id, *node.inputs}))


def axis_of(node: Node) -> Axis | None:
    """Return the axis a reduction, scan or derived-axis node works along; None for channels."""
    axis = node.attrs.get("axis")
    assert axis is None or isinstance(axis, Axis)
    return axis
