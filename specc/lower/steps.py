"""The operations of a recurrence's step, as few as torch can do them in.

Promises: the values of the region's nodes. Three patterns become one operation each: a product and what is
added to it (`addmm`), an elementwise product and what is added to it (`addcmul`), and a mean of two values
by a weight and the rest, w x + (1 - w) y (`lerp`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from specc.frozen import dataclass
from specc.ir.graph import Node, Region
from specc.lower.fusion import biased
from specc.ops import op


@dataclass(frozen=True)
class Step:
    """One operation: `kind` is the node's op, or addmm (addend, x), addcmul (addend, a, b), or lerp
    (start, end, weight). product: the node whose matrix an `addmm` multiplies x with."""

    node: Node
    kind: str
    inputs: tuple[int, ...]
    product: Node | None = None

    @property
    def id(self) -> int:
        return self.node.id


def steps_of(region: Region) -> list[Step]:
    """What is computed, in order, without arguments and numbers. Slices come right after what they are slices
    of, which is then not read any more if all of it is sliced."""
    return _sliced_early(_Fusion(region).steps())


def _sliced_early(steps: list[Step]) -> list[Step]:
    cuts: dict[int, list[Step]] = {}
    for step in steps:
        if step.kind == op.SLICE:
            cuts.setdefault(step.inputs[0], []).append(step)
    own = {s.id for s in steps}
    ordered = [cut for source, found in cuts.items() if source not in own for cut in found]
    for step in steps:
        if step.kind != op.SLICE:
            ordered += [step, *cuts.get(step.id, ())]
    return ordered


class _Fusion:
    def __init__(self, region: Region) -> None:
        self.nodes = region.nodes
        self.index = {n.id: n for n in region.nodes}
        self.uses = Counter(i for n in region.nodes for i in n.inputs)
        self.uses.update(region.nexts)
        self.absorbed: set[int] = set()

    def steps(self) -> list[Step]:
        found: dict[int, Step] = {}
        # The last first: the mean is looked for before its halves are taken for products and sums.
        for node in reversed(self.nodes):
            if node.op == op.ADD:
                fused = self._lerp(node) or self._added(node, self._addmm) or self._added(node, self._addcmul)
                if fused is not None:
                    found[node.id] = fused
        return [
            found.get(n.id, Step(n, n.op, n.inputs))
            for n in self.nodes
            if n.op not in (op.CAPTURE, op.STATE, op.CONSTANT) and n.id not in self.absorbed
        ]

    def _once(self, id: int, name: str) -> Node | None:
        node = self.index[id]
        return node if node.op == name and self.uses[id] == 1 and id not in self.absorbed else None

    def _lerp(self, node: Node) -> Step | None:
        for one, other in (node.inputs, node.inputs[::-1]):
            first, second = self._once(one, op.MUL), self._once(other, op.MUL)
            if first is None or second is None:
                return None
            for weight, end in (first.inputs, first.inputs[::-1]):
                for rest, start in (second.inputs, second.inputs[::-1]):
                    wide = all(self.index[i].type.width == node.type.width for i in (start, end))
                    if wide and self._is_rest(rest, weight) and self._tensors(start, end, weight):
                        self.absorbed |= {one, other}
                        if self.uses[rest] == 1:
                            self.absorbed.add(rest)
                        return Step(node, "lerp", (start, end, weight))
        return None

    def _is_rest(self, id: int, weight: int) -> bool:
        """Whether a value is 1 - weight."""
        node = self.index[id]
        if node.op != op.SUB or node.inputs[1] != weight:
            return False
        whole = self.index[node.inputs[0]]
        return whole.op == op.CONSTANT and float(whole.attrs["value"]) == 1.0

    def _added(self, node: Node, made: Callable[[Node, int, int], Step | None]) -> Step | None:
        for mine, other in (node.inputs, node.inputs[::-1]):
            if self.index[other].type.width == node.type.width and self._tensors(other):
                found = made(node, mine, other)
                if found is not None:
                    self.absorbed.add(mine)
                    return found
        return None

    def _addmm(self, node: Node, mine: int, other: int) -> Step | None:
        product = self._once(mine, op.LINEAR) or self._once(mine, op.PROJECT)
        if product is None or biased(product, self.index) or product.type.width != node.type.width:
            return None
        return Step(node, "addmm", (other, product.inputs[0]), product)

    def _addcmul(self, node: Node, mine: int, other: int) -> Step | None:
        product = self._once(mine, op.MUL)
        if product is None or not self._tensors(*product.inputs):
            return None
        return Step(node, "addcmul", (other, *product.inputs))

    def _tensors(self, *ids: int) -> bool:
        return all(self.index[i].op != op.CONSTANT for i in ids)
