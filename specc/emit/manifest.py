"""What a compiled model reads, returns and consists of, as `manifest.json`.

Promises: it has all that the runtime needs to encode raw columns, train, place, save and score, in terms of
the spec's names; the same graph gives the same text. Its schema is in `entries`, for the type checker and for
validating a manifest that was read (`pydantic.TypeAdapter`). Writing a manifest does not import pydantic, nor
the schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, cast

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

if TYPE_CHECKING:
    from specc.emit.entries import (
        AxisEntry,
        ConditionEntry,
        CrossEntry,
        FieldEntry,
        Manifest,
        OutputEntry,
        PackageEntry,
        PredictionEntry,
        RowsEntry,
        TableEntry,
    )

FORMAT = 2


def manifest_of(graph: Graph) -> dict[str, Any]:
    """Return the manifest of a graph, of values that JSON has."""
    homes, shapes, lost = device_of_weight(graph), Shapes(graph), fields_of_losses(graph)
    manifest: Manifest = {
        "format": FORMAT,
        "versions": {"compiler": __version__, "interface": INTERFACE},
        "edition": graph.edition,
        "name": graph.name,
        "doc": graph.doc,
        "source": graph.source,
        "params": dict(graph.params),
        "axes": _axes(graph),
        "spaces": [
            {
                "name": s.name,
                "role": _role(s.role),
                "axes": [axis_id(a) for a in s.axes],
                "fields": [f.path for f in s.fields if f.column is not None],
            }
            for s in graph.spaces
        ],
        "fields": [
            _field(f, f.column, f.path in lost)
            for s in graph.spaces
            for f in s.fields
            if f.column is not None
        ],
        "crosses": [
            _cross(f, f.table, f.path in lost)
            for s in graph.spaces
            for f in s.fields
            if f.encoding == "cross" and f.table is not None
        ],
        "predictions": [_prediction(p) for p in graph.predictions],
        "outputs": [_output(graph, r) for r in graph.results],
        "losses": [x.name for x in graph.terms],
        "attentions": [
            {"path": a.path, "axes": [x.name for x in _axes_of(graph.node(a.weight), shapes)]}
            for a in graph.attentions
        ],
        "weights": [
            {
                "path": w.path,
                "shape": list(w.shape),
                "kind": w.kind,
                "l2": float(w.l2),
                "l2_by_frequency": w.l2_by_frequency,
                "frozen": w.frozen,
                "pretrained": w.pretrained,
                "vocabulary": w.vocabulary,
                "counts": w.counts,
                "device": homes.get(w.path),
            }
            for w in graph.weights.values()
        ],
        "tables": _tables(graph),
        "devices": dict(graph.devices),
        "places": dict(graph.places),
        "train": dict(graph.train),
    }
    needed = _packages(graph)
    return {**manifest, **({"packages": needed} if needed else {})}


def _tables(graph: Graph) -> list[TableEntry]:
    nodes = list(walk(graph.nodes))
    read: dict[str, dict[str, None]] = {}
    for reading in (r for n in nodes for r in readings(n)):
        read.setdefault(reading.table, {})[reading.field] = None
    whole = read_as_a_whole(graph)
    return [
        {
            "path": w.path,
            "rows": w.shape[0],
            "width": w.shape[1],
            "dtype": "float32",
            "init": list(w.init),
            "l2": float(w.l2),
            "by_frequency": w.l2_by_frequency,
            "frozen": w.frozen,
            "fields": list(read.get(w.path, ())),
            "whole": w.path in whole,
            "sharded": w.sharded,
        }
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
    return [{"name": name, "package": of.name, "version": of.version} for name, of in found if of is not None]


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
        found.setdefault(id, {"id": id, "name": axis.name, "bound": axis.bound, "parent": parent})

    for space in graph.spaces:
        for axis in space.axes:
            enter(axis)
    return list(found.values())


def _axes_of(node: Node, shapes: Shapes) -> tuple[Axis, ...]:
    axes = node.type.axes
    return (*(a for a in axes if a.ragged), *shapes.dims(axes))


def _field(spec: FieldSpec, column: str, training: bool) -> FieldEntry:
    return {
        "path": spec.path,
        "space": spec.space,
        "name": spec.name,
        "column": column,
        "fallback": spec.fallback,
        "split": list(spec.split) or None,
        "role": _role(spec.role),
        "axes": [axis_id(a) for a in spec.axes],
        "encoding": spec.encoding,
        "options": dict(spec.options),
        "table": spec.table,
        "vocabulary": spec.vocabulary,
        "width": spec.width,
        "training": training,
    }


def _cross(spec: FieldSpec, table: str, training: bool) -> CrossEntry:
    return {
        "path": spec.path,
        "space": spec.space,
        "name": spec.name,
        "role": _role(spec.role),
        "axes": [axis_id(a) for a in spec.axes],
        "of": list(spec.options["of"]),
        "n": spec.options["n"],
        "table": table,
        "width": spec.width,
        "training": training,
    }


def _prediction(given: Prediction) -> PredictionEntry:
    condition: ConditionEntry | None = None
    if given.condition is not None:
        op, value = given.condition
        condition = {"op": cast(Any, op), "value": value}
    entry: PredictionEntry = {
        "name": given.name,
        "kind": _kind(given.kind),
        "column": given.column,
        "condition": condition,
        "classes": given.classes,
        "range": None if given.range is None else list(given.range),
        "rows": None if given.rows is None else _table_rows(given.rows),
    }
    if given.among == "request":
        entry["among"] = given.among
    return entry


def _table_rows(given: TableRows) -> RowsEntry:
    return {
        "table": given.table,
        "first": given.first,
        "counts": given.counts,
        "bias": given.bias,
        "vocabulary": given.vocabulary,
        "encoding": given.encoding,
        "options": dict(given.options),
    }


def _output(graph: Graph, given: Output) -> OutputEntry:
    fields = fields_for(graph, given.node)
    roles = {f.role for s in graph.spaces for f in s.fields if f.path in fields}
    role: Literal["request", "candidate", "both"] = "both" if len(roles) > 1 else "request"
    if roles == {"candidate"}:
        role = "candidate"
    width = graph.node(given.node).type.width
    return {"name": given.name, "width": width, "role": role, "fields": fields}


def _role(role: str) -> Literal["request", "candidate"]:
    return "candidate" if role == "candidate" else "request"


def _kind(kind: str) -> Literal["binary", "real", "class", "choice"]:
    return cast(Any, kind)  # type: ignore[no-any-return]
