"""What an exported program takes and gives: one tensor a field, and the lengths that no shape tells."""

from __future__ import annotations

import re

from specc.emit.axes import axis_id
from specc.export.graph import roles_of
from specc.ir.graph import FieldSpec, Graph
from specc.ir.inputs import axis_role, reads
from specc.passes.roles import CANDIDATE
from specc.types.axis import Axis
from specc_runtime.portable.inputs import Input, Output, Signature

_CANDIDATE = "candidate"


def signature_of(graph: Graph, form: str, alone: str | None, dtype: str) -> Signature:
    """The signature of an exported graph. dtype: of numbers and results."""
    return _Signature(graph, form, alone, dtype).found()


class _Signature:
    def __init__(self, graph: Graph, form: str, alone: str | None, dtype: str) -> None:
        self.graph, self.form, self.alone, self.dtype = graph, form, alone, dtype
        paths, self.axes = reads(graph, graph.given)
        every = {f.path: f for s in graph.spaces for f in s.fields}
        self.fields = [every[path] for path in paths]
        self.roles = {s.name: s.role for s in graph.spaces}
        own = roles_of(graph, alone) if alone is not None else {s.role for s in graph.spaces}
        self.candidates = CANDIDATE in own
        self.names: set[str] = set()
        self.inputs: list[Input] = []

    def found(self) -> Signature:
        for field in self.fields:
            self._field(field)
        told = {entry.rows for entry in self.inputs if entry.part != "values"}
        request = self.form == "request"
        if self.candidates and not (request and (_CANDIDATE,) in told):
            self._lengths(_CANDIDATE, _CANDIDATE, ())
        for axis in self.axes:
            rows = self._rows(axis)
            alone = len(rows) == 1
            if not (request and alone and rows in told):
                self._lengths(axis_id(axis), axis_id(axis), self._rows(axis.parent, axis))
        return Signature(self.form, self.candidates, tuple(self.inputs), self._outputs())  # type: ignore[arg-type]

    def _field(self, field: FieldSpec) -> None:
        rows = self._rows_of(field.axes, field.role)
        size = self._size(rows)
        if field.encoding == "bag":
            many = f"{field.path} values"
            self._add(field.path, "values", "int64", (many,), None, field=field.path)
            self._add(f"{field.path}_lengths", "lengths", "int64", (size,), rows, field=field.path)
            if "weight" in field.options:
                self._add(f"{field.path}_weights", "weights", "float32", (many,), None, field=field.path)
            return
        whole = field.encoding in ("number", "vector")
        last: tuple[str | int, ...] = (field.width,) if whole else (1,) if field.encoding == "key" else ()
        kind = self.dtype if whole else "int64"
        self._add(field.path, "column", kind, (size, *last), rows, field=field.path)

    def _lengths(self, name: str, axis: str, rows: tuple[str, ...]) -> None:
        text = "candidates" if axis == _CANDIDATE else f"{name}_lengths"
        self._add(text, "lengths", "int64", (self._size(rows),), rows, axis=axis)

    def _add(
        self,
        name: str,
        part: str,
        dtype: str,
        dimensions: tuple[str | int, ...],
        rows: tuple[str, ...] | None,
        field: str | None = None,
        axis: str | None = None,
    ) -> None:
        stem = re.sub(r"[^0-9A-Za-z_]", "_", name)
        text, number = stem, 2
        while text in self.names:
            text, number = f"{stem}_{number}", number + 1
        self.names.add(text)
        self.inputs.append(Input(text, field, part, axis, dtype, dimensions, rows))  # type: ignore[arg-type]

    def _rows_of(self, axes: tuple[Axis, ...], role: str) -> tuple[str, ...]:
        """The ids of axes that a field has a row for each position of."""
        own = tuple(axis_id(a) for a in axes)
        return (_CANDIDATE, *own) if role == CANDIDATE and self.candidates else own

    def _rows(self, axis: Axis | None, of: Axis | None = None) -> tuple[str, ...]:
        """The same of an axis that a value has; of None that of what `of` is nested in."""
        line: list[Axis] = []
        step = axis
        while step is not None:
            line.insert(0, step)
            step = step.parent
        whose = axis if axis is not None else of
        assert whose is not None
        return self._rows_of(tuple(line), axis_role(whose, self.roles))

    def _size(self, rows: tuple[str, ...]) -> str | int:
        """The name of how many rows there are."""
        if not rows:
            return 1 if self.form == "request" else "requests"
        return "candidates" if rows == (_CANDIDATE,) else " ".join(rows)

    def _outputs(self) -> tuple[Output, ...]:
        size = self._size((_CANDIDATE,) if self.candidates else ())
        found = []
        for p in self.graph.predictions:
            last = (p.classes if p.rows is None else p.rows.width,) if p.kind == "class" else ()
            found.append(Output(p.name, p.kind, self.dtype, (size, *last)))
        for r in self.graph.results:
            width = self.graph.node(r.node).type.width
            found.append(Output(r.name, "output", self.dtype, (size, *((width,) if width > 1 else ()))))
        return tuple(found)
