"""The step of a recurrence and its derivative, as source.

Promises: two functions for `ops.Cell`, straight-line code in the spec's names: `step` computes the next
states, `back` from their derivatives those of everything the step read, in reverse mode. What `back`
needs of the step's own values is kept by `step`, and nothing else is. Results go where they will be
needed: next states and derivatives to the places that the loop gives, other values over ones that nobody
reads any more.

Assumes: a region that passes/recurrence.py accepted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from specc.emit.code import number, target, tuple_text
from specc.emit.derivative import Derivative
from specc.emit.names import Names
from specc.emit.steps import Step, biased, steps_of
from specc.ir.graph import Node, Region
from specc.ops.products import Product, products_of

_FUNCTIONS = {"tanh": "torch.tanh", "sigmoid": "torch.sigmoid", "exp": "torch.exp", "relu": "torch.relu"}
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
# Functions that torch can write into a place given to them.
_INTO = frozenset({"tanh", "sigmoid", "exp", "neg", *_INFIX})
_ARGUMENTS = (
    *("values", "constants", "matrices", "biases", "states", "nexts"),
    *("kept", "d_next", "d_values", "d_products"),
)


@dataclass(frozen=True)
class CellSource:
    """step, back: statements of the two functions' bodies. seen, held: the numbers of the scan's inputs
    that vary from step to step, and that stay. products: what each matrix argument consists of, with
    the width of what it multiplies. kept: the nodes whose values the derivative reads. beside: how many
    channels of these lie neither in the values' memory, over which they were written, nor in the states'.

    sloped: for each of `seen` whether it has a derivative. places: for each product where the derivative of
    its result lies: (number among `seen`, start, stop) in that value's, or None for a place of its own.
    """

    step: list[str]
    back: list[str]
    seen: tuple[int, ...]
    held: tuple[int, ...]
    products: tuple[tuple[tuple[Product, ...], int], ...]
    kept: tuple[int, ...]
    beside: int
    sloped: tuple[bool, ...]
    places: tuple[tuple[int, int, int] | None, ...]


def cell_source(region: Region, varying: tuple[bool, ...]) -> CellSource:
    """varying: for each capture whether it has the scan's axis."""
    return _Cell(region, varying).source()


@dataclass
class _Cell:
    region: Region
    varying: tuple[bool, ...]
    names: Names = field(default_factory=lambda: Names(*_ARGUMENTS))
    of: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {n.id: n for n in self.region.nodes}
        self.steps = _sliced_early(steps_of(self.region))
        self.multiplied = [n for n in self.region.nodes if n.op in ("linear", "project")]
        self.seen = [i for i, v in enumerate(self.varying) if v]
        self.held = [i for i, v in enumerate(self.varying) if not v]

    def source(self) -> CellSource:
        arguments = self._arguments()
        self._named_steps()
        back = Derivative(
            self.region,
            self.steps,
            self.names,
            self.of,
            self.matrices,
            [self.region.captures[i] for i in self.seen],
            [self.region.captures[i] for i in self.held],
        )
        backward = back.statements()
        forward = self._forward(back.read)
        own = {s.id for s in self.steps}
        kept = [id for id in back.read if id in own]
        texts = [self.of[id] for id in kept]
        step = [*arguments, *forward, f"return {tuple_text(texts)}"]
        before = [f"{target(texts)} = kept"] if kept else []
        return CellSource(
            _used(step),
            _used([*arguments, *before, *backward]),
            tuple(self.seen),
            tuple(self.held),
            tuple(
                (products_of(n, self.nodes[n.inputs[0]].type.width), self.nodes[n.inputs[0]].type.width)
                for n in self.multiplied
            ),
            tuple(kept),
            self._beside(kept),
            back.sloped,
            back.places,
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
                lines.append(f"{target(taken)} = {what}")
        self.matrices = {n.id: self.names.take(f"w_{n.name or 'product'}") for n in self.multiplied}
        if self.multiplied:
            lines.append(f"{target(list(self.matrices.values()))} = matrices")
        self.biases = {
            n.id: self.names.take(f"b_{n.name or 'product'}")
            for n in self.multiplied
            if biased(n, self.nodes)
        }
        if self.biases:
            lines.append(f"{target(list(self.biases.values()))} = biases")
        self.nexts = [self.names.take(f"{self.of[id]}_next") for id in self.region.states]
        lines.append(f"{target(self.nexts)} = nexts")
        return lines

    def _named(self, node: Node, otherwise: str) -> str:
        self.of[node.id] = self.names.take(node.name or otherwise)
        return self.of[node.id]

    def _named_steps(self) -> None:
        for node in self.region.nodes:
            if node.op == "constant":
                self.of[node.id] = number(float(node.attrs["value"])).at(9)
        for step in self.steps:
            plain = {"project": "product", "linear": "product", "addmm": "total", "addcmul": "total"}
            self._named(step.node, plain.get(step.kind, "mean" if step.kind == "lerp" else step.node.op))

    # ------------------------------------------------------------- forward

    def _forward(self, read: dict[int, None]) -> list[str]:
        lines = []
        values = {self.region.captures[i] for i in self.seen}
        places = self.lying = _Places(self.nodes, self.steps, self.region, values, read)
        # A value that is several states' next one is written to the first, and copied.
        written = dict(reversed([*zip(self.region.nexts, self.nexts, strict=True)]))
        done: set[str] = set()
        for place, step in enumerate(self.steps):
            name, out = self.of[step.id], written.get(step.id)
            text = self._into(step, out) if out is not None else None
            if text is not None and out is not None:
                done.add(out)
                places.fix(step)
            else:
                over = places.overwritten(place, step)
                text = self._text(step) if over is None else self._over(step, over)
            lines.append(f"{name} = {text}")
        for id, out in zip(self.region.nexts, self.nexts, strict=True):
            if out not in done:
                lines.append(f"{out}.copy_({self.of[id]})")
        return lines

    def _beside(self, kept: list[int]) -> int:
        roots = {self.lying.at[id][0] for id in kept} & self.lying.free - set(self.region.captures)
        return sum(self.nodes[root].type.width for root in roots)

    def _text(self, step: Step) -> str:
        """An operation that makes a new value."""
        given = [self.of[i] for i in step.inputs]
        match step.kind:
            case "linear" | "project":
                matrix = self.matrices[step.id]
                if step.id in self.biases:
                    return f"torch.addmm({self.biases[step.id]}, {given[0]}, {matrix})"
                return f"{given[0]} @ {matrix}"
            case "addmm":
                assert step.product is not None
                return f"torch.addmm({given[0]}, {given[1]}, {self.matrices[step.product.id]})"
            case "addcmul" | "lerp":
                return f"torch.{step.kind}({', '.join(given)})"
            case "neg":
                return f"-{given[0]}"
            case "concat":
                return f"torch.cat([{', '.join(given)}], -1)"
            case "slice":
                return f"{given[0]}[:, {step.node.attrs['start']}:{step.node.attrs['stop']}]"
            case "dot":
                return f"({given[0]} * {given[1]}).sum(-1, keepdim=True)"
            case "silu":
                return f"F.silu({given[0]})"
        if step.kind in _INFIX:
            return f"{given[0]} {_INFIX[step.kind]} {given[1]}"
        return f"{_FUNCTIONS[step.kind]}({given[0]})"

    def _into(self, step: Step, place: str) -> str | None:
        """An operation that writes into a place, if torch can."""
        if any(self.nodes[i].op == "constant" for i in step.inputs):
            return None
        text = self._text(step)
        if step.kind in _INTO:
            return f"torch.{step.kind}({', '.join(self.of[i] for i in step.inputs)}, out={place})"
        if step.kind in ("addmm", "addcmul", "lerp", "concat") or text.startswith("torch.addmm("):
            return f"{text[:-1]}, out={place})"
        return None

    def _over(self, step: Step, id: int) -> str:
        """An operation that writes over one of the values it reads."""
        rest = [self.of[i] for i in step.inputs if i != id]
        match step.kind:
            case "addmm":
                assert step.product is not None
                return f"{self.of[id]}.addmm_({rest[0]}, {self.matrices[step.product.id]})"
            case "silu":
                return f"F.silu({self.of[id]}, inplace=True)"
            case "tanh":
                return f"ops.tanh_({self.of[id]})"
        return f"{self.of[id]}.{step.kind}_({', '.join(rest)})"


class _Places:
    """Where the values of a step lie, and which of them may be written over.

    Every value has a root, whose memory it has or has a part of: channels start .. stop.
    """

    def __init__(
        self,
        nodes: dict[int, Node],
        steps: list[Step],
        region: Region,
        free: set[int],
        read: dict[int, None],
    ) -> None:
        self.nodes = nodes
        self.free = set(free)
        self.read = read
        self.at = {id: (id, 0, node.type.width) for id, node in nodes.items()}
        self.last: dict[int, int] = dict.fromkeys(region.nexts, len(steps))
        for place, step in enumerate(steps):
            for id in step.inputs:
                self.last[id] = max(self.last.get(id, -1), place)

    def fix(self, step: Step) -> None:
        """The value lies where the loop wants it."""
        self.free.discard(step.id)

    def overwritten(self, place: int, step: Step) -> int | None:
        """The input that a step's result takes the place of, if there is one."""
        if step.kind == "slice":
            root, start, _ = self.at[step.inputs[0]]
            begin, end = start + step.node.attrs["start"], start + step.node.attrs["stop"]
            self.at[step.id] = (root, begin, end)
            return None
        for id in self._candidates(step):
            if self._mine(place, step, id):
                self.at[step.id] = self.at[id]
                return id
        self.free.add(step.id)
        return None

    def _candidates(self, step: Step) -> tuple[int, ...]:
        """Inputs that torch can write the result over."""
        if len(set(step.inputs)) < len(step.inputs) or step.kind in ("linear", "project", "concat", "dot"):
            return ()
        return step.inputs[:2] if step.kind in ("add", "mul") else step.inputs[:1]

    def _mine(self, place: int, step: Step, id: int) -> bool:
        root, start, stop = self.at[id]
        if root not in self.free or self.nodes[id].type.width != step.node.type.width:
            return False
        if self.nodes[id].op == "constant":
            return False
        for other, (other_root, begin, end) in self.at.items():
            if other_root != root or end <= start or stop <= begin:
                continue
            if other in self.read or self.last.get(other, -1) > place:
                return False
            if other != id and other in step.inputs:
                return False
        return True


def _sliced_early(steps: list[Step]) -> list[Step]:
    """The steps with slices right after what they are of: from then on only the slices are read."""
    cuts: dict[int, list[Step]] = {}
    for step in steps:
        if step.kind == "slice":
            cuts.setdefault(step.inputs[0], []).append(step)
    own = {s.id for s in steps}
    ordered = [cut for source, found in cuts.items() if source not in own for cut in found]
    for step in steps:
        if step.kind != "slice":
            ordered += [step, *cuts.get(step.id, ())]
    return ordered


def _used(lines: list[str]) -> list[str]:
    """Without names that no later line reads: arguments go, of which a tuple has `_` in their place where it
    has others, and what is written into a place is not named besides."""
    kept: list[str] = []
    for place, line in enumerate(lines):
        names_, equals, source = line.partition(" = ")
        rest = "\n".join(lines[place + 1 :])
        names = [n.strip() for n in names_.split(",") if n.strip()] if equals else []
        read = [n if re.search(rf"\b{n}\b", rest) else "_" for n in names]
        if source in _ARGUMENTS:
            if any(n != "_" for n in read):
                kept.append(f"{target(read)} = {source}")
        else:
            kept.append(source if read == ["_"] else line)
    return kept
