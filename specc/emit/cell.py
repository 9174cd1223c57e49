"""The step of a recurrence and its derivative, as source.

Promises: two functions for `ops.Cell`, straight-line code in the spec's names: `step` computes the next
states, `back` from their derivatives those of everything the step read, in reverse mode. What `back`
needs of the step's own values is kept by `step`, and nothing else is.

Assumes: a region that passes/recurrence.py accepted.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from specc.emit.code import PRODUCT, SUM, UNARY, Expr, infix, number
from specc.emit.names import Names
from specc.graph.ir import Node, Region
from specc.graph.products import Product, products_of

_FUNCTIONS = {"tanh": "torch.tanh", "sigmoid": "torch.sigmoid", "exp": "torch.exp", "relu": "torch.relu"}
_FUNCTIONS["silu"] = "F.silu"
_ARGUMENTS = ("values", "constants", "matrices", "biases", "states", "kept", "d_next")
_INFIX = {"add": ("+", SUM), "sub": ("-", SUM), "mul": ("*", PRODUCT), "div": ("/", PRODUCT)}


@dataclass(frozen=True)
class CellSource:
    """step, back: statements of the two functions' bodies. seen, held: the numbers of the scan's inputs
    that vary from step to step, and that stay. products: what each matrix argument consists of, with
    the width of what it multiplies. kept: the nodes whose values the derivative reads."""

    step: list[str]
    back: list[str]
    seen: tuple[int, ...]
    held: tuple[int, ...]
    products: tuple[tuple[tuple[Product, ...], int], ...]
    kept: tuple[int, ...]


def cell_source(region: Region, varying: tuple[bool, ...]) -> CellSource:
    """varying: for each capture whether it has the scan's axis."""
    return _Cell(region, varying).source()


@dataclass
class _Cell:
    region: Region
    varying: tuple[bool, ...]
    names: Names = field(default_factory=lambda: Names(*_ARGUMENTS))
    of: dict[int, Expr] = field(default_factory=dict)
    kept: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {n.id: n for n in self.region.nodes}
        self.uses = Counter(i for n in self.region.nodes for i in n.inputs)
        self.uses.update(self.region.nexts)
        self.multiplied = [n for n in self.region.nodes if n.op in ("linear", "project")]
        self.seen = [i for i, v in enumerate(self.varying) if v]
        self.held = [i for i, v in enumerate(self.varying) if not v]
        # Names of the step's own values; arguments are names, too.
        self.own: set[int] = set()

    def source(self) -> CellSource:
        arguments = self._arguments()
        forward = self._forward()
        nexts = [self._text(n) for n in self.region.nexts]
        backward = self._backward()
        kept = list(self.kept.values())
        step = [*arguments, *forward, f"return {_tuple(nexts)}, {_tuple(kept)}"]
        back = [*arguments]
        if kept:
            back.append(f"{_target(kept)} = kept")
        back += backward
        products = tuple(
            (products_of(n, self.nodes[n.inputs[0]].type.width), self.nodes[n.inputs[0]].type.width)
            for n in self.multiplied
        )
        return CellSource(
            _used(step), _used(back), tuple(self.seen), tuple(self.held), products, tuple(self.kept)
        )

    def _arguments(self) -> list[str]:
        """The tuples of arguments taken apart."""
        lines = []
        for what, ids in (
            ("values", [self.region.captures[i] for i in self.seen]),
            ("constants", [self.region.captures[i] for i in self.held]),
            ("states", list(self.region.states)),
        ):
            taken = [self._named(self.nodes[id], what[:-1]) for id in ids]
            if taken:
                lines.append(f"{_target(taken)} = {what}")
        self.matrices = {n.id: self.names.take(f"w_{n.name or 'product'}") for n in self.multiplied}
        if self.multiplied:
            lines.append(f"{_target(list(self.matrices.values()))} = matrices")
        biased = [n for n in self.multiplied if self._biased(n)]
        self.biases = {n.id: self.names.take(f"b_{n.name or 'product'}") for n in biased}
        if biased:
            lines.append(f"{_target(list(self.biases.values()))} = biases")
        return lines

    def _biased(self, node: Node) -> bool:
        return any(p.bias for p in products_of(node, self.nodes[node.inputs[0]].type.width))

    def _named(self, node: Node, otherwise: str) -> str:
        name = self.names.take(node.name or otherwise)
        self.of[node.id] = Expr(name)
        return name

    # ------------------------------------------------------------- forward

    def _forward(self) -> list[str]:
        lines = []
        added = self._added()
        for node in self.region.nodes:
            if node.id in self.of:
                continue
            if node.op == "constant":
                self.of[node.id] = number(float(node.attrs["value"]))
                continue
            if node.id in added.values():
                continue  # part of a fused product and sum
            value = self._value(node, added)
            name = self.names.take(
                node.name or {"project": "product", "linear": "product"}.get(node.op, node.op)
            )
            self.of[node.id] = Expr(name)
            self.own.add(node.id)
            lines.append(f"{name} = {value.text}")
        return lines

    def _added(self) -> dict[int, int]:
        """By sum the product that is computed with it, in one operation."""
        found: dict[int, int] = {}
        for node in self.region.nodes:
            if node.op != "add":
                continue
            for mine, other in (node.inputs, node.inputs[::-1]):
                product, addend = self.nodes[mine], self.nodes[other]
                if (
                    product.op in ("linear", "project")
                    and self.uses[mine] == 1
                    and not self._biased(product)
                    and addend.op != "constant"
                    and addend.type.width == node.type.width
                    and mine not in found.values()
                ):
                    found[node.id] = mine
                    break
        return found

    def _value(self, node: Node, added: dict[int, int]) -> Expr:
        if node.id in added:
            product = self.nodes[added[node.id]]
            other = next(i for i in node.inputs if i != product.id)
            x, w = self._text(product.inputs[0]), self.matrices[product.id]
            return Expr(f"torch.addmm({self._text(other)}, {x}, {w}.t())")
        given = [self._expr(i) for i in node.inputs]
        match node.op:
            case "linear" | "project":
                w = self.matrices[node.id]
                if node.id in self.biases:
                    return Expr(f"torch.addmm({self.biases[node.id]}, {given[0].text}, {w}.t())")
                return infix(given[0], "@", Expr(f"{w}.t()"), PRODUCT)
            case "neg":
                return Expr(f"-{given[0].at(UNARY)}", UNARY)
            case "concat":
                return Expr(f"torch.cat([{', '.join(g.text for g in given)}], -1)")
            case "slice":
                return Expr(f"{given[0].at(9)}[:, {node.attrs['start']}:{node.attrs['stop']}]")
            case "dot":
                return Expr(f"({infix(given[0], '*', given[1], PRODUCT).text}).sum(-1, keepdim=True)")
        if node.op in _INFIX:
            return infix(given[0], _INFIX[node.op][0], given[1], _INFIX[node.op][1])
        return Expr(f"{_FUNCTIONS[node.op]}({given[0].text})")

    def _expr(self, id: int) -> Expr:
        return self.of[id]

    def _text(self, id: int) -> str:
        return self._expr(id).text

    # ------------------------------------------------------------ backward

    def _read(self, id: int) -> Expr:
        """A value that the derivative reads: kept, unless it is an argument or a number."""
        if id in self.own:
            self.kept.setdefault(id, self.of[id].text)
        return self.of[id]

    def _backward(self) -> list[str]:
        """Statements from the last node to the first: by then all that reads a node is done."""
        self.parts: dict[int, list[Expr]] = {}
        self.cuts: dict[int, list[tuple[int, int, str]]] = {}
        self.d: dict[int, str] = {}
        lines: list[str] = []
        given = [self.names.take(f"d_{self.of[n].text}_next") for n in self.region.states]
        lines.append(f"{_target(given)} = d_next")
        for id, name in zip(self.region.nexts, given, strict=True):
            self._give(id, Expr(name))
        for node in reversed(self.region.nodes):
            if node.op != "constant" and self._has(node.id):
                lines += self._derived(node)
        seen = [self.d.get(self.region.captures[i], "None") for i in self.seen]
        held = [self.d.get(self.region.captures[i], "None") for i in self.held]
        states = [self.d.get(s, "None") for s in self.region.states]
        pairs = [self._pair(n) for n in self.multiplied]
        lines.append(f"return {_tuple(seen)}, {_tuple(held)}, {_tuple(states)}, {_tuple(pairs)}")
        return lines

    def _pair(self, node: Node) -> str:
        return f"({self._read(node.inputs[0]).text}, {self.d[node.id]})"

    def _has(self, id: int) -> bool:
        return bool(self.parts.get(id) or self.cuts.get(id))

    def _give(self, id: int, part: Expr, width: int | None = None) -> None:
        """A part of a node's derivative, of `width` channels if more than the node has."""
        node = self.nodes[id]
        if node.op == "constant":
            return
        if width is not None and width != node.type.width:
            part = Expr(f"{part.at(9)}.sum(-1, keepdim=True)")
        self.parts.setdefault(id, []).append(part)

    def _derived(self, node: Node) -> list[str]:
        total: Expr | None = None
        for part in [*self.parts.get(node.id, ()), *self._joined(node)]:
            total = part if total is None else infix(total, "+", part, SUM)
        assert total is not None
        if total.text.isidentifier():
            name, lines = total.text, []
        else:
            base = self.of[node.id].text if node.id in self.of else node.name or "product"
            name = self.names.take(f"d_{base}")
            lines = [f"{name} = {total.text}"]
        self.d[node.id] = name
        self._pass_on(node, Expr(name))
        return lines

    def _joined(self, node: Node) -> list[Expr]:
        """The derivative of a value from those of its slices."""
        cuts = sorted(self.cuts.get(node.id, ()))
        if not cuts:
            return []
        ends = [0, *(stop for _, stop, _ in cuts)]
        if ends[:-1] == [start for start, _, _ in cuts] and ends[-1] == node.type.width:
            return [Expr(f"torch.cat([{', '.join(name for _, _, name in cuts)}], -1)")]
        width = node.type.width
        return [Expr(f"F.pad({name}, ({start}, {width - stop}))") for start, stop, name in cuts]

    def _pass_on(self, node: Node, d: Expr) -> None:
        """What the derivative of a node gives those of its inputs."""
        ids, width = node.inputs, node.type.width
        match node.op:
            case "add" | "sub":
                self._give(ids[0], d, width)
                self._give(ids[1], d if node.op == "add" else Expr(f"-{d.at(UNARY)}", UNARY), width)
            case "mul" | "dot":
                both = max(self.nodes[i].type.width for i in ids)
                for mine, other in (ids, ids[::-1]):
                    if self.nodes[mine].op != "constant":
                        self._give(mine, infix(d, "*", self._read(other), PRODUCT), both)
            case "div":
                a, b = ids
                self._give(a, infix(d, "/", self._read(b), PRODUCT), width)
                if self.nodes[b].op != "constant":
                    quotient = infix(d, "*", self._read(node.id), PRODUCT)
                    self._give(
                        b, Expr(f"-{infix(quotient, '/', self._read(b), PRODUCT).at(UNARY)}", UNARY), width
                    )
            case "neg":
                self._give(ids[0], Expr(f"-{d.at(UNARY)}", UNARY))
            case "exp":
                self._give(ids[0], infix(d, "*", self._read(node.id), PRODUCT))
            case "tanh" | "sigmoid" | "relu":
                self._give(ids[0], Expr(f"ops.{node.op}_back({d.text}, {self._read(node.id).text})"))
            case "silu":
                self._give(ids[0], Expr(f"ops.silu_back({d.text}, {self._read(ids[0]).text})"))
            case "slice":
                cut = (node.attrs["start"], node.attrs["stop"], d.text)
                self.cuts.setdefault(ids[0], []).append(cut)
            case "concat":
                start = 0
                for id in ids:
                    stop = start + self.nodes[id].type.width
                    self._give(id, Expr(f"{d.at(9)}[:, {start}:{stop}]"))
                    start = stop
            case "linear" | "project":
                self._give(ids[0], infix(d, "@", Expr(self.matrices[node.id]), PRODUCT))


def _tuple(parts: list[str]) -> str:
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _target(names: list[str]) -> str:
    """Names that a tuple is taken apart into."""
    return names[0] + "," if len(names) == 1 else ", ".join(names)


def _used(lines: list[str]) -> list[str]:
    """Without arguments that no later line reads; where some of a tuple are read, the rest is `_`."""
    kept: list[str] = []
    for place, line in enumerate(lines):
        target, _, source = line.partition(" = ")
        if source not in _ARGUMENTS:
            kept.append(line)
            continue
        names = [n.strip() for n in target.split(",") if n.strip()]
        rest = "\n".join(lines[place + 1 :])
        read = [n if re.search(rf"\b{n}\b", rest) else "_" for n in names]
        if any(n != "_" for n in read):
            kept.append(f"{_target(read)} = {source}")
    return kept
