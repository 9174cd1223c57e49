"""What a compiled model reads, returns and consists of, as `manifest.json`.

Promises: it has all that the runtime needs to encode raw columns, train, place, save and score, in terms of
the spec's names; the same graph gives the same text. The classes below are its schema, for the type checker
and for validating a manifest that was read (`pydantic.TypeAdapter`). Writing a manifest does not import
pydantic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, cast

from typing_extensions import TypedDict

from specc.elaborate.encodings import ENCODINGS as OWN_ENCODINGS
from specc.emit.axes import axis_id
from specc.ir.graph import (
    FieldSpec,
    Graph,
    Node,
    Output,
    Prediction,
    TableRows,
    read_as_a_whole,
    readings,
    walk,
)
from specc.ir.inputs import fields_for, fields_of_losses
from specc.lower.shape import Shapes
from specc.ops import definition
from specc.ops.plugins import Package, package
from specc.packages import ENCODINGS, offered
from specc.passes.placement import device_of_weight
from specc.types.axis import Axis
from specc.version import INTERFACE, __version__

FORMAT = 2


class AxisEntry(TypedDict):
    """A ragged axis of a space: `id` is "visits.step", `parent` the id of the axis it is nested in."""

    id: str
    name: str
    bound: int
    parent: str | None


class FieldEntry(TypedDict):
    """A field: its raw column (or `fallback`, if that column is absent), and how it is encoded.

    split: the separators of texts that hold lists, outermost first. axes: ids, outermost first. encoding and
    options are the spec's. table: the path of the weight that its ids index. vocabulary: fields with the same
    one share it. width: channels of the value. training: only losses read it; predictions do not need it.
    """

    path: str
    space: str
    name: str
    column: str
    fallback: str | None
    split: list[str] | None
    role: Literal["request", "candidate"]
    axes: list[str]
    encoding: str
    options: dict[str, Any]
    table: str | None
    vocabulary: str | None
    width: int
    training: bool


class CrossEntry(TypedDict):
    """A field that combines other fields: `of` has their paths. n: the rows of its table."""

    path: str
    space: str
    name: str
    role: Literal["request", "candidate"]
    axes: list[str]
    of: list[str]
    n: int
    table: str
    width: int
    training: bool


class SpaceEntry(TypedDict):
    """fields: the paths of those that read a column."""

    name: str
    role: Literal["request", "candidate"]
    axes: list[str]
    fields: list[str]


class ConditionEntry(TypedDict):
    """The label is 1 where `column op value` holds; a text is compared by == and !=, as keys are."""

    op: Literal["==", "!=", "<", "<=", ">", ">="]
    value: int | float | bool | str


class RowsEntry(TypedDict):
    """Classes that are the rows of a table, from row `first` on. table, counts, bias: paths of weights.
    vocabulary: whose keys the classes are; without one they are integers."""

    table: str
    first: int
    counts: str
    bias: str | None
    vocabulary: str | None
    encoding: str
    options: dict[str, Any]


class PredictionEntry(TypedDict):
    """A prediction. classes: 0 unless the kind is "class". column: the column of its labels, or the column
    that `condition` makes them from. range: the bounds of its labels, if the spec gives them. rows: for
    classes that are the rows of a table, which table. among: "request" of a choice
    among the candidates of a request; rows with labels are requests then, with lists of candidates and
    labels."""

    name: str
    kind: Literal["binary", "real", "class", "choice"]
    column: str
    condition: ConditionEntry | None
    classes: int
    range: list[float] | None
    rows: RowsEntry | None
    among: NotRequired[str]


class OutputEntry(TypedDict):
    """A result without a label. role: whether it depends on the request alone, on the candidate alone, or on
    both. fields: the paths of the fields that it is computed from, including crosses."""

    name: str
    width: int
    role: Literal["request", "candidate", "both"]
    fields: list[str]


class WeightEntry(TypedDict):
    """A weight. device: the name of a device of the spec, or None for a model without places. vocabulary: for
    a table whose rows stand for learned keys, the name of their vocabulary. counts: the path of the field
    whose ids are counted in the training data, for a weight that holds such counts."""

    path: str
    shape: list[int]
    kind: str
    l2: float
    l2_by_frequency: bool
    frozen: bool
    pretrained: str | None
    vocabulary: str | None
    counts: str | None
    device: str | None


class TableEntry(TypedDict):
    """An embedding table. path: of its weight. init: an initializer call, such as ["normal", 0.01].
    by_frequency: whether the penalty of a row is divided by its count. fields: the paths of all fields and
    crosses that are looked up in it, in the order in which the model reads them. whole: whether the model
    reads all of its rows, too. sharded: whether processes that train divide its rows between them, unless
    they are told otherwise."""

    path: str
    rows: int
    width: int
    dtype: str
    init: list[Any]
    l2: float
    by_frequency: bool
    frozen: bool
    fields: list[str]
    whole: bool
    sharded: bool


class AttentionEntry(TypedDict):
    """The weights of one attention. axes: their axes' names: first the ragged ones, for which
    `Model.attention` returns positions, then the static ones in the order of the tensor's dimensions."""

    path: str
    axes: list[str]


class VersionsEntry(TypedDict):
    """compiler: the version of arec. interface: the runtime interface that model.py calls."""

    compiler: str
    interface: int


class PackageEntry(TypedDict):
    """Another package that the model needs, because model.py imports its code or a field has its encoding:
    the distribution and its version."""

    name: str
    package: str
    version: str


class Manifest(TypedDict):
    """The whole manifest. packages: left out if the model needs nothing but torch and the runtime."""

    format: int
    versions: VersionsEntry
    edition: int
    name: str
    doc: str | None
    source: str
    params: dict[str, Any]
    axes: list[AxisEntry]
    spaces: list[SpaceEntry]
    fields: list[FieldEntry]
    crosses: list[CrossEntry]
    predictions: list[PredictionEntry]
    outputs: list[OutputEntry]
    losses: list[str]
    attentions: list[AttentionEntry]
    weights: list[WeightEntry]
    tables: list[TableEntry]
    devices: dict[str, str]
    places: dict[str, str]
    train: dict[str, Any]
    packages: NotRequired[list[PackageEntry]]


def manifest_of(graph: Graph) -> dict[str, Any]:
    """Return the manifest of a graph, of values that JSON has."""
    homes, shapes, lost = device_of_weight(graph), Shapes(graph), fields_of_losses(graph)
    manifest = Manifest(
        format=FORMAT,
        versions=VersionsEntry(compiler=__version__, interface=INTERFACE),
        edition=graph.edition,
        name=graph.name,
        doc=graph.doc,
        source=graph.source,
        params=dict(graph.params),
        axes=_axes(graph),
        spaces=[
            SpaceEntry(
                name=s.name,
                role=_role(s.role),
                axes=[axis_id(a) for a in s.axes],
                fields=[f.path for f in s.fields if f.column is not None],
            )
            for s in graph.spaces
        ],
        fields=[
            _field(f, f.column, f.path in lost)
            for s in graph.spaces
            for f in s.fields
            if f.column is not None
        ],
        crosses=[
            _cross(f, f.table, f.path in lost)
            for s in graph.spaces
            for f in s.fields
            if f.encoding == "cross" and f.table is not None
        ],
        predictions=[_prediction(p) for p in graph.predictions],
        outputs=[_output(graph, r) for r in graph.results],
        losses=[x.name for x in graph.terms],
        attentions=[
            AttentionEntry(path=a.path, axes=[x.name for x in _axes_of(graph.node(a.weight), shapes)])
            for a in graph.attentions
        ],
        weights=[
            WeightEntry(
                path=w.path,
                shape=list(w.shape),
                kind=w.kind,
                l2=float(w.l2),
                l2_by_frequency=w.l2_by_frequency,
                frozen=w.frozen,
                pretrained=w.pretrained,
                vocabulary=w.vocabulary,
                counts=w.counts,
                device=homes.get(w.path),
            )
            for w in graph.weights.values()
        ],
        tables=_tables(graph),
        devices=dict(graph.devices),
        places=dict(graph.places),
        train=dict(graph.train),
    )
    needed = _packages(graph)
    return {**manifest, **({"packages": needed} if needed else {})}


def _tables(graph: Graph) -> list[TableEntry]:
    nodes = list(walk(graph.nodes))
    read: dict[str, dict[str, None]] = {}
    for reading in (r for n in nodes for r in readings(n)):
        read.setdefault(reading.table, {})[reading.field] = None
    whole = read_as_a_whole(graph)
    return [
        TableEntry(
            path=w.path,
            rows=w.shape[0],
            width=w.shape[1],
            dtype="float32",
            init=list(w.init),
            l2=float(w.l2),
            by_frequency=w.l2_by_frequency,
            frozen=w.frozen,
            fields=list(read.get(w.path, ())),
            whole=w.path in whole,
            sharded=w.sharded,
        )
        for w in graph.weights.values()
        if w.kind == "table"
    ]


def _packages(graph: Graph) -> list[PackageEntry]:
    """Return the other packages that a model needs: those whose operations model.py imports, and those of its
    encodings."""
    operations = dict.fromkeys(n.op for n in walk(graph.nodes) if definition(n).imports)
    found = [(name, package(name)) for name in operations]
    for points in (offered(ENCODINGS).get(name, ()) for name in _encodings(graph)):
        found += [(p.name, Package(p.dist.name, p.dist.version)) for p in points[:1] if p.dist is not None]
    return [
        PackageEntry(name=name, package=of.name, version=of.version) for name, of in found if of is not None
    ]


def _encodings(graph: Graph) -> Iterable[str]:
    """Yield the names of encodings that the language does not define."""
    fields = [f for s in graph.spaces for f in s.fields]
    names = [f.encoding for f in fields] + [
        f.options["of"]["encoding"] for f in fields if f.encoding == "bag"
    ]
    return dict.fromkeys(name for name in names if name not in OWN_ENCODINGS)


def _axes(graph: Graph) -> list[AxisEntry]:
    """Return every space's own axes, parents first."""
    found: dict[str, AxisEntry] = {}

    def enter(axis: Axis) -> None:
        if axis.parent is not None:
            enter(axis.parent)
        id = axis_id(axis)
        parent = None if axis.parent is None else axis_id(axis.parent)
        found.setdefault(id, AxisEntry(id=id, name=axis.name, bound=axis.bound, parent=parent))

    for space in graph.spaces:
        for axis in space.axes:
            enter(axis)
    return list(found.values())


def _axes_of(node: Node, shapes: Shapes) -> tuple[Axis, ...]:
    axes = node.type.axes
    return (*(a for a in axes if a.ragged), *shapes.dims(axes))


def _field(spec: FieldSpec, column: str, training: bool) -> FieldEntry:
    return FieldEntry(
        path=spec.path,
        space=spec.space,
        name=spec.name,
        column=column,
        fallback=spec.fallback,
        split=list(spec.split) or None,
        role=_role(spec.role),
        axes=[axis_id(a) for a in spec.axes],
        encoding=spec.encoding,
        options=dict(spec.options),
        table=spec.table,
        vocabulary=spec.vocabulary,
        width=spec.width,
        training=training,
    )


def _cross(spec: FieldSpec, table: str, training: bool) -> CrossEntry:
    return CrossEntry(
        path=spec.path,
        space=spec.space,
        name=spec.name,
        role=_role(spec.role),
        axes=[axis_id(a) for a in spec.axes],
        of=list(spec.options["of"]),
        n=spec.options["n"],
        table=table,
        width=spec.width,
        training=training,
    )


def _prediction(given: Prediction) -> PredictionEntry:
    condition = None
    if given.condition is not None:
        op, value = given.condition
        condition = ConditionEntry(op=cast(Any, op), value=value)
    entry = PredictionEntry(
        name=given.name,
        kind=_kind(given.kind),
        column=given.column,
        condition=condition,
        classes=given.classes,
        range=None if given.range is None else list(given.range),
        rows=None if given.rows is None else _table_rows(given.rows),
    )
    if given.among == "request":
        entry["among"] = given.among
    return entry


def _table_rows(given: TableRows) -> RowsEntry:
    return RowsEntry(
        table=given.table,
        first=given.first,
        counts=given.counts,
        bias=given.bias,
        vocabulary=given.vocabulary,
        encoding=given.encoding,
        options=dict(given.options),
    )


def _output(graph: Graph, given: Output) -> OutputEntry:
    fields = fields_for(graph, given.node)
    roles = {f.role for s in graph.spaces for f in s.fields if f.path in fields}
    role: Literal["request", "candidate", "both"] = "both" if len(roles) > 1 else "request"
    if roles == {"candidate"}:
        role = "candidate"
    width = graph.node(given.node).type.width
    return OutputEntry(name=given.name, width=width, role=role, fields=fields)


def _role(role: str) -> Literal["request", "candidate"]:
    return "candidate" if role == "candidate" else "request"


def _kind(kind: str) -> Literal["binary", "real", "class", "choice"]:
    return cast(Any, kind)  # type: ignore[no-any-return]
