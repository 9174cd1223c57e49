"""The derivative of a recurrence's step, as source, in reverse mode.

Promises: statements from the last operation to the first, by when all that reads a value is done. A
derivative that the loop collects (of a value of the sequence, of a product's result) is computed where it is
collected; where a sum or a slice passes a derivative on as it is, its readers' is computed there too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from specc.emit.code import target, tuple_text
from specc.emit.names import Names
from specc.emit.steps import Step
from specc.ir.graph import Node, Region

# Whose derivative follows from their own value, element by element.
_OF_RESULT = frozenset({"tanh", "sigmoid", "relu"})


@dataclass(frozen=True)
class Part:
    """A part of a derivative. kind: `name` (a value that is there, or a view of one), `mul`, `sub`,
    `matmul`, `scaled` (times a number), `back` (of a function, by its name in ops), or `new` (any other text
    of a new value)."""

    kind: str
    text: str
    operands: tuple[str, ...] = ()

    @staticmethod
    def of(kind: str, *operands: str) -> Part:
        text = {"mul": " * ", "scaled": " * ", "sub": " - ", "matmul": " @ "}[kind].join(operands)
        return Part(kind, text, operands)


@dataclass(frozen=True)
class Place:
    """Channels start .. stop of what an argument collects: of d_values (`value`, its number) or, with
    `value` None, of the product's own."""

    argument: str
    start: int
    stop: int
    whole: bool
    value: int | None = None

    def part(self, start: int, stop: int) -> Place:
        begin = self.start + start
        whole = self.whole and stop - start == self.stop - self.start
        return Place(self.argument, begin, begin + stop - start, whole, self.value)

    @property
    def text(self) -> str:
        return self.argument if self.whole else f"{self.argument}[:, {self.start}:{self.stop}]"


class Derivative:
    def __init__(
        self,
        region: Region,
        steps: Sequence[Step],
        names: Names,
        of: Mapping[int, str],
        matrices: Mapping[int, str],
        seen: Sequence[int],
        held: Sequence[int],
    ) -> None:
        self.region, self.steps, self.names, self.of, self.matrices = region, steps, names, of, matrices
        self.seen, self.held = seen, held
        self.nodes = {n.id: n for n in region.nodes}
        self.multiplied = [n for n in region.nodes if n.op in ("linear", "project")]
        self.uses = Counter(i for s in steps for i in s.inputs)
        self.uses.update(region.nexts)
        self.slices: dict[int, list[Step]] = {}
        for step in steps:
            if step.kind == "slice":
                self.slices.setdefault(step.inputs[0], []).append(step)
        # What is read of the step's values; in the order in which it is first.
        self.read: dict[int, None] = {}
        self.parts: dict[int, list[Part]] = {}
        self.d: dict[int, str] = {}
        self.lines: list[str] = []
        self.views: dict[str, str] = {}
        self.located: dict[str, str] = {}
        self.sloped: tuple[bool, ...] = ()
        self.places: tuple[tuple[int, int, int] | None, ...] = ()

    def statements(self) -> list[str]:
        self._choose_places()
        d_next = [self.names.take(f"d_{self.of[id]}_next") for id in self.region.states]
        for id, name in zip(self.region.nexts, d_next, strict=True):
            self._give(id, Part("name", name))
        for step in reversed(self.steps):
            if self.parts.get(step.id) or self._collected(step.id):
                self._derived(step.node)
                self._pass_on(step)
        for id in (*self.seen, *self.held, *self.region.states):
            if self.parts.get(id) or self._collected(id):
                self._derived(self.nodes[id])
        self.sloped = tuple(id in self.d for id in self.seen)
        states = [self.d.get(s, "None") for s in self.region.states]
        held = [self.d.get(id, "None") for id in self.held]
        factors = [self._read(n.inputs[0]) for n in self.multiplied]
        arguments = [f"{target(d_next)} = d_next", *self._place_arguments()]
        last = f"return {tuple_text(held)}, {tuple_text(states)}, {tuple_text(factors)}"
        return [*arguments, *self.lines, last]

    # -------------------------------------------------------------- places

    def _choose_places(self) -> None:
        """By node the place where its derivative is wanted."""
        self.home: dict[int, Place] = {}
        # Whose derivative has to come to lie there; for others the place is there for the taking.
        self.owners: set[int] = set(self.seen)
        # Whose derivative is written over as soon as the one that follows from it is known.
        self.passing: set[int] = set()
        self.value_names = [self.names.take(f"d_{self.of[id]}") for id in self.seen]
        for number, (id, name) in enumerate(zip(self.seen, self.value_names, strict=True)):
            self.home[id] = Place(name, 0, self.nodes[id].type.width, True, number)
            self._parcel(id)
        self.product_names = {n.id: self.names.take(f"d_{self.matrices[n.id][2:]}") for n in self.multiplied}
        places: dict[int, tuple[int, int, int] | None] = {}
        for step in self.steps:
            place = self._passed(step)
            product = step.product if step.kind == "addmm" else step.node
            if step.kind in ("addmm", "linear", "project"):
                assert product is not None
                # Two products have two places, though one may be added to the other.
                if place is None or place.value is None:
                    place = Place(self.product_names[product.id], 0, product.type.width, True)
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
        alone = step.kind in ("tanh", "sigmoid", "exp")
        if alone or step.kind in ("add", "addmm", "addcmul", "sub"):
            for id in step.inputs[:2] if step.kind == "add" else step.inputs[:1]:
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

    def _view(self, place: Place) -> str:
        """A name for a place."""
        if place.whole:
            return place.argument
        if place.text not in self.views:
            name = self.names.take(f"{place.argument}_part")
            self.views[place.text] = name
            self.lines.append(f"{name} = {place.text}")
        return self.views[place.text]

    def _place_arguments(self) -> list[str]:
        own = [self.product_names[n.id] for n in self.multiplied]
        lines = [f"{target(self.value_names)} = d_values"] if self.value_names else []
        return [*lines, f"{target(own)} = d_products"] if own else lines

    # --------------------------------------------------------- derivatives

    def _read(self, id: int) -> str:
        """A value that the derivative reads: kept, unless it is a number."""
        if self.nodes[id].op != "constant":
            self.read.setdefault(id)
        return self.of[id]

    def _give(self, id: int, part: Part, width: int | None = None) -> None:
        """A part of a node's derivative, of `width` channels if more than the node has."""
        node = self.nodes[id]
        if node.op == "constant":
            return
        if width is not None and width != node.type.width:
            whole = part.text if part.kind == "name" else f"({part.text})"
            part = Part("new", f"{whole}.sum(-1, keepdim=True)")
        self.parts.setdefault(id, []).append(part)

    def _derived(self, node: Node) -> None:
        """The sum of the parts of a derivative, named; where it is wanted, if it is wanted somewhere."""
        place = self.home.get(node.id)
        if self._collected(node.id):
            assert place is not None
            name = self._view(place)
            self.located[name] = place.text
            self.d[node.id] = name
            return
        parts = self.parts[node.id]
        alone = parts[0] if len(parts) == 1 and parts[0].kind == "name" else None
        if alone is not None and alone.text.isidentifier():
            if place is None or node.id not in self.owners or self.located.get(alone.text) == place.text:
                self.d[node.id] = alone.text
                return
        wish = self.of.get(node.id, "product")
        if place is None:
            name = self.names.take(f"d_{wish}")
            self.lines.append(f"{name} = {_sum(parts, None)}")
        else:
            view = self._view(place)
            name = view if place.whole else self.names.take(f"d_{wish}")
            self.lines.append(f"{name} = {_sum(parts, view)}")
            self.located[name] = place.text
        self.d[node.id] = name

    def _pass_on(self, step: Step) -> None:
        """What the derivative of a value gives those that it is computed from."""
        d, ids, width = self.d[step.id], step.inputs, step.node.type.width
        plain = Part("name", d)
        match step.kind:
            case "add" | "sub":
                self._give(ids[0], plain, width)
                self._give(ids[1], plain if step.kind == "add" else Part("new", f"-{d}"), width)
            case "mul" | "dot":
                both = max(self.nodes[i].type.width for i in ids)
                for mine, other in (ids, ids[::-1]):
                    self._times(mine, d, other, both)
            case "addcmul":
                self._give(ids[0], plain)
                for mine, other in (ids[1:], ids[:0:-1]):
                    self._times(mine, d, other, width)
            case "lerp":
                self._lerp(d, ids, width)
            case "div":
                a, b = ids
                self._give(a, Part("new", f"{d} / {self._read(b)}"), width)
                if self.nodes[b].op != "constant":
                    self._give(b, Part("new", f"-({d} * {self._read(step.id)} / {self._read(b)})"), width)
            case "neg":
                self._give(ids[0], Part("new", f"-{d}"))
            case "exp":
                self._give(ids[0], Part.of("mul", d, self._read(step.id)))
            case "tanh" | "sigmoid" | "relu" | "silu":
                value = self._read(step.id if step.kind in _OF_RESULT else ids[0])
                self._give(ids[0], Part("back", f"ops.{step.kind}_back({d}, {value})", (d, value)))
            case "slice":
                self._cut(step, d)
            case "concat":
                start = 0
                for id in ids:
                    stop = start + self.nodes[id].type.width
                    self._give(id, Part("name", f"{d}[:, {start}:{stop}]"))
                    start = stop
            case "addmm":
                assert step.product is not None
                self._give(ids[0], plain)
                self._give(ids[1], Part.of("matmul", d, self.matrices[step.product.id]))
            case "linear" | "project":
                self._give(ids[0], Part.of("matmul", d, self.matrices[step.id]))

    def _times(self, mine: int, d: str, other: int, width: int) -> None:
        if self.nodes[mine].op != "constant":
            kind = "scaled" if self.nodes[other].op == "constant" else "mul"
            self._give(mine, Part.of(kind, d, self._read(other)), width)

    def _lerp(self, d: str, ids: tuple[int, ...], width: int) -> None:
        """Of start + weight (end - start)."""
        start, end, weight = ids
        of_end = self.names.take(f"d_{self.of[end]}_part")
        self.lines.append(f"{of_end} = {d} * {self._read(weight)}")
        self._give(end, Part("name", of_end))
        self._give(start, Part.of("sub", d, of_end))
        self._give(weight, Part.of("mul", d, f"({self._read(end)} - {self._read(start)})"), width)

    def _cut(self, step: Step, d: str) -> None:
        """The derivative of a slice as part of the whole's."""
        source = step.inputs[0]
        if source in self.home and self._whole_in_slices(source):
            return
        cuts = self.slices[source]
        if self._whole_in_slices(source):
            if all(c.id in self.d for c in cuts):
                ordered = sorted(cuts, key=lambda c: int(c.node.attrs["start"]))
                joined = ", ".join(self.d[c.id] for c in ordered)
                self._give(source, Part("new", f"torch.cat([{joined}], -1)"))
            return
        start, rest = step.node.attrs["start"], self.nodes[source].type.width - step.node.attrs["stop"]
        self._give(source, Part("new", f"F.pad({d}, ({start}, {rest}))"))


def _sum(parts: Sequence[Part], out: str | None) -> str:
    """A sum in as few operations as torch can do it in, written into a place if one is given."""
    order = ("back", "new", "sub", "mul", "scaled", "name", "matmul")
    first, *rest = sorted(parts, key=lambda p: order.index(p.kind))
    into = "" if out is None else f", out={out}"
    if first.kind == "name" and rest:
        second, *rest = rest
        kind = "addmm" if second.kind == "matmul" else "add"
        operands = ", ".join(second.operands or (second.text,))
        text = f"torch.{kind}({first.text}, {operands}{into})"
    elif out is None:
        text = f"({first.text})" if rest and first.kind != "back" else first.text
    elif first.kind == "back":
        text = f"{first.text[:-1]}, {out})"
    elif first.kind in ("mul", "scaled", "sub", "matmul"):
        function = "mul" if first.kind == "scaled" else first.kind
        text = f"torch.{function}({', '.join(_bare(x) for x in first.operands)}{into})"
    else:
        text = f"{out}.copy_({first.text})"
    for part in rest:
        match part.kind:
            case "mul":
                text += f".addcmul_({', '.join(_bare(x) for x in part.operands)})"
            case "scaled":
                text += f".add_({part.operands[0]}, alpha={part.operands[1]})"
            case "matmul":
                text += f".addmm_({', '.join(part.operands)})"
            case _:
                text += f".add_({part.text})"
    return text


def _bare(operand: str) -> str:
    """An operand of a function needs no parentheses, which it has as that of a product."""
    return operand[1:-1] if operand.startswith("(") else operand
