"""The statements of one function of the emitted source.

Promises: every node's value is computed once, under the name that the spec gives it; what has no name and is
read once stands inside the expression that reads it. Values meet with their static axes in one order and
their rows expanded to the rows of what they are combined with.
Leaves what each operation is called to `operations`, and loops to `loops`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from specc.emit.axes import Axes
from specc.emit.code import ATOM, COMPARISON, Expr, Line, quoted
from specc.emit.names import Names, attribute
from specc.emit.shape import EXAMPLES, Domain, Shape, Shapes
from specc.emit.steps import biased
from specc.ir.graph import Graph, Node
from specc.passes.roles import CANDIDATE, axis_role
from specc.types.axis import Axis

# A nested expression longer than this gets a name of its own: a value that lives until its function ends.
_LONGEST = 100
# Operations that make a tensor of their own, which their derivative does not read.
FRESH = frozenset({"add", "sub", "mul", "linear", "project"})
_MADE_UP = {
    "add": "total",
    "attention": "seen",
    "concat": "joined",
    "div": "ratio",
    "dot": "product",
    "embed": "found",
    "embed_bag": "found",
    "lookup": "found",
    "mul": "product",
    "project": "projected",
    "sub": "difference",
}


@dataclass
class Lying:
    """Where the nodes' values lie.

    named: those that have names in a function, and live until it ends. over: by node, the input in the
    place of which its value is. nowhere: those that have no tensor of their own.
    """

    named: set[int] = field(default_factory=set)
    over: dict[int, int] = field(default_factory=dict)
    nowhere: set[int] = field(default_factory=set)


@dataclass
class Unit:
    """What all functions of a module share: the graph, its axes' constants, and functions of the module."""

    graph: Graph
    shapes: Shapes
    axes: Axes
    names: Names
    roles: Mapping[str, str]
    functions: list[Line] = field(default_factory=list)
    lying: Lying = field(default_factory=Lying)
    imports: set[str] = field(default_factory=set)

    @staticmethod
    def of(graph: Graph, *taken: str) -> Unit:
        roles = {space.name: space.role for space in graph.spaces}
        names = Names(*taken)
        return Unit(graph, Shapes(graph), Axes(roles, names), names, roles)


class Body:
    """`flat` bodies see rows of one kind only (a step of a loop, a tile): nothing is expanded in them.
    `outer` is the function that a local function stands in."""

    def __init__(self, unit: Unit, names: Names, flat: bool = False, outer: Body | None = None) -> None:
        self.unit = unit
        self.names = names
        self.indent: int = 8 if outer is None else outer.indent + 4
        self.flat = flat
        self.outer = outer
        self.lines: list[Line] = []
        self.values: dict[int, Expr] = {}
        self.nodes: dict[int, Node] = {}
        self.devices: dict[str, str] = {}
        self.layouts: dict[str | None, str] = {}
        self.wishes: dict[int, str] = {}
        self._given: dict[int, str] = {}
        self._weights: dict[str, str] = {}
        self._uses: Counter[int] = Counter()
        self._expanded: dict[tuple[int, Domain], Expr] = {}
        self._lookups: list[Node] = []
        # Products that a recurrence computes itself, in the order of its steps, or that are added to a value
        # where they are computed.
        self.put_off: set[int] = set()
        # By sum: the value that a product is added to, in its place, and the product.
        self.added: dict[int, tuple[int, int]] = {}
        # By what is some of a product's rows alone, or a sum of these and another value: the node that picks
        # them, and the other value.
        self.picked: dict[int, tuple[Node, int | None]] = {}

    # ------------------------------------------------------------ statements

    def emit(self, nodes: Iterable[Node], ends: Iterable[int] = ()) -> None:
        """All nodes that are not known yet, in order. `ends` are read from outside."""
        from specc.emit.operations import expression

        nodes = list(nodes)
        self.nodes |= {n.id: n for n in nodes}
        self._uses.update(i for n in nodes for i in n.inputs)
        self._uses.update(ends)
        self._lookups += [n for n in nodes if n.op == "lookup" and n.id not in self.values]
        for node in nodes:
            if node.op == "recurrence":
                self.put_off |= {i for i in node.inputs if self._uses[i] == 1 and self._put_off(i, node)}
            elif node.op == "add" and (found := self._product_to_add(node)) is not None:
                self.added[node.id] = found
                self.put_off.add(found[1])
            elif node.op in ("init", "tail") and self._picks_product(node):
                self.picked[node.id] = node, None
                self.put_off.add(node.inputs[0])
            elif node.op == "add" and (rows := self._picked_to_add(node)) is not None:
                self.picked[node.id] = rows
                self.put_off.add(rows[0].id)
        for node in nodes:  # the spec's names come before those that are made up
            wish = self.wishes.get(node.id, node.name)
            if wish is not None and node.id not in self.values and node.id not in self._given:
                last = node.scope.rpartition(".")[2]
                self._given[node.id] = self.names.take(
                    wish, f"{last}_{wish}" if last not in ("", wish) else wish
                )
        for node in nodes:
            if node.id in self.values or node.id in self.put_off:
                continue
            expr = expression(self, node)
            if expr is not None:
                self.values[node.id] = self._bound(node, expr)

    def reads(self, id: int) -> int:
        """How often a value of this function is read, from outside of it too."""
        return self._uses[id]

    def _put_off(self, id: int, recurrence: Node) -> bool:
        """Whether a value that nothing else reads is a product for every step of a recurrence."""
        node = self.nodes[id]
        return node.op in ("linear", "project") and node.type.has(recurrence.attrs["axis"])

    def _product_to_add(self, node: Node) -> tuple[int, int] | None:
        """Of a sum of two values that nothing else reads, one whose place it may take and a product that is
        added to it: that is one operation, and nothing new."""
        for place, product in (node.inputs, node.inputs[::-1]):
            ids = (node.id, place, product)
            shapes = [self.shape(self.nodes[i]) for i in ids]
            whole = shapes[0].domain is not None and shapes[2].domain == shapes[0].domain
            alone = all(i in self.nodes and self._uses[i] == 1 and i not in self.values for i in ids[1:])
            if not whole or not alone or shapes[1].domain is None or any(s.dims for s in shapes):
                continue
            same = self.nodes[place].type.width == self.nodes[product].type.width
            if same and self.nodes[place].op in FRESH and self._addable(self.nodes[product]):
                return place, product
        return None

    def _picks_product(self, node: Node) -> bool:
        """Whether a node picks rows of a product that nothing else reads."""
        (id,) = node.inputs
        alone = self._uses[id] == 1 and id in self.nodes and id not in self.values
        if not alone or not node.attrs["old"].ragged or self.shape(node).dims:
            return False
        return self.nodes[id].op in ("linear", "project") and self.shape(self.nodes[id]).domain is not None

    def _picked_to_add(self, node: Node) -> tuple[Node, int] | None:
        """Of a sum of two values the one that is some rows of a product, if nothing else reads these; and the
        other one."""
        for other, id in (node.inputs, node.inputs[::-1]):
            picks = self.picked.get(id)
            if picks is None or picks[1] is not None or self._uses[id] > 1 or other == id:
                continue
            same = self.nodes[other].type.width == node.type.width == self.nodes[id].type.width
            if same and self.shape(self.nodes[other]) == self.shape(self.nodes[id]) == self.shape(node):
                return picks[0], other
        return None

    def _addable(self, node: Node) -> bool:
        return (
            node.op in ("linear", "project") and node.id not in self.put_off and not biased(node, self.nodes)
        )

    def looked_up_with(self, node: Node) -> list[Node]:
        """The lookups of this function that have tables in common with a node's, itself among them."""
        tables, found = set(node.weights), {node.id}
        while more := [n for n in self._lookups if n.id not in found and tables.intersection(n.weights)]:
            found.update(n.id for n in more)
            tables.update(path for n in more for path in n.weights)
        return [n for n in self._lookups if n.id in found]

    def _bound(self, node: Node, expr: Expr) -> Expr:
        if expr.literal or (expr.text.isidentifier() and node.name is None):
            return expr
        if node.id not in self._given and self._uses[node.id] < 2 and len(expr.text) <= _LONGEST:
            return expr
        name = self.name_of(node)
        self.unit.lying.named.add(node.id)
        self.say(f"{name} = {expr.text}", node)
        return Expr(name, boolean=expr.boolean)

    def say(self, text: str, node: Node | None = None) -> None:
        """A statement, with the place in the spec that it comes from."""
        self.lines.append(Line(" " * self.indent + text, node.span if node is not None else None))

    def name_of(self, node: Node) -> str:
        """The name of a node's value: the spec's, else one made up of what it is."""
        if node.id not in self._given:
            layer = node.weights[0].split(".")[-2:][0] if node.weights else ""
            self._given[node.id] = self.names.take(_MADE_UP.get(node.op) or layer or node.op)
        return self._given[node.id]

    def weight(self, path: str) -> str:
        """A local for a weight of which parts are read."""
        if path not in self._weights:
            text = attribute(path)
            name = self.names.take("_".join(path.split(".")[-2:]))
            self.say(f"{name} = {text}")
            self._weights[path] = name
        return self._weights[path]

    def named(self, wish: str, text: str, node: Node) -> Expr:
        """An expression under a name."""
        name = self.names.take(wish)
        self.say(f"{name} = {text}", node)
        return Expr(name)

    # ------------------------------------------------------------------ rows

    def shape(self, node: Node) -> Shape:
        return self.unit.shapes.of(node)

    def layout(self, device: str | None) -> str:
        """The local that holds the batch's layout on a device."""
        if self.outer is not None:
            return self.outer.layout(device)
        if device not in self.layouts:
            text = "batch.layout" if device is None else f"batch.layout_on({self.device(device)})"
            name = self.names.take(f"at_{device}") if self.layouts else "at"
            self.layouts[device] = name
            self.lines.insert(len(self.devices), Line(" " * self.indent + f"{name} = {text}"))
        return self.layouts[device]

    def device(self, name: str) -> str:
        """The local that holds a device."""
        if self.outer is not None:
            return self.outer.device(name)
        if name not in self.devices:
            local = self.names.take(name, f"on_{name}")
            self.lines.insert(
                len(self.devices), Line(" " * self.indent + f"{local} = self.device({quoted(name)})")
            )
            self.devices[name] = local
        return self.devices[name]

    def on(self, node: Node) -> str:
        """A last argument that says a node's device, if it has one."""
        return f", {self.device(node.device)}" if node.device is not None else ""

    def rows(self, domain: Domain, node: Node) -> str:
        """The rows of a domain, for a node's device."""
        parts = []
        inner = [a for a in domain.axes if not any(b.parent == a for b in domain.axes)]
        own = any(axis_role(a, self.unit.roles) == CANDIDATE for a in inner)
        if domain.candidate and not own:
            self.unit.axes.uses_candidate = True
            parts.append("CANDIDATE")
        parts += sorted(self.unit.axes.constant(a) for a in inner)
        return f"{self.layout(node.device)}[{', '.join(parts) or '()'}]"

    def axis(self, axis: Axis) -> str:
        return self.unit.axes.constant(axis)

    # ---------------------------------------------------------------- inputs

    def of(self, id: int) -> Expr:
        """A value as a tensor of its own shape; conditions as numbers."""
        expr = self.values[id]
        if expr.literal:
            node = self.nodes[id]
            return Expr(f"self.constant({expr.text}{self.on(node)})")
        if expr.boolean:
            return Expr(f"{expr.at(ATOM)}.to(self.dtype)")
        return expr

    def mask(self, id: int, shape: Shape, node: Node) -> Expr:
        """A value as a condition, with the rows and dimensions of a shape."""
        expr = self.values[id]
        if expr.boolean:
            return self._fitted(id, expr, shape, node, whole=True)
        fitted = self.at(id, shape, node, whole=True)
        return Expr(f"{fitted.at(COMPARISON + 1)} != 0", COMPARISON, boolean=True)

    def at(self, id: int, shape: Shape, node: Node, whole: bool = False) -> Expr:
        """An input of a node, with the rows and dimensions of a shape.

        whole: a value that is the same everywhere is repeated, too; else it broadcasts.
        """
        return self._fitted(id, self.of(id), shape, node, whole)

    def pointwise(self, id: int, shape: Shape, node: Node) -> Expr:
        """An input that broadcasts; a number stays one."""
        expr = self.values[id]
        return expr if expr.literal else self.at(id, shape, node)

    def _fitted(self, id: int, expr: Expr, shape: Shape, node: Node, whole: bool) -> Expr:
        source = self.nodes[id]
        own = self.shape(source)
        if not self.flat and shape.domain is not None and own.domain != shape.domain:
            if own.domain is not None:
                expr = self._expand(id, expr, own.domain, shape.domain, node)
            elif whole:
                expr = Expr(f"ops.repeat({expr.text}, {self.rows(shape.domain, node)})")
        return self.spread(expr, own.dims, shape.dims)

    def _expand(self, id: int, expr: Expr, own: Domain, to: Domain, node: Node) -> Expr:
        key = (id, to)
        if key not in self._expanded:
            source = self.nodes[id]
            text = f"ops.expand({expr.text}, {self.rows(own, node)}, {self.rows(to, node)})"
            base = source.name or (expr.text if expr.text.isidentifier() else "")
            self._expanded[key] = self.named(f"each_{base}" if base else "each", text, source)
        return self._expanded[key]

    def spread(self, expr: Expr, have: tuple[Axis, ...], want: tuple[Axis, ...]) -> Expr:
        """A dimension of size 1 for each static axis that the value lacks."""
        text = expr.text
        if have != want:
            text = expr.at(ATOM)
            for number, axis in enumerate(want):
                if axis not in have:
                    text += f".unsqueeze({1 + number})"
            return Expr(text, boolean=expr.boolean)
        return expr


def whole_shape(shape: Shape) -> Shape:
    """The shape with rows, also where the value is the same everywhere."""
    return shape if shape.domain is not None else Shape(EXAMPLES, shape.dims)
