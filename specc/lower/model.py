"""The functions of a lowered program: predictions, losses, attention weights, and what they share.

Assumes: a graph that `passes.prepared` has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from specc.ir.graph import ExtraLoss, Graph, Node, Output, Prediction, rankings, readings, reads_of
from specc.ir.inputs import fields_for, labels_read
from specc.lower import additive, tile
from specc.lower.blocks import blocks_of
from specc.lower.body import Body, Unit
from specc.lower.buffers import hold, reuse
from specc.lower.operations import lowered
from specc.lower.parts import parts_of
from specc.lower.program import Device, Field, Function, Parameter, Program, Ranking, Record, Value
from specc.lower.shape import EXAMPLES, Domain, Shape
from specc.ops import op
from specc.types.axis import Axis

_PREDICTED = Domain(frozenset(), candidate=True)
_SCORE = Shape(_PREDICTED, ())
_ALONE = Shape(None, ())


def lower(graph: Graph) -> Program:
    """The lowered program of a graph."""
    program = selected(graph)
    reuse(program)
    hold(program)
    program.parts = parts_of(graph, program.shared, program.forward)
    additive.join(program)
    tile.choose(program)
    for part in (program.parts.request, program.parts.candidate):
        part.blocks = blocks_of(part, graph.weights)
    return program


def selected(graph: Graph) -> Program:
    """The kernels of a program, before any buffer is used twice."""
    return _Model(graph).program()


class _Model:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.unit = Unit.of(graph, lowered)
        self.index = {n.id: n for n in graph.nodes}
        self.ranked = rankings(graph.nodes)
        self.predicted = self._closure(graph.given)
        self.lost = self._closure(x.node for x in graph.losses)
        self.attended = self._closure(a.weight for a in graph.attentions)
        # What other functions read of `values`, and which of it says what was chosen.
        self.shared: dict[int, Value] = {}
        self.chosen: dict[Axis, Ranking] = {}

    def program(self) -> Program:
        graph = self.graph
        values = self._shared() if graph.losses or graph.attentions else None
        attention = self._attention() if graph.attentions else None
        forward = self._forward()
        outputs = [self._output(r) for r in graph.results if self._is_partial(r)]
        return Program(graph, values, forward, self._losses(), attention, outputs)

    def _body(self) -> Body:
        """A body that knows what is shared."""
        body = Body(self.unit)
        body.nodes = dict(self.index)
        body.wishes = {p.node: p.name for p in self.graph.predictions}
        body.wishes |= {r.node: r.name for r in self.graph.results}
        body.wishes |= {x.node: x.name.replace(".", "_") for x in self.graph.losses}
        body.values = dict(self.shared)
        body.ranked = dict(self.chosen)
        return body

    def _closure(self, roots: Iterable[int], known: frozenset[int] = frozenset()) -> set[int]:
        """The nodes that some nodes depend on, and these; of what is known nothing further."""
        found: set[int] = set()
        stack = list(roots)
        while stack:
            id = stack.pop()
            if id not in found:
                found.add(id)
                if id not in known:
                    stack.extend(reads_of(self.index[id], self.ranked))
        return found

    def _in_order(self, ids: set[int]) -> list[Node]:
        return [n for n in self.graph.nodes if n.id in ids]

    def _needed(self, body: Body, roots: Iterable[int]) -> list[Node]:
        """What still has to be computed for some nodes."""
        return self._in_order(self._closure(roots, frozenset(body.values)) - set(body.values))

    # --------------------------------------------------------------- forward

    def _shared(self) -> Function | None:
        """`values` computes what predictions need; the other functions go on from there."""
        attentions = [self.index[a.weight] for a in self.graph.attentions]
        wanted = {i for id in self.lost - self.predicted for i in reads_of(self.index[id], self.ranked)}
        wanted |= {x.node for x in self.graph.losses} | set(self.graph.given)
        inspected = {
            i for id in self.attended - self.predicted for i in reads_of(self.index[id], self.ranked)
        }
        inspected |= {n.id for n in attentions}
        inspected |= {i for n in attentions for i in reads_of(n, self.ranked) if i not in n.inputs}
        wanted |= {i for id in inspected - wanted for i in self._copied(id)}
        bounds = [n.id for n in self._in_order(self.predicted) if n.id in wanted and n.op != op.CONSTANT]
        if not bounds:
            return None
        body = self._body()
        body.compute(self._in_order(self.predicted), [*bounds, *bounds])
        results = [body.of(id) for id in bounds]
        for value in results:
            value.kept = True
        self.shared = dict(zip(bounds, results, strict=True))
        self.chosen = {best: body.ranked[best] for best, id in self.ranked.items() if id in self.shared}
        return body.function(("values",), [], results)

    def _copied(self, id: int) -> Iterator[int]:
        """What a value is a copy of, for weights that are only looked at: predictions may do without it."""
        if self.index[id].op in (op.APPEND, op.RENAME):
            for i in reads_of(self.index[id], self.ranked):
                yield from self._copied(i)
        else:
            yield id

    def _forward(self) -> Function:
        body = self._body()
        if not self.shared:
            body.compute(self._in_order(self.predicted), self.graph.given)
        found = self._outputs(body)
        for result in self.graph.results:
            value = body.at(result.node, _SCORE, self.index[result.node], whole=True)
            found[result.name] = self._number(body, value)
        return self._named(body, "forward", list(found), list(found.values()))

    def _number(self, body: Body, value: Value) -> Value:
        """A result of one channel as a number."""
        return value if value.width > 1 else body.make("squeeze", value, like=value, view=value)

    def _is_partial(self, result: Output) -> bool:
        """Whether a result is of the request alone, or of the candidate alone."""
        fields = set(fields_for(self.graph, result.node))
        return len({f.role for s in self.graph.spaces for f in s.fields if f.path in fields}) == 1

    def _output(self, result: Output) -> Function:
        """A result by itself, of a batch that has only what it reads: of a request's, one a request."""
        shared, chosen = self.shared, self.chosen
        self.shared, self.chosen = {}, {}
        body = self._body()
        self.shared, self.chosen = shared, chosen
        node = self.index[result.node]
        body.compute(self._in_order(self._closure([node.id])), [node.id])
        rows = self.unit.shapes.of(node).domain or EXAMPLES
        value = body.at(node.id, Shape(rows, ()), node, whole=True)
        return body.function((f"output_{result.name}",), [], [self._number(body, value)])

    def _outputs(self, body: Body) -> dict[str, Value]:
        """By name, every prediction: one for each candidate."""
        found = {}
        for prediction in self.graph.predictions:
            value = body.at(prediction.node, _SCORE, self.index[prediction.node], whole=True)
            if prediction.kind != "class":
                value = body.make("squeeze", value, like=value, view=value)
            found[prediction.name] = value
        return found

    def _named(self, body: Body, name: str, keys: list[str], results: list[Value]) -> Function:
        function = body.function((name,), [], results)
        function.keys = keys
        return function

    # ---------------------------------------------------------------- losses

    def _losses(self) -> Function:
        body = self._body()
        graph = self.graph
        roots = [x.node for x in graph.losses]
        body.compute(self._needed(body, roots), roots)
        if self.shared:
            found = self._outputs(body)
        else:
            found = {
                p.name: body.make("predicted", p.name, like=self.index[p.node], shape=_SCORE)
                for p in graph.predictions
            }
        keys, results = [p.name for p in graph.predictions], []
        for p in graph.predictions:
            label = Field(p.name, "label", self.index[p.node].device)
            options: dict[str, object] = {}
            if p.name in graph.loss_weights:
                weighed = self.index[graph.loss_weights[p.name].node]
                weight = body.at(weighed.id, _SCORE, weighed, whole=True)
                options["weight"] = body.make("squeeze", weight, like=weight, view=weight)
                if others := self._others(graph.loss_weights[p.name], p.name):
                    options["others"] = others
            if p.positive != 1.0:
                options["positive"] = p.positive
            if p.loss[0] == "huber":
                options["huber"] = p.loss[1]
            score, node = found[p.name], self.index[p.node]
            beside = (body.rows(_PREDICTED, node),) if p.among == "request" else ()
            if p.name in graph.choices:
                value = body.at(graph.choices[p.name].node, _SCORE, node, whole=True)
                score = body.make("squeeze", value, like=value, view=value)
            given = score, label, *beside
            loss = body.make(_loss_function(p), *given, like=score, shape=_ALONE, width=1, options=options)
            results.append(loss)
        for x in graph.terms:
            keys.append(x.name)
            results.append(self._term(body, x))
        penalty = self._penalties(body)
        if penalty is not None:
            keys.append("l2")
            results.append(penalty)
        return self._named(body, "losses", keys, results)

    def _term(self, body: Body, loss: ExtraLoss) -> Value:
        """The mean of an extra loss, over the examples whose labels it reads."""
        others = self._others(loss)
        if others or self.graph.of_requests:  # of a request's candidates each is an example
            value = body.at(loss.node, _SCORE, self.index[loss.node], whole=True)
            number = body.make("squeeze", value, like=value, view=value)
            return body.make("mean_of_labelled", number, others, like=value, shape=_ALONE)
        value = body.of(loss.node)
        return body.make("mean_of_labelled", value, [], like=value, shape=_ALONE)

    def _others(self, loss: ExtraLoss, but: str = "") -> list[Field]:
        """The labels that a loss reads, but for one."""
        read = {n.attrs["prediction"] for n in labels_read(self.graph, loss.node)}
        device = self.index[loss.node].device
        return [Field(p.name, "label", device) for p in self.graph.predictions if p.name in read - {but}]

    def _penalties(self, body: Body) -> Value | None:
        """The sum of all L2 penalties."""
        total: Value | None = None
        for weight in self.graph.weights.values():
            if not weight.l2 or weight.frozen:
                continue
            readers = [n for n in self.graph.nodes if weight.path in n.weights]
            whole = [n for n in readers if n.op == op.ROWS]
            if weight.kind == "table" and not whole:
                readers = [n for n in readers if readings(n)]
            if weight.kind == "table" and not readers:
                continue
            if whole:
                name = "penalty_of_all_by_frequency" if weight.l2_by_frequency else "penalty_of_all"
                table = Parameter(weight.path.removesuffix(".weight"), layer=True)
                part = body.make(name, weight.l2, table, shape=_ALONE, width=1)
            elif weight.kind == "table":
                ids = dict.fromkeys(
                    Field(r.field, "column" if r.mode is None else "values", n.device)
                    for n in readers
                    for r in readings(n)
                    if r.table == weight.path
                )
                name = "penalty_by_frequency" if weight.l2_by_frequency else "penalty"
                table = Parameter(weight.path.removesuffix(".weight"), layer=True)
                part = body.make(name, weight.l2, table, *ids, shape=_ALONE, width=1)
            else:
                part = body.make("square_sum", weight.l2, Parameter(weight.path), shape=_ALONE, width=1)
            part.device = readers[0].device if readers else None
            if total is None:
                total = part
            else:
                if part.device != total.device and total.device is not None:
                    part = body.make("transfer", part, *_on(total), like=part)
                    part.device = total.device
                total = body.make("add", total, part, like=total)
            total.names, total.kept = ("penalty",), True
        return total

    # ------------------------------------------------------------- attention

    def _attention(self) -> Function:
        body = self._body()
        roots = [a.weight for a in self.graph.attentions]
        body.compute(self._needed(body, roots), [*roots, *roots])
        results = []
        for record in self.graph.attentions:
            node = self.index[record.weight]
            shape = self.unit.shapes.of(node)
            domain = shape.domain if shape.domain is not None else _PREDICTED
            value = body.at(node.id, Shape(domain, shape.dims), node, whole=True)
            ragged = Record("axes", tuple(a for a in node.type.axes if a.ragged))
            results.append(body.make("weights", value, body.rows(domain, node), ragged, like=value))
        return self._named(body, "attention", [a.path for a in self.graph.attentions], results)


def _loss_function(prediction: Prediction) -> str:
    """The function of the runtime that gives a prediction's loss."""
    if prediction.kind == "real":
        return {"mse": "real_loss", "mae": "absolute_loss", "huber": "huber_loss"}[prediction.loss[0]]
    if prediction.rows is not None:
        return "table_loss"
    if prediction.among == "request":
        return "request_loss"
    return f"{prediction.kind}_loss"


def _on(value: Value) -> tuple[object, ...]:
    return () if value.device is None else (Device(value.device),)
