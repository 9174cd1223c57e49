"""The derivative of a recurrence's step, in reverse mode.

Promises: kernels from the last operation to the first, so that all readers of a value come before it. Where
the loop stores a derivative (of a value of the sequence, of a matrix product's result) it is computed into
its place; so is the derivative of a sum or slice that passes on to it unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from specc.frozen import dataclass
from specc.ir.graph import Node, Region
from specc.lower.program import Derived, Function, Value
from specc.lower.rows import Code
from specc.lower.steps import Step
from specc.ops import OPS, op
from specc.ops.texts import placeholders

# Functions whose derivative is computed in place of that of their result.
_ALONE = (op.TANH, op.SIGMOID, op.EXP)


@dataclass(frozen=True)
class Part:
    """A summand of a derivative. kind: `name` (a value that others read too, or a view of one), `new` (one
    that nothing else reads), or the kernel that computes it of its operands: `mul`, `sub`, `mm`, `scaled`
    (times a number), or `derived` (the derivative of an operation, `of`)."""

    kind: str
    operands: tuple[Value, ...]
    of: Derived | None = None

    def kernel(self) -> tuple[str, tuple[object, ...]]:
        """The kernel that gives it."""
        name = {"scaled": op.MUL, "mul": op.MUL, "sub": op.SUB}.get(self.kind, self.kind)
        return name, self.operands if self.of is None else (self.of, *self.operands)


@dataclass(frozen=True)
class Place:
    """Channels start .. stop of a place that the loop gives: one of d_values (`value`, its index) or, with
    `value` None, a product's own."""

    argument: Value
    start: int
    stop: int
    value: int | None = None

    def part(self, start: int, stop: int) -> Place:
        return Place(self.argument, self.start + start, self.start + stop, self.value)

    @property
    def whole(self) -> bool:
        return self.stop - self.start == self.argument.width


class Adjoint:
    """of: the values of the step, by node. matrices: by product. seen, held: the captures that vary, and that
    stay."""

    def __init__(
        self,
        region: Region,
        steps: Sequence[Step],
        of: Mapping[int, Value],
        matrices: Mapping[int, Value],
        seen: Sequence[int],
        held: Sequence[int],
    ) -> None:
        self.region, self.steps, self.of, self.matrices = region, steps, of, matrices
        self.seen, self.held = seen, held
        self.code = Code()
        self.nodes = {n.id: n for n in region.nodes}
        self.multiplied = [n for n in region.nodes if n.id in matrices]
        self.uses = Counter(i for s in steps for i in s.inputs)
        self.uses.update(region.nexts)
        self.slices: dict[int, list[Step]] = {}
        for step in steps:
            if step.kind == op.SLICE:
                self.slices.setdefault(step.inputs[0], []).append(step)
        # What is read of the step's values; in the order in which it is first.
        self.read: dict[int, None] = {}
        self.parts: dict[int, list[Part]] = {}
        self.d: dict[int, Value] = {}
        self.views: dict[Place, Value] = {}
        self.located: dict[Value, Place] = {}
        self.sloped: tuple[bool, ...] = ()
        self.places: tuple[tuple[int, int, int] | None, ...] = ()
        self.groups: dict[str, list[Value]] = {}

    def function(self) -> Function:
        self._choose_places()
        d_next = [self.code.value(self.of[id].width, f"d_{self._name(id)}_next") for id in self.region.states]
        for id, value in zip(self.region.nexts, d_next, strict=True):
            self._give(id, Part("name", (value,)))
        for step in reversed(self.steps):
            if self.parts.get(step.id) or self._collected(step.id):
                self._derived(step.node)
                self._pass_on(step)
        for id in (*self.seen, *self.held, *self.region.states):
            if self.parts.get(id) or self._collected(id):
                self._derived(self.nodes[id])
        self.sloped = tuple(id in self.d for id in self.seen)
        factors = [self._read(n.inputs[0]) for n in self.multiplied]
        products = list(self.product_places.values())
        self.groups = {"d_next": d_next, "d_values": self.value_places, "d_products": products}
        found = Function(("back",), self.code.kernels)
        found.results = [self.d[id] for id in (*self.held, *self.region.states) if id in self.d] + factors
        found.returned = (
            *(tuple(self.d.get(id) for id in ids) for ids in (self.held, self.region.states)),
            tuple(factors),
        )
        return found

    def _name(self, id: int) -> str:
        return self.of[id].names[0]

    # -------------------------------------------------------------- places

    def _choose_places(self) -> None:
        """Find, by node, the place where its derivative is computed."""
        self.home: dict[int, Place] = {}
        # Whose derivative must end up in its place; others may use it.
        self.owners: set[int] = set(self.seen)
        # Whose derivative is overwritten by the one that is computed from it.
        self.passing: set[int] = set()
        self.value_places = [self.code.value(self.of[id].width, f"d_{self._name(id)}") for id in self.seen]
        for number, (id, whole) in enumerate(zip(self.seen, self.value_places, strict=True)):
            self.home[id] = Place(whole, 0, whole.width, number)
            self._parcel(id)
        self.product_places = {
            n.id: self.code.value(n.type.width, f"d_{self.matrices[n.id].names[0][2:]}")
            for n in self.multiplied
        }
        places: dict[int, tuple[int, int, int] | None] = {}
        for step in self.steps:
            place = self._passed(step)
            product = step.product if step.kind == "addmm" else step.node
            if step.kind == "addmm" or step.id in self.matrices:
                assert product is not None
                # Two products have two places, though one may be added to the other.
                if place is None or place.value is None:
                    place = Place(self.product_places[product.id], 0, product.type.width)
                    self.owners.add(step.id)
                value = place.value
                places[product.id] = None if value is None else (value, place.start, place.stop)
            if place is not None and step.id not in self.home:
                self.home[step.id] = place
                self._parcel(step.id)
        self.places = tuple(places[n.id] for n in self.multiplied)

    def _passed(self, step: Step) -> Place | None:
        """The place of an input that gets the step's derivative as it is, or element by element.

        Where others read the derivative, too, it must not be written over.
        """
        alone = step.kind in _ALONE
        if alone or step.kind in (op.ADD, "addmm", "addcmul", op.SUB):
            for id in step.inputs[:2] if step.kind == op.ADD else step.inputs[:1]:
                once = self.uses[id] == 1 and self.nodes[id].type.width == step.node.type.width
                if once and id in self.home and (alone or id not in self.passing):
                    if alone:
                        self.passing.add(step.id)
                    return self.home[id]
        return None

    def _parcel(self, id: int) -> None:
        """A value that is read in slices only, of all of it: each has its part of the place."""
        if self._whole_in_slices(id):
            for cut in self.slices[id]:
                start, stop = cut.node.attrs["start"], cut.node.attrs["stop"]
                self.home[cut.id] = self.home[id].part(start, stop)
                self.owners.add(cut.id)
                if id in self.passing:
                    self.passing.add(cut.id)

    def _whole_in_slices(self, id: int) -> bool:
        cuts = self.slices.get(id, [])
        if not cuts or len(cuts) != self.uses[id]:
            return False
        bounds = sorted((c.node.attrs["start"], c.node.attrs["stop"]) for c in cuts)
        ends = [0, *(stop for _, stop in bounds)]
        return [start for start, _ in bounds] == ends[:-1] and ends[-1] == self.nodes[id].type.width

    def _collected(self, id: int) -> bool:
        """Whether the parts of a value's derivative are in its place already: those of its slices."""
        return (
            id in self.home and self._whole_in_slices(id) and all(cut.id in self.d for cut in self.slices[id])
        )

    def _view(self, place: Place) -> Value:
        """A place as a value."""
        if place.whole:
            return place.argument
        if place not in self.views:
            name = f"{place.argument.names[0]}_part"
            self.views[place] = self.code.cut(place.argument, place.start, place.stop, name)
        return self.views[place]

    # --------------------------------------------------------- derivatives

    def _read(self, id: int) -> Value:
        """A value that the derivative reads: kept, unless it is a number."""
        if self.of[id].dtype != "number":
            self.read.setdefault(id)
        return self.of[id]

    def _give(self, id: int, part: Part, width: int | None = None) -> None:
        """A part of a node's derivative, of `width` channels if more than the node has."""
        node = self.nodes[id]
        if self.of[id].dtype == "number":
            return
        if width is not None and width != node.type.width:
            whole = self._alone(part, width)
            part = Part("new", (self.code.make("sum", whole, width=1),))
        self.parts.setdefault(id, []).append(part)

    def _alone(self, part: Part, width: int) -> Value:
        """A part as a value."""
        if part.kind in ("name", "new"):
            return part.operands[0]
        name, args = part.kernel()
        return self.code.make(name, *args, width=width)

    def _derived(self, node: Node) -> None:
        """Compute the sum of a derivative's parts, in the place of the loop's where there is one."""
        place = self.home.get(node.id)
        if self._collected(node.id):
            assert place is not None
            view = self._view(place)
            self.located[view] = place
            self.d[node.id] = view
            return
        parts = self.parts[node.id]
        alone = parts[0].operands[0] if len(parts) == 1 and parts[0].kind == "name" else None
        if alone is not None and (alone.held or not alone.base):
            if place is None or node.id not in self.owners or self.located.get(alone) == place:
                self.d[node.id] = alone
                return
        name = (f"d_{self._name(node.id)}",)
        if place is None:
            self.d[node.id] = self._sum(parts, node.type.width, name)
        else:
            self.d[node.id] = self._sum(parts, node.type.width, name, self._view(place))
            self.located[self.d[node.id]] = place

    def _sum(
        self, parts: Sequence[Part], width: int, names: tuple[str, ...], out: Value | None = None
    ) -> Value:
        """A sum in as few kernels as torch can do it in, written into a place if one is given."""
        first, *rest = sorted(parts, key=lambda part: _order(part.kind))
        begin: tuple[str, tuple[object, ...]] | None = None
        if first.kind == "name" and rest:
            second, *rest = rest
            begin = ("addmm" if second.kind == "mm" else op.ADD), (*first.operands, *second.operands)
        elif first.kind not in ("name", "new"):
            begin = first.kernel()
        elif out is not None:
            begin = "copy", first.operands
        found = first.operands[0]
        if begin is not None:
            name, args = begin
            found = self.code.make(name, *args, width=width, names=() if rest else names, over=out)
        elif not rest:
            found.names, found.held = names, True
        for left, part in zip(reversed(range(len(rest))), rest, strict=True):
            found = self._added(found, part, width, () if left else names)
        return found

    def _added(self, total: Value, part: Part, width: int, names: tuple[str, ...]) -> Value:
        """A part added to a sum, in its place."""
        kernel = {"mul": "addcmul", "mm": "addmm"}.get(part.kind, op.ADD)
        operands: tuple[Value, ...] = part.operands
        options: dict[str, float] | None = None
        if part.kind == "scaled":
            operands, options = part.operands[:1], {"alpha": part.operands[1].number}
        elif kernel == op.ADD:
            operands = (self._alone(part, width),)
        return self.code.make(kernel, total, *operands, width=width, names=names, over=total, options=options)

    def _pass_on(self, step: Step) -> None:
        """Give the inputs of a step their parts of the derivative."""
        d, ids, width = self.d[step.id], step.inputs, step.node.type.width
        plain = Part("name", (d,))
        code = self.code
        match step.kind:
            case op.ADD | op.SUB:
                self._give(ids[0], plain, width)
                if step.kind == op.ADD:
                    self._give(ids[1], plain, width)
                elif self.of[ids[1]].dtype != "number":
                    self._give(ids[1], Part("new", (code.make(op.NEG, d, width=width),)), width)
            case op.MUL | op.DOT:
                both = max(self.nodes[i].type.width for i in ids)
                for mine, other in (ids, ids[::-1]):
                    self._times(mine, d, other, both)
            case "addcmul":
                self._give(ids[0], plain)
                for mine, other in (ids[1:], ids[:0:-1]):
                    self._times(mine, d, other, width)
            case "lerp":
                self._lerp(d, ids, width)
            case op.DIV:
                self._div(step, d, ids, width)
            case op.NEG:
                self._give(ids[0], Part("new", (code.make(op.NEG, d, width=width),)))
            case op.EXP:
                self._give(ids[0], Part("mul", (d, self._read(step.id))))
            case op.SLICE:
                self._cut(step, d)
            case op.CONCAT:
                start = 0
                for id in ids:
                    stop = start + self.nodes[id].type.width
                    if self.of[id].dtype != "number":
                        self._give(id, Part("name", (code.cut(d, start, stop),)))
                    start = stop
            case "addmm":
                assert step.product is not None
                self._give(ids[0], plain)
                self._give(ids[1], Part("mm", (d, self.matrices[step.product.id])))
            case op.LINEAR | op.PROJECT:
                self._give(ids[0], Part("mm", (d, self.matrices[step.id])))
            case _:
                self._function(step, d, width)

    def _function(self, step: Step, d: Value, width: int) -> None:
        """A pointwise operation, by the derivative of its definition."""
        definition = OPS[step.kind]
        assert definition.derivative is not None
        names = [slot.name for slot in definition.inputs]
        for number, (id, text) in enumerate(zip(step.inputs, definition.derivative.python, strict=True)):
            if self.of[id].dtype == "number":
                continue
            wanted = placeholders(text)
            given = {"d": d}
            for name, other in (*zip(names, step.inputs, strict=True), ("y", step.id)):
                if name in wanted:
                    given[name] = self._read(other)
            derived = Derived(step.kind, number, tuple(given), dict(step.node.attrs))
            self._give(id, Part("derived", tuple(given.values()), derived), width)

    def _times(self, mine: int, d: Value, other: int, width: int) -> None:
        if self.of[mine].dtype != "number":
            kind = "scaled" if self.of[other].dtype == "number" else "mul"
            self._give(mine, Part(kind, (d, self._read(other))), width)

    def _div(self, step: Step, d: Value, ids: tuple[int, ...], width: int) -> None:
        a, b = ids
        if self.of[a].dtype != "number":
            quotient = self.code.make(op.DIV, d, self._read(b), width=width)
            self._give(a, Part("new", (quotient,)), width)
        if self.of[b].dtype != "number":
            scaled = self.code.make(op.MUL, d, self._read(step.id), width=width)
            divided = self.code.make(op.DIV, scaled, self._read(b), width=width)
            self._give(b, Part("new", (self.code.make(op.NEG, divided, width=width),)), width)

    def _lerp(self, d: Value, ids: tuple[int, ...], width: int) -> None:
        """Of start + weight (end - start)."""
        start, end, weight = ids
        name = f"d_{self._name(end)}_part"
        of_end = self.code.make(op.MUL, d, self._read(weight), width=width, names=(name,))
        self._give(end, Part("name", (of_end,)))
        self._give(start, Part("sub", (d, of_end)))
        if self.of[weight].dtype != "number":
            apart = self.code.make(op.SUB, self._read(end), self._read(start), width=width)
            self._give(weight, Part("mul", (d, apart)), width)

    def _cut(self, step: Step, d: Value) -> None:
        """The derivative of a slice as part of the whole's."""
        source = step.inputs[0]
        if source in self.home and self._whole_in_slices(source):
            return
        cuts, width = self.slices[source], self.nodes[source].type.width
        if self._whole_in_slices(source):
            if all(c.id in self.d for c in cuts):
                ordered = sorted(cuts, key=lambda c: int(c.node.attrs["start"]))
                joined = self.code.make("cat", [self.d[c.id] for c in ordered], width=width)
                self._give(source, Part("new", (joined,)))
            return
        start, rest = step.node.attrs["start"], width - step.node.attrs["stop"]
        self._give(source, Part("new", (self.code.make("pad", d, (start, rest), width=width),)))


def _order(kind: str) -> int:
    """The order of summands: first those that need no copy to be added to, products last."""
    order = ("new", "sub", "mul", "scaled", "name", "mm")
    return order.index(kind) + 1 if kind in order else 0
