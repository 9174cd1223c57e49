"""The step of a recurrence and its derivative, as lowered programs.

Promises: two functions of straight-line code: `step` computes the next states, `back` from their derivatives
those of everything the step read, in reverse mode. What `back` needs of the step's own values is kept by
`step`, and nothing else is. Results go where they will be needed: next states and derivatives to the places
that the loop gives, other values over ones that nobody reads any more.

Assumes: a region that passes/recurrence.py accepted.
"""

from __future__ import annotations

from specc.frozen import dataclass
from specc.ir.graph import Node, Region
from specc.lower import choices
from specc.lower.adjoint import Adjoint
from specc.lower.fusion import biased
from specc.lower.native import Native, native_of
from specc.lower.program import Function, Kernel, Value
from specc.lower.rows import Code
from specc.lower.steps import Step, steps_of
from specc.ops import OPS, op
from specc.ops.definition import Pointwise
from specc.ops.products import Product, products_of

_CALLED = {op.PROJECT: "product", op.LINEAR: "product", "addmm": "total", "addcmul": "total", "lerp": "mean"}
_PRODUCTS = (op.LINEAR, op.PROJECT)
# Kernels of several operations that can write into a place given to them, and over their first operand.
_FUSED = ("addmm", "addcmul", "lerp")


@dataclass(eq=False)
class Cell:
    """step, back: the two functions. seen, held: indices of the scan's inputs that vary from step to step,
    and of those that do not. products: what each matrix consists of, with the width of its input. kept: the
    step's values that are saved for backward. beside: how many channels of these are in buffers of their
    own, rather than in those of the sequence's values or of the states.

    sloped: for each of `seen` whether it has a derivative. places: for each product where the derivative of
    its result is: (index in `seen`, start, stop), a part of that value's, or None for a buffer of its own.
    states: the widths of the states; factors: of the inputs of matrices, each once.
    native: the functions with what lies between their products in C, or why there is none.
    at_once: rows of a value that are multiplied by its matrix at once, at least.
    """

    node: Node
    step: Function
    back: Function
    seen: tuple[int, ...]
    held: tuple[int, ...]
    products: tuple[tuple[tuple[Product, ...], int], ...]
    kept: tuple[Value, ...]
    beside: int
    sloped: tuple[bool, ...]
    places: tuple[tuple[int, int, int] | None, ...]
    states: tuple[int, ...]
    factors: tuple[int, ...]
    native: Native | str
    at_once: int

    @property
    def biased(self) -> tuple[int, ...]:
        """The indices of products that have a bias."""
        return tuple(n for n, (group, _) in enumerate(self.products) if any(p.bias for p in group))

    @property
    def outs(self) -> tuple[int, ...]:
        """How wide the products' results are."""
        return tuple(sum(p.width for p in group) for group, _ in self.products)


def cell_of(node: Node, varying: tuple[bool, ...]) -> Cell:
    """varying: for each capture whether it has the scan's axis."""
    assert node.region is not None
    return _Lowering(node, node.region, varying).cell()


class _Lowering:
    def __init__(self, node: Node, region: Region, varying: tuple[bool, ...]) -> None:
        self.node, self.region = node, region
        self.nodes = {n.id: n for n in region.nodes}
        self.steps = steps_of(region)
        self.multiplied = [n for n in region.nodes if n.op in _PRODUCTS]
        self.seen = [i for i, v in enumerate(varying) if v]
        self.held = [i for i, v in enumerate(varying) if not v]
        self.code = Code(node.span)
        self.of: dict[int, Value] = {}

    def cell(self) -> Cell:
        captures = self.region.captures
        values = [self._named(captures[i], "value") for i in self.seen]
        constants = [self._named(captures[i], "constant") for i in self.held]
        states = [self._named(id, "state") for id in self.region.states]
        self.matrices = {n.id: self.code.value(n.type.width, f"w_{_called(n)}") for n in self.multiplied}
        with_bias = [n for n in self.multiplied if biased(n, self.nodes)]
        self.biases = {n.id: self.code.value(n.type.width, f"b_{_called(n)}") for n in with_bias}
        self.nexts = [self.code.value(s.width, f"{s.names[0]}_next") for s in states]
        for node in self.region.nodes:
            if node.op == op.CONSTANT:
                self.of[node.id] = self.code.number(float(node.attrs["value"]))
        for step in self.steps:
            self._named(step.id, _CALLED.get(step.kind, step.node.op))
        seen = [captures[i] for i in self.seen]
        held = [captures[i] for i in self.held]
        adjoint = Adjoint(self.region, self.steps, self.of, self.matrices, seen, held)
        back = adjoint.function()
        self._forward(adjoint.read)
        own = {s.id for s in self.steps}
        kept = [self.of[id] for id in adjoint.read if id in own]
        both = {"values": values, "constants": constants, "matrices": list(self.matrices.values())}
        forward = Function(("step",), self.code.kernels, results=kept, span=self.node.span)
        forward.groups = {**both, "biases": list(self.biases.values()), "states": states, "nexts": self.nexts}
        back.groups = {**both, "states": states, "kept": kept, **adjoint.groups}
        back.span = self.node.span
        return Cell(
            self.node,
            forward,
            back,
            tuple(self.seen),
            tuple(self.held),
            tuple((products_of(n, self._in(n)), self._in(n)) for n in self.multiplied),
            tuple(kept),
            self._beside(kept, [*values, *constants, *states, *self.nexts]),
            adjoint.sloped,
            adjoint.places,
            tuple(s.width for s in states),
            tuple(self.nodes[i].type.width for i in dict.fromkeys(n.inputs[0] for n in self.multiplied)),
            native_of(forward, back),
            choices.AT_ONCE,
        )

    def _named(self, id: int, otherwise: str) -> Value:
        node = self.nodes[id]
        self.of[id] = self.code.value(node.type.width, node.name or otherwise)
        return self.of[id]

    def _in(self, product: Node) -> int:
        return self.nodes[product.inputs[0]].type.width

    def _beside(self, kept: list[Value], at_hand: list[Value]) -> int:
        roots = dict.fromkeys(value.buffer for value in kept)
        return sum(root.width for root in roots if root not in at_hand)

    # ------------------------------------------------------------- forward

    def _forward(self, read: dict[int, None]) -> None:
        values = {self.region.captures[i] for i in self.seen}
        places = _Places(self.nodes, self.steps, self.region, values, read)
        # A value that is several states' next one is written to the first, and copied.
        written = dict(reversed([*zip(self.region.nexts, self.nexts, strict=True)]))
        done: set[Value] = set()
        for place, step in enumerate(self.steps):
            out = written.get(step.id)
            if out is not None and self._into(step):
                done.add(out)
                places.fix(step)
                self._compute(step, out)
            else:
                over = places.overwritten(place, step)
                self._compute(step, None if over is None else self.of[over])
        for id, out in zip(self.region.nexts, self.nexts, strict=True):
            if out not in done:
                self.code.make("copy", self.of[id], width=out.width, over=out)

    def _into(self, step: Step) -> bool:
        """Whether the step's kernel can write into a place."""
        tensors = all(self.nodes[i].op != op.CONSTANT for i in step.inputs)
        name, _ = self._kernel(step)
        form = _form(name)
        return tensors and (name in (*_FUSED, "cat") or (form is not None and bool(form.out)))

    def _kernel(self, step: Step) -> tuple[str, tuple[object, ...]]:
        """The kernel of a step, and what it is given."""
        given = tuple(self.of[i] for i in step.inputs)
        match step.kind:
            case op.LINEAR | op.PROJECT:
                matrix = self.matrices[step.id]
                if step.id in self.biases:
                    return "addmm", (self.biases[step.id], *given, matrix)
                return "mm", (*given, matrix)
            case "addmm":
                assert step.product is not None
                return "addmm", (*given, self.matrices[step.product.id])
            case op.CONCAT:
                return "cat", (list(given),)
            case op.SLICE:
                return "columns", (*given, step.node.attrs["start"], step.node.attrs["stop"])
        attrs = tuple(step.node.attrs.values()) if step.kind == step.node.op else ()
        return step.kind, (*given, *attrs)

    def _compute(self, step: Step, over: Value | None) -> None:
        name, args = self._kernel(step)
        value = self.of[step.id]
        value.held = True
        if name == "columns":
            value.base = self.of[step.inputs[0]]
        elif over is not None:
            value.base, value.written = over, True
            if over in args and args[0] is not over:  # what is written over comes first
                args = (over, *(a for a in args if a is not over))
        self.code.kernels.append(Kernel(name, args, (value,), over=over))


def _form(name: str) -> Pointwise | None:
    """The lowering of a pointwise operation; None for any other."""
    found = OPS[name].lowering if name in OPS else None
    return found if isinstance(found, Pointwise) else None


def _called(product: Node) -> str:
    return product.name or "product"


class _Places:
    """Liveness of a step's buffers: which values may be overwritten.

    at: by value its root, whose buffer it is in, and the channels of that: start .. stop.
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
        """Settle that a step's result is in a place of the loop's."""
        self.free.discard(step.id)

    def overwritten(self, place: int, step: Step) -> int | None:
        """The input in whose place a step's result is written, if there is one."""
        if step.kind == op.SLICE:
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
        """Inputs that torch has an in-place form for."""
        form = _form(step.kind)
        if len(set(step.inputs)) < len(step.inputs) or not (step.kind in _FUSED or (form and form.over)):
            return ()
        commutes = step.kind in OPS and OPS[step.kind].traits.commutative
        return step.inputs[:2] if commutes else step.inputs[:1]

    def _mine(self, place: int, step: Step, id: int) -> bool:
        root, start, stop = self.at[id]
        if root not in self.free or self.nodes[id].type.width != step.node.type.width:
            return False
        if self.nodes[id].op == op.CONSTANT:
            return False
        for other, (other_root, begin, end) in self.at.items():
            if other_root != root or end <= start or stop <= begin:
                continue
            if other in self.read or self.last.get(other, -1) > place:
                return False
            if other != id and other in step.inputs:
                return False
        return True
