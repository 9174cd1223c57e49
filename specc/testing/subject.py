"""What the laws are asked of: one graph, compiled, with weights that hide nothing.

Promises: tables are cut to a few rows (an id has no meaning of its own, so no law can tell); every weight is
random, for what starts at zero would hide what is done with it; everything is in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from specc.emit import emit
from specc.emit.manifest import manifest_of
from specc.ir.graph import Graph, Node, walk
from specc.ops import op
from specc.passes import DEFAULT, optimise
from specc.testing.near import deciding
from specc_runtime import Batch, Model, from_texts

ROWS = 31  # of a table


@dataclass(eq=False)
class Subject:
    """A graph with the model that it compiles to."""

    graph: Graph
    seed: int
    _models: dict[frozenset[str], Model] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(graph: Graph, seed: int) -> Subject:
        return Subject(small(graph), seed)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """With the numbers near which those of a field are drawn."""
        manifest = manifest_of(optimise(self.graph, "none"))
        near = deciding(self.graph)
        fields = [{**entry, "near": near.get(entry["path"], [])} for entry in manifest["fields"]]
        return {**manifest, "fields": fields}

    @property
    def model(self) -> Model:
        """The model with all passes."""
        return self.with_passes(DEFAULT)

    def compiles(self) -> None:
        """Compile the model once. Raises whatever stands in the way."""
        self.with_passes(DEFAULT)

    def with_passes(self, passes: Iterable[str]) -> Model:
        """Return the model with some of the passes, in evaluation, and with the same weights."""
        wanted = frozenset(passes)
        if wanted not in self._models:
            model = from_texts(emit(optimise(self.graph, sorted(wanted))), self.graph.name).double().eval()
            with torch.no_grad():
                for path, value in model.state_dict().items():
                    value.copy_(self.weights[path])
            self._models[wanted] = model
        return self._models[wanted]

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """By path, what every model of this subject has."""
        generator = torch.Generator().manual_seed(self.seed)
        found: dict[str, Tensor] = {}
        for path, weight in self.graph.weights.items():
            fan = weight.shape[-1] if weight.kind == "matrix" else 1
            values = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            values = values / max(fan, 1) ** 0.5 if weight.kind == "matrix" else 0.5 * values
            if path.endswith("running_var"):
                values = 0.5 + values.abs()
            if weight.counts is not None:  # how often there is a key: whole, and of each row at least once
                values = 1 + (4 * values.abs()).floor()
            found[path] = values
        return found

    @cached_property
    def looks_across(self) -> Node | None:
        """A node whose value depends on the other examples of its batch, if there is one."""
        return next((n for n in walk(self.graph.nodes) if n.attrs.get("statistics") == "batch"), None)


def small(graph: Graph, rows: int = ROWS) -> Graph:
    """Return the graph with every table cut to so many rows, but for those whose rows are positions of an
    axis; and with it what has a number for each row."""
    whole = {path for node in walk(graph.nodes) if node.op == op.ROWS for path in node.weights}
    cut = {path for path, w in graph.weights.items() if w.kind == "table"} - whole
    tables = {f.path: f.table for space in graph.spaces for f in space.fields}
    for node in walk(graph.nodes):
        table = node.weights[0] if node.op == op.ROW_LOSS else tables.get(node.attrs.get("field", ""))
        if node.op in (op.ROW_LOSS, op.LOG_FREQUENCY) and table in cut:
            cut.update(node.weights)
    weights = {
        path: replace(w, shape=(min(w.shape[0], rows), *w.shape[1:])) if path in cut else w
        for path, w in graph.weights.items()
    }
    predictions = tuple(
        replace(p, classes=weights[p.rows.table].shape[0]) if p.rows is not None else p
        for p in graph.predictions
    )
    return replace(graph, weights=weights, predictions=predictions)


def outputs(model: Model, batch: Batch) -> dict[str, Tensor]:
    """Return predictions and losses by name."""
    found = dict(model(batch))
    return {**found, **{f"loss {name}": value for name, value in model.losses(batch).items()}}


def gradients(model: Model, batch: Batch) -> dict[str, Tensor]:
    """Return the gradient of the whole loss by path; zeros for what it does not depend on."""
    trained = {path: p for path, p in model.named_parameters() if p.requires_grad}
    for parameter in trained.values():
        parameter.grad = None
    loss = model.loss(batch)
    if loss.requires_grad:
        loss.backward()
    found: dict[str, Tensor] = {}
    for path, parameter in trained.items():
        grad = parameter.grad
        dense = torch.zeros_like(parameter) if grad is None else grad
        found[path] = (dense.to_dense() if dense.is_sparse else dense).detach().clone()
        parameter.grad = None
    return found


def worst(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float) -> str | None:
    """Return where two sets of values differ most, in words; None where they agree."""
    if found.keys() != wanted.keys():
        return f"there is {', '.join(sorted(found.keys() ^ wanted.keys()))} on one side only"
    most, where = 0.0, ""
    for name, theirs in wanted.items():
        mine = found[name]
        if mine.shape != theirs.shape:
            return f"{name} is {tuple(mine.shape)}, not {tuple(theirs.shape)}"
        if not mine.numel():
            continue
        off = (mine - theirs).abs() / (1 + theirs.abs())
        off = torch.where((mine == theirs) | (mine.isnan() & theirs.isnan()), 0, off).nan_to_num(torch.inf)
        at = int(off.argmax())
        if float(off.flatten()[at]) > max(most, tolerance):
            most = float(off.flatten()[at])
            values = f"{float(mine.flatten()[at]):.6g} instead of {float(theirs.flatten()[at]):.6g}"
            where = f"{name}{list(torch.unravel_index(torch.tensor(at), mine.shape)) if mine.dim() else ''}"
            where = where.replace("tensor(", "").replace(")", "")
            where = f"{where} is {values}"
    return where or None
