"""The kernels of one function.

Promises: every node's value is computed once. Values meet with their static axes in one order and their rows
expanded to the rows of what they are combined with.
Leaves which kernels an operation takes to `operations`, and loops to `loops`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from itertools import count
from typing import Any

from specc.frozen import dataclass
from specc.ir.graph import Graph, Node
from specc.lower.fusion import Fusions, fusions
from specc.lower.program import Device, Dtype, Field, Function, Kernel, LookedUp, Matrix, Ranking, Rows, Value
from specc.lower.shape import EXAMPLES, Domain, Shape, Shapes, whole_shape
from specc.ops import definition, op
from specc.ops.products import Product, products_of
from specc.types import kinds
from specc.types.axis import Axis

EVERYWHERE = Shape(None, ())


@dataclass
class Unit:
    """What all functions of a program have in common. lowered: the kernels of a node (`operations.lowered`),
    None if its values are known to the body already. looked_up: by value, what it was looked up from."""

    graph: Graph
    shapes: Shapes
    roles: Mapping[str, str]
    lowered: Callable[[Body, Node], Value | None]
    numbers: Iterable[int] = field(default_factory=count)
    looked_up: dict[Value, LookedUp] = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph, lowered: Callable[[Body, Node], Value | None]) -> Unit:
        return Unit(graph, Shapes(graph), {space.name: space.role for space in graph.spaces}, lowered)

    def next_id(self) -> int:
        return next(self.numbers)  # type: ignore[call-overload,no-any-return]


class Body:
    """flat: all values have the same rows (in a step of a loop, in a tile), so that nothing is expanded."""

    def __init__(self, unit: Unit, flat: bool = False) -> None:
        self.unit = unit
        self.flat = flat
        self.kernels: list[Kernel] = []
        self.values: dict[int, Value] = {}
        self.nodes: dict[int, Node] = {}
        self.wishes: dict[int, str] = {}
        self.fusions = Fusions()
        self.ranked: dict[Axis, Ranking] = {}
        self._uses: Counter[int] = Counter()
        self._expanded: dict[tuple[int, Domain], Value] = {}
        self._lookups: list[Node] = []

    def inner(self, flat: bool = False) -> Body:
        """The body of a function within this one, which knows the same choices of positions."""
        found = Body(self.unit, flat)
        found.ranked = self.ranked
        return found

    # --------------------------------------------------------------- kernels

    def compute(self, nodes: Iterable[Node], ends: Iterable[int] = ()) -> None:
        """All nodes that are not known yet, in order. `ends` are read from outside."""
        nodes = list(nodes)
        self.nodes |= {n.id: n for n in nodes}
        self._uses.update(i for n in nodes for i in n.inputs)
        self._uses.update(ends)
        self._lookups += [n for n in nodes if n.op == op.LOOKUP and n.id not in self.values]
        self.fusions = fusions(nodes, self.nodes, self._uses, self.values, self.unit.shapes)
        for node in nodes:
            if node.id not in self.values and node.id not in self.fusions.put_off:
                value = self.unit.lowered(self, node)
                if value is not None:
                    self.values[node.id] = self._bound(node, value)

    def reads(self, id: int) -> int:
        """How often a value of this function is read, from outside of it too."""
        return self._uses[id]

    def make(
        self,
        name: str,
        *args: Any,
        like: Value | Node | None = None,
        shape: Shape | None = None,
        width: int | None = None,
        dtype: Dtype = "real",
        view: Value | None = None,
        over: Value | None = None,
        span: Node | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Value:
        """The result of a kernel, of the shape, width and device of a value or node.

        view: the value of which it is a view. over: the operand in whose place it is written.
        """
        if isinstance(like, Node):
            shape, width, device = shape or self.shape(like), width or like.type.width, like.device
            span = span or like
        elif like is not None:
            shape, width, device = shape or like.shape, width or like.width, like.device
        else:
            device = None
        assert shape is not None
        assert width is not None
        base = view if view is not None else over
        where = None if span is None else span.span
        value = Value(self.unit.next_id(), shape, width, device, dtype, span=where, base=base)
        value.written = over is not None
        self.kernels.append(Kernel(name, args, (value,), options or {}, where, over))
        return value

    def passed_on(self, value: Value, to: Value) -> Value:
        """The value that another one is handed on as."""
        if value in self.unit.looked_up:
            self.unit.looked_up[to] = self.unit.looked_up[value]
        return to

    def looked_up(self, value: Value) -> dict[str, LookedUp]:
        """An option that says what a value was looked up from, if it was."""
        found = self.unit.looked_up.get(value)
        return {} if found is None else {"looked_up": found}

    def statement(
        self, name: str, *args: Any, results: tuple[Value | None, ...], span: Node, **options: Any
    ) -> None:
        """A kernel with several results, all of which are held."""
        for result in results:
            if result is not None:
                result.held = True
        self.kernels.append(Kernel(name, args, results, options, span.span))

    def value_of(self, node: Node) -> Value:
        """A new value for a node."""
        found = Value(self.unit.next_id(), self.shape(node), node.type.width, node.device, span=node.span)
        return self._named(node, found)

    def number(self, value: float) -> Value:
        """A number that is known."""
        return Value(self.unit.next_id(), EVERYWHERE, 1, dtype="number", number=value)

    def function(self, names: tuple[str, ...], parameters: list[Value], results: list[Value]) -> Function:
        return Function(names, self.kernels, parameters, results)

    def looked_up_with(self, node: Node) -> list[Node]:
        """The lookups of this function that have tables in common with a node's, itself among them."""
        tables, found = set(node.weights), {node.id}
        while more := [n for n in self._lookups if n.id not in found and tables.intersection(n.weights)]:
            found.update(n.id for n in more)
            tables.update(path for n in more for path in n.weights)
        return [n for n in self._lookups if n.id in found]

    def _bound(self, node: Node, value: Value) -> Value:
        if value.dtype == "number":
            return value
        if value.names:  # it is another node's value too
            if node.name is None:
                return value
            value = self.passed_on(
                value, self.make("same", value, like=value, dtype=value.dtype, view=value, span=node)
            )
        return self._named(node, value)

    def _named(self, node: Node, value: Value) -> Value:
        wish = self.wishes.get(node.id, node.name)
        if wish is not None:
            last = node.scope.rpartition(".")[2]
            value.names = (wish, f"{last}_{wish}" if last not in ("", wish) else wish)
            value.given = True
        else:
            layer = node.weights[0].split(".")[-2:][0] if node.weights else ""
            value.names = (definition(node).noun or layer or node.op,)
        if value.span is None:
            value.span = node.span
        return value

    # ------------------------------------------------------------------ rows

    def shape(self, node: Node) -> Shape:
        return self.unit.shapes.of(node)

    def rows(self, domain: Domain, node: Node, *along: Axis) -> Rows:
        """The rows of a domain, for a node's device. along: axes beside it whose lengths they are asked."""
        best = {found for axis in (*domain.axes, *along) for found in kinds.chosen(axis)}
        ranked = sorted((self.ranked[axis] for axis in best), key=lambda ranking: ranking.value.id)
        return Rows(domain, node.device, tuple(ranked))

    def rank(self, node: Node, value: Value, rows: Rows) -> Value:
        """The value of a node that says which positions were chosen; from now on lengths follow from it."""
        value.kept = True
        self.ranked[node.attrs["axis"]] = Ranking(value, rows, node.attrs["axis"])
        return value

    def on(self, node: Node) -> tuple[Device, ...]:
        """A last argument that says a node's device, if it has one."""
        return (Device(node.device),) if node.device is not None else ()

    def field(self, path: str, node: Node, mode: str | None = None) -> Field:
        return Field(path, "column" if mode is None else "bag", node.device)

    def matrices(self, node: Node) -> tuple[Matrix, Matrix | None]:
        """The matrix of a product, and its bias if it has one."""
        width = self.nodes[node.inputs[0]].type.width
        return matrices(products_of(node, width), width)

    # ---------------------------------------------------------------- inputs

    def of(self, id: int) -> Value:
        """A value as a tensor of its own shape; conditions as numbers."""
        value, node = self.values[id], self.nodes[id]
        if value.dtype == "number":
            return self.make("constant", value.number, *self.on(node), like=node, shape=EVERYWHERE)
        if value.dtype == "mask":
            return self.make("real", value, like=value)
        return value

    def mask(self, id: int, shape: Shape, node: Node) -> Value:
        """A value as a condition, with the rows and dimensions of a shape."""
        value = self.values[id]
        if value.dtype == "mask":
            return self._fitted(id, value, shape, node, whole=True)
        fitted = self.at(id, shape, node, whole=True)
        return self.make("nonzero", fitted, like=fitted, dtype="mask")

    def at(self, id: int, shape: Shape, node: Node, whole: bool = False) -> Value:
        """An input of a node, with the rows and dimensions of a shape.

        whole: a value that is the same everywhere is repeated, too; else it broadcasts.
        """
        return self._fitted(id, self.of(id), shape, node, whole)

    def pointwise(self, id: int, shape: Shape, node: Node) -> Value:
        """An input that broadcasts; a number stays one."""
        value = self.values[id]
        return value if value.dtype == "number" else self.at(id, shape, node)

    def _fitted(self, id: int, value: Value, shape: Shape, node: Node, whole: bool) -> Value:
        own = self.shape(self.nodes[id])
        if not self.flat and shape.domain is not None and own.domain != shape.domain:
            if own.domain is not None:
                value = self._expand(id, value, own.domain, shape.domain, node)
            elif whole:
                value = self.repeat(value, shape.domain, node)
        return self.spread(value, own.dims, shape.dims)

    def repeat(self, value: Value, domain: Domain, node: Node) -> Value:
        """What is the same everywhere, at some rows: a view of it."""
        to = Shape(domain, value.shape.dims)
        return self.make("repeat", value, self.rows(domain, node), like=value, shape=to, dtype=value.dtype,
                         view=value)  # fmt: skip

    def _expand(self, id: int, value: Value, own: Domain, to: Domain, node: Node) -> Value:
        key = (id, to)
        if key not in self._expanded:
            source = self.nodes[id]
            rows = (self.rows(own, node), self.rows(to, node))
            made = self.make("expand", value, *rows, like=value, shape=Shape(to, value.shape.dims),
                             dtype=value.dtype, span=source)  # fmt: skip
            made.names, made.device, made.kept = ("each",), node.device, True
            made.after = value
            if source.name:
                made.names, made.after = (f"each_{source.name}",), None
            self._expanded[key] = made
        return self._expanded[key]

    def spread(self, value: Value, have: tuple[Axis, ...], want: tuple[Axis, ...]) -> Value:
        """A dimension of size 1 for each static axis that the value lacks."""
        if have != want:
            places = [1 + number for number, axis in enumerate(want) if axis not in have]
            shape = Shape(value.shape.domain, want)
            value = self.make(
                "unsqueeze", value, *places, like=value, shape=shape, dtype=value.dtype, view=value
            )
        return value

    def hold(self, value: Value, *names: str) -> Value:
        """The value, held by a local that a nested function reads."""
        if value.dtype == "mask":
            value = self.make("real", value, like=value)
        if value.dtype != "number":
            value.kept = True
            if not value.names:
                value.names = names
        return value


def with_examples(shape: Shape) -> Domain:
    """The rows of a shape, also where the value is the same everywhere."""
    domain = whole_shape(shape).domain
    return domain if domain is not None else EXAMPLES


def matrices(products: tuple[Product, ...], width: int) -> tuple[Matrix, Matrix | None]:
    """The matrix of some products of an input of `width` channels, and their bias if any has one."""
    bias = Matrix(products, width, bias=True) if any(p.bias for p in products) else None
    return Matrix(products, width), bias
