"""What a person wants to know of a compiled model: inputs, values, parameters, memory, devices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from specc.driver import Compiled
from specc.elaborate.sharding import sharded
from specc.ir.graph import FieldSpec, Graph, Prediction, Weight
from specc.passes.placement import moves
from specc.plan.lengths import Lengths
from specc.plan.memory import predict
from specc.plan.sizes import human
from specc.report.table import aligned


def as_data(found: Compiled) -> dict[str, Any]:
    """Return the summary as JSON has it. Bytes are of float32 values, every sequence at its bound."""
    graph = found.graph
    batch = _batch(graph)
    return {
        "name": graph.name,
        "params": dict(graph.params),
        "inputs": [
            {
                "field": f.path,
                "columns": _columns(f),
                "encoding": encoding(f),
                "axes": [a.name for a in f.axes],
                "width": f.width,
                "role": f.role,
            }
            for space in graph.spaces
            for f in space.fields
        ],
        "values": dict(_values(found.written)),
        "predictions": {p.name: {"kind": p.kind, "column": p.column} for p in graph.predictions},
        "outputs": {r.name: {"width": graph.node(r.node).type.width} for r in graph.results},
        "parameters": {name: count for name, count, _ in parts(graph)},
        "batch": batch,
        "memory": {
            mode: {device: load.total for device, load in predict(graph, batch, Lengths(), mode).items()}
            for mode in ("training", "scoring")
        },
        "devices": dict(graph.devices),
        "sharded": sharded(graph),
        "moves": [
            {"value": m.value, "from": m.origin, "to": m.destination, "bytes": m.bytes} for m in moves(graph)
        ],
    }


@dataclass(frozen=True)
class Section:
    """Rows of a summary under a title. head: what their columns are; empty where that is plain. right: which
    columns are numbers."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: tuple[int, ...] = ()


def sections(written: Graph, graph: Graph) -> list[Section]:
    """Return what a model reads, computes, predicts and learns, of a graph as it was written and after some
    passes."""
    fields = [f for space in graph.spaces for f in space.fields]
    rows = [(f.path, " or ".join(_columns(f)), encoding(f), type_of(f), f.role) for f in fields]
    labels = [(p.name, p.kind, f"label in {label(p)}") for p in graph.predictions]
    labels += [(r.name, "output", str(graph.node(r.node).type)) for r in graph.results]
    labels += [(x.name, "loss", "") for x in graph.terms]
    by_part = parts(graph)
    rows_of = [(name, f"{count:,}", human(bytes_)) for name, count, bytes_ in by_part]
    total = sum(count for _, count, _ in by_part)
    return [
        Section("Inputs", ("field", "column", "encoding", "type", "from"), rows),
        Section("Values", (), _values(written)),
        Section("Predictions", (), labels),
        Section(
            "Parameters",
            ("part", "parameters", "memory"),
            [*rows_of, ("in all", f"{total:,}", human(4 * total))],
            (1, 2),
        ),
    ]


def params(graph: Graph) -> str:
    """Return the params of a variant, as a spec writes them."""
    return ", ".join(f"{name} = {value(v)}" for name, v in graph.params.items())


def as_text(found: Compiled, file: str, directory: Path) -> str:
    """Return the summary as sections of aligned columns."""
    graph = found.graph
    batch = _batch(graph)
    lines = [f"{graph.name}: {file} -> {directory}/"]
    if graph.params:
        lines.append("  " + params(graph))
    for section in sections(found.written, graph):
        lines += lines_of(section)
    memory: list[tuple[str, ...]] = [("", *_devices_of(graph, batch))]
    for mode in ("training", "scoring"):
        loads = predict(graph, batch, Lengths(), mode)
        memory.append((mode, *(human(loads[d].total) if d in loads else "0" for d in memory[0][1:])))
    lines += lines_of(Section(f"Memory of a step, {batch:,} examples at their bounds", (), memory))
    if names := sharded(graph):
        rows = [(name, "divided between the processes that train, where there are several") for name in names]
        lines += lines_of(Section("Sharded", (), rows))
    if graph.places:
        lines += lines_of(Section("Devices", (), list(graph.devices.items())))
        moved = [
            (m.value, str(m.type), f"{m.origin} -> {m.destination}", human(m.bytes)) for m in moves(graph)
        ]
        lines += lines_of(Section("Moves, at most, for each example", (), moved))
    return "\n".join(lines) + "\n"


def _values(written: Graph) -> list[tuple[str, str]]:
    return [(name, str(written.node(id).type)) for name, id in written.bindings.items()]


def _batch(graph: Graph) -> int:
    return int(graph.train.get("batch") or 512)


def _devices_of(graph: Graph, batch: int) -> list[str]:
    return sorted(predict(graph, batch, Lengths(), "training"))


def label(prediction: Prediction) -> str:
    if prediction.condition is None:
        return f"`{prediction.column}`"
    op, value = prediction.condition
    return f"`{prediction.column}` {op} {json.dumps(value, ensure_ascii=False)}"


def _columns(field: FieldSpec) -> list[str]:
    return [name for name in (field.column, field.fallback) if name is not None]


def encoding(field: FieldSpec) -> str:
    options = dict(field.options)
    of = options.pop("of", None)
    inner = of["encoding"] if isinstance(of, dict) else ""
    said = [inner] if inner else []
    said += [value(v) if k in ("n", "max", "scale", "mode", "edges") else f"{k} = {value(v)}"
             for k, v in options.items()]  # fmt: skip
    return f"{field.encoding}({', '.join(said)})" if said or field.encoding != "key" else field.encoding


def type_of(field: FieldSpec) -> str:
    return "[" + ", ".join([*(f"{a.name} <= {a.bound}" for a in field.axes), str(field.width)]) + "]"


def call(given: Sequence[Any]) -> str:
    """An initializer or a loss, such as ("normal", 0.01), as a spec writes it."""
    name, *arguments = given
    return f"{name}({', '.join(map(value, arguments))})" if arguments else str(name)


def value(given: Any) -> str:
    """A static value as a spec writes it."""
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, int):
        return f"{given:,}".replace(",", "_") if given >= 10_000 else str(given)
    if isinstance(given, list | tuple):
        return "[" + ", ".join(value(v) for v in given) + "]"
    if isinstance(given, Mapping):
        return "(" + ", ".join(f"{k} = {value(v)}" for k, v in given.items()) + ")"
    return str(given)


def parts(graph: Graph) -> list[tuple[str, int, int]]:
    """Return by declaration: how many parameters, and their bytes."""
    counts: dict[str, int] = {}
    for weight in graph.weights.values():
        if weight.kind != "buffer":
            counts[_part(weight)] = counts.get(_part(weight), 0) + prod(weight.shape)
    return [(name, count, 4 * count) for name, count in counts.items()]


def _part(weight: Weight) -> str:
    return weight.path.removesuffix(".weight") if weight.kind == "table" else weight.path.partition(".")[0]


def lines_of(section: Section) -> list[str]:
    """Return a section's lines, none where it has no rows."""
    cells = [section.head, *section.rows] if section.head else section.rows
    return ["", section.title, *(f"  {line}" for line in aligned(cells, section.right))] if cells else []
