"""A graph as the source of a Python module: one class, readable, with the spec's names.

Promises: the text imports only torch and specc_runtime, says each value once, and cites the line of the spec
that each statement comes from; the same graph gives the same text.
Assumes: a graph that `passes.prepared` has seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from specc.emit.body import Body, Lying, Unit
from specc.emit.code import WIDTH, Expr, Line, broken, comment, quoted
from specc.emit.modules import layers_of
from specc.emit.names import Names, attribute, class_name
from specc.emit.operations import batch_of, ids_of
from specc.emit.shape import EXAMPLES, Domain, Shape
from specc.ir.graph import ExtraLoss, Graph, Node, Output, Prediction, readings
from specc.ir.inputs import fields_for, labels_read

_PREDICTED = Domain(frozenset(), candidate=True)


def source_of(graph: Graph) -> str:
    """The text of `model.py`."""
    unit = Unit.of(graph, class_name(graph.name))
    emitter = _Module(graph, unit)
    methods = emitter.methods()
    head = _head(graph, unit, emitter)
    text = [
        *head,
        *_rendered(unit.functions),
        f"class {class_name(graph.name)}(Model):",
        *([f'    """{_sentence(graph)}"""', ""] if graph.doc else []),
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *(line for path, call in layers_of(graph) for line in broken(f"self.add({quoted(path)}, {call})", 8)),
        *methods,
    ]
    return "\n".join(text).rstrip() + "\n"


def lying_of(graph: Graph) -> Lying:
    """Where the values of the emitted functions lie."""
    unit = Unit.of(graph, class_name(graph.name))
    _Module(graph, unit).methods()
    return unit.lying


def _sentence(graph: Graph) -> str:
    """The first line of the spec's doc comment."""
    first = comment((graph.doc or "").strip().split("\n")[0])
    return first.replace("\\", "/").replace('"', "'")


def _head(graph: Graph, unit: Unit, emitter: _Module) -> list[str]:
    lines = [f'"""Compiled from {comment(PurePath(graph.source).name)}: edit that, not this."""', ""]
    if emitter.keeps:
        lines += ["from typing import NamedTuple", ""]
    body = "\n".join(line.text for line in unit.functions) + emitter.text
    if "torch." in body:
        lines.append("import torch")
    lines.append("from torch import Tensor")
    if "F." in body:
        lines.append("from torch.nn import functional as F")
    lines += ["", *(f"import {name}" for name in sorted(unit.imports))] if unit.imports else []
    names = ["CANDIDATE"] if unit.axes.uses_candidate else []
    names += ["Axis"] if any("= Axis(" in line for line in unit.axes.lines) else []
    names += ["Batch", "Model"]
    names += ["Weights"] if graph.attentions else []
    lines += ["", f"from specc_runtime import {', '.join([*names, 'layers', 'ops'])}"]
    if unit.axes.uses_fixed:
        lines.append("from specc_runtime.layout import fixed")
    kinds = sorted({_loss_function(p) for p in graph.predictions})
    kinds += ["mean_of_labelled"] if any(labels_read(graph, x.node) for x in graph.terms) else []
    if kinds:
        lines.append(f"from specc_runtime.model import {', '.join(kinds)}")
    lines += ["", *unit.axes.lines, ""] if unit.axes.lines else [""]
    if emitter.keeps:
        lines += [
            "",
            "class Values(NamedTuple):",
            '    """What is computed once for predictions, losses and attentions."""',
            "",
            *(f"    {name}: Tensor" for name in emitter.keeps),
            "",
        ]
    return [*lines, ""]


def _loss_function(prediction: Prediction) -> str:
    """The function of the runtime that gives a prediction's loss."""
    if prediction.kind == "real":
        return {"mse": "real_loss", "mae": "absolute_loss", "huber": "huber_loss"}[prediction.loss[0]]
    return f"{prediction.kind}_loss"


class _Module:
    """The methods. `keeps`: by field of `Values` the node it holds; empty if there is no need of it."""

    def __init__(self, graph: Graph, unit: Unit) -> None:
        self.graph = graph
        self.unit = unit
        self.index = {n.id: n for n in graph.nodes}
        self.predicted = _closure(self.index, graph.given)
        self.lost = _closure(self.index, (x.node for x in graph.losses))
        self.attended = _closure(self.index, (a.weight for a in graph.attentions))
        self.keeps: dict[str, int] = {}
        self.text = ""

    def methods(self) -> list[str]:
        parts = [self._forward()] if not (self.graph.losses or self.graph.attentions) else self._shared()
        parts += [self._output(r) for r in self.graph.results if self._is_partial(r)]
        parts.append(self._losses())
        if self.graph.attentions:
            parts.append(self._attention())
        lines: list[str] = []
        for part in parts:
            lines += ["", *part]
        self.text = "\n".join(lines)
        return lines

    # --------------------------------------------------------------- forward

    def _forward(self) -> list[str]:
        """Predictions, where nothing else is asked of the model."""
        body = self._body()
        body.emit(self._in_order(self.predicted), self.graph.given)
        results = self._predictions(body)
        return [
            "    def forward(self, batch: Batch) -> dict[str, Tensor]:",
            *_rendered(body.lines),
            *broken(f"return {results}", 8),
        ]

    def _predictions(self, body: Body) -> str:
        found = {**self._outputs(body), **self._results(body)}
        return "{" + ", ".join(f"{name}: {value}" for name, value in found.items()) + "}"

    def _outputs(self, body: Body) -> dict[str, str]:
        """By quoted name, every prediction: one for each candidate."""
        found = {}
        for prediction in self.graph.predictions:
            node = self.index[prediction.node]
            value = body.at(node.id, Shape(_PREDICTED, ()), node, whole=True)
            squeezed = value.text if prediction.kind == "class" else f"{value.at(9)}.squeeze(-1)"
            found[quoted(prediction.name)] = squeezed
        return found

    def _results(self, body: Body) -> dict[str, str]:
        """By quoted name, every other result: one for each candidate; of one channel, a number."""
        found = {}
        for result in self.graph.results:
            node = self.index[result.node]
            value = body.at(node.id, Shape(_PREDICTED, ()), node, whole=True)
            found[quoted(result.name)] = value.text if node.type.width > 1 else f"{value.at(9)}.squeeze(-1)"
        return found

    def _is_partial(self, result: Output) -> bool:
        """Whether a result is of the request alone, or of the candidate alone."""
        fields = set(fields_for(self.graph, result.node))
        return len({f.role for s in self.graph.spaces for f in s.fields if f.path in fields}) == 1

    def _output(self, result: Output) -> list[str]:
        """A result by itself, of a batch that has only what it reads: of a request's, one a request."""
        body = self._body()
        node = self.index[result.node]
        body.emit(self._in_order(_closure(self.index, [node.id])), [node.id])
        rows = self.unit.shapes.of(node).domain or EXAMPLES
        value = body.at(node.id, Shape(rows, ()), node, whole=True)
        text = value.text if node.type.width > 1 else f"{value.at(9)}.squeeze(-1)"
        return [
            f"    def output_{result.name}(self, batch: Batch) -> Tensor:",
            *_rendered(body.lines),
            *broken(f"return {text}", 8),
        ]

    def _shared(self) -> list[list[str]]:
        """`values` computes what predictions need; `forward`, `losses` and `attention` go on from there."""
        body = self._body()
        further = (self.lost | self.attended) - self.predicted
        read = {i for id in further for i in self.index[id].inputs}
        asked = {a.weight for a in self.graph.attentions} | {x.node for x in self.graph.losses}
        bounds = [
            n.id
            for n in self._in_order(self.predicted)
            if n.id in read | asked | set(self.graph.given) and n.op != "constant"
        ]
        if not bounds:
            return [self._forward()]
        body.emit(self._in_order(self.predicted), [*bounds, *bounds])
        names = Names("count", "index")
        given = []
        for id in bounds:
            node = self.index[id]
            expr = body.of(id)
            wish = expr.text if expr.text.isidentifier() else body.name_of(node)
            field = names.take(wish)
            self.keeps[field] = id
            given.append(expr.text)
        values = [
            "    def values(self, batch: Batch) -> Values:",
            *_rendered(body.lines),
            *broken(f"return Values({', '.join(given)})", 8),
        ]
        further_body = self._body()
        self._know(further_body)
        results = self._predictions(further_body)
        forward = [
            "    def forward(self, batch: Batch) -> dict[str, Tensor]:",
            "        values = self.values(batch)",
            *_rendered(further_body.lines),
            *broken(f"return {results}", 8),
        ]
        return [values, forward]

    def _body(self) -> Body:
        body = Body(self.unit, Names())
        body.nodes = dict(self.index)
        body.wishes = {p.node: p.name for p in self.graph.predictions}
        body.wishes |= {r.node: r.name for r in self.graph.results}
        body.wishes |= {x.node: x.name.replace(".", "_") for x in self.graph.losses}
        return body

    def _know(self, body: Body) -> None:
        """What `values` holds, and the numbers."""
        for field, id in self.keeps.items():
            body.values[id] = Expr(f"values.{field}")

    def _in_order(self, ids: set[int]) -> list[Node]:
        return [n for n in self.graph.nodes if n.id in ids]

    def _needed(self, body: Body, roots: Iterable[int]) -> list[Node]:
        """What still has to be computed for some nodes."""
        return self._in_order(_closure(self.index, roots, frozenset(body.values)) - set(body.values))

    # ---------------------------------------------------------------- losses

    def _losses(self) -> list[str]:
        body = self._body()
        lines = ["    def losses(self, batch: Batch) -> dict[str, Tensor]:"]
        self._know(body)
        if self.keeps:
            lines.append("        values = self.values(batch)")
        elif self.graph.predictions:
            lines.append("        predicted = self(batch)")
        roots = [x.node for x in self.graph.losses]
        body.emit(self._needed(body, roots), roots)
        if self.keeps:
            found = self._outputs(body)
        else:
            found = {quoted(p.name): f"predicted[{quoted(p.name)}]" for p in self.graph.predictions}
        entries = []
        for p in self.graph.predictions:
            label = f"{batch_of(body, self.index[p.node])}.labels[{quoted(p.name)}]"
            given = [found[quoted(p.name)], label]
            if p.name in self.graph.loss_weights:
                node = self.index[self.graph.loss_weights[p.name].node]
                weight = body.at(node.id, Shape(_PREDICTED, ()), node, whole=True)
                given.append(f"weight={weight.at(9)}.squeeze(-1)")
                if others := self._others(body, self.graph.loss_weights[p.name], p.name):
                    given.append(f"others=[{others}]")
            if p.positive != 1.0:
                given.append(f"positive={p.positive!r}")
            if p.loss[0] == "huber":
                given.append(f"huber={p.loss[1]!r}")
            entries.append(f"{quoted(p.name)}: {_loss_function(p)}({', '.join(given)})")
        entries += [f"{quoted(x.name)}: {self._term(body, x)}" for x in self.graph.terms]
        penalty = self._penalties(body)
        if penalty:
            entries.append(f'"l2": {penalty}')
        return [*lines, *_rendered(body.lines), *broken("return {" + ", ".join(entries) + "}", 8)]

    def _term(self, body: Body, loss: ExtraLoss) -> str:
        """The mean of an extra loss, over the examples whose labels it reads."""
        others = self._others(body, loss)
        if not others:
            return f"{body.of(loss.node).at(9)}.mean()"
        value = body.at(loss.node, Shape(_PREDICTED, ()), self.index[loss.node], whole=True)
        return f"mean_of_labelled({value.at(9)}.squeeze(-1), [{others}])"

    def _others(self, body: Body, loss: ExtraLoss, but: str = "") -> str:
        """The labels that a loss reads, but for one."""
        read = {n.attrs["prediction"]: n for n in labels_read(self.graph, loss.node)}
        return ", ".join(
            f"{batch_of(body, self.index[loss.node])}.labels[{quoted(p.name)}]"
            for p in self.graph.predictions
            if p.name in read and p.name != but
        )

    def _penalties(self, body: Body) -> str:
        """The sum of all L2 penalties."""
        parts: list[tuple[str, str | None]] = []
        for weight in self.graph.weights.values():
            if not weight.l2 or weight.frozen:
                continue
            readers = [n for n in self.graph.nodes if weight.path in n.weights]
            home = readers[0].device if readers else None
            if weight.kind == "table" and not readers:
                continue
            if weight.kind == "table":
                ids = dict.fromkeys(
                    ids_of(body, n, r) + ("" if r.mode is None else ".values")
                    for n in readers
                    for r in readings(n)
                    if r.table == weight.path
                )
                kind = "penalty_by_frequency" if weight.l2_by_frequency else "penalty"
                table = attribute(weight.path.removesuffix(".weight"))
                text = f"{weight.l2!r} * {table}.{kind}({', '.join(ids)})"
            else:
                text = f"{weight.l2!r} * {attribute(weight.path)}.square().sum()"
            parts.append((text, home))
        if not parts:
            return ""
        first = parts[0][1]
        body.say(f"penalty = {parts[0][0]}")
        for text, home in parts[1:]:
            if home != first and first is not None:
                text = f"ops.transfer({text}, {body.device(first)})"
            body.say(f"penalty = penalty + {text}")
        return "penalty"

    # ------------------------------------------------------------- attention

    def _attention(self) -> list[str]:
        body = self._body()
        self._know(body)
        roots = [a.weight for a in self.graph.attentions]
        body.emit(self._needed(body, roots), [*roots, *roots])
        entries = []
        for record in self.graph.attentions:
            node = self.index[record.weight]
            shape = self.unit.shapes.of(node)
            domain = shape.domain if shape.domain is not None else _PREDICTED
            value = body.at(node.id, Shape(domain, shape.dims), node, whole=True)
            ragged = ", ".join(f"{quoted(a.name)}: {body.axis(a)}" for a in node.type.axes if a.ragged)
            rows = body.rows(domain, node)
            entries.append(f"{quoted(record.path)}: Weights.of({value.text}, {rows}, {{{ragged}}})")
        return [
            "    def attention(self, batch: Batch) -> dict[str, Weights]:",
            *(["        values = self.values(batch)"] if self.keeps else []),
            *_rendered(body.lines),
            *broken("return {" + ", ".join(entries) + "}", 8),
        ]


def _closure(index: dict[int, Node], roots: Iterable[int], known: frozenset[int] = frozenset()) -> set[int]:
    found: set[int] = set()
    stack = list(roots)
    while stack:
        id = stack.pop()
        if id not in found:
            found.add(id)
            if id not in known:
                stack.extend(index[id].inputs)
    return found


def _rendered(lines: list[Line]) -> list[str]:
    """Statements broken to the width, each with the line of the spec where that changes."""
    result: list[str] = []
    last = ""
    for line in lines:
        indent = len(line.text) - len(line.text.lstrip())
        place = "" if line.span is None else f"{PurePath(line.span.source.name).name}:{line.span.line}"
        pieces = broken(line.text.lstrip(), indent) if line.text.strip() else [""]
        if place and place != last:
            note = f"  # {comment(place)}"
            if len(pieces[0]) + len(note) <= WIDTH + 12:
                pieces[0] += note
            else:
                pieces.insert(0, " " * indent + note.strip())
            last = place
        result += pieces
    return result
