"""Matrix products fused with the kernel that reads them.

A product that a recurrence reads step by step is computed by its loop, chunk by chunk (`Fusions.put_off`);
one that is added to a single-use value is added in place (`added`); of one of which only some rows are read,
only these are computed, with what is added to them (`picked`). An attention whose keys are a request's
history with a candidate at its end takes the two as they are (`ended`): what appends them is left to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field

from specc.frozen import dataclass
from specc.ir.graph import Node
from specc.lower.shape import Domain, Shapes
from specc.ops import op
from specc.ops.products import products_of

# Operations with a fresh buffer for their result, which their derivative does not read.
FRESH = (op.ADD, op.SUB, op.MUL, op.LINEAR, op.PROJECT)


@dataclass
class Fusions:
    """put_off: products that what reads them computes. added: by sum, the value that a product is added to,
    in its place, and the product. picked: by what is some of a product's rows alone, or a sum of these and
    another value: the node that picks them, and the other value. ended: by attention its inputs, each by what
    appends the end to it."""

    put_off: set[int] = field(default_factory=set)
    added: dict[int, tuple[int, int]] = field(default_factory=dict)
    picked: dict[int, tuple[Node, int | None]] = field(default_factory=dict)
    ended: dict[int, dict[int, Node]] = field(default_factory=dict)


def fusions(
    nodes: Sequence[Node],
    index: Mapping[int, Node],
    uses: Counter[int],
    known: Collection[int],
    shapes: Shapes,
) -> Fusions:
    """Of the nodes of a function. uses: how often each is read. known: what is computed before."""
    found = _Fusions(index, uses, known, shapes, {*known, *(n.id for n in nodes)})
    for node in nodes:
        found.look_at(node)
    return found.fusions


@dataclass
class _Fusions:
    index: Mapping[int, Node]
    uses: Counter[int]
    known: Collection[int]
    shapes: Shapes
    there: Collection[int]
    fusions: Fusions = field(default_factory=Fusions)

    def look_at(self, node: Node) -> None:
        fusions = self.fusions
        if node.op == op.RECURRENCE:
            mine = {i for i in node.inputs if self.uses[i] == 1 and self._for_steps(i, node)}
            fusions.put_off |= mine
        elif node.op == op.ATTENTION:
            self._take_ends(node)
        elif node.op == op.ADD and (found := self._product_to_add(node)) is not None:
            fusions.added[node.id] = found
            fusions.put_off.add(found[1])
        elif node.op in (op.INIT, op.TAIL) and self._picks_product(node):
            fusions.picked[node.id] = node, None
            fusions.put_off.add(node.inputs[0])
        elif node.op == op.ADD and (rows := self._picked_to_add(node)) is not None:
            fusions.picked[node.id] = rows
            fusions.put_off.add(rows[0].id)

    def _take_ends(self, node: Node) -> None:
        """Of an attention among all of a history and a candidate at its end, take these as they are."""
        query_axis = node.attrs["query_axis"]
        asked = Domain(frozenset() if query_axis is None else frozenset([query_axis]), candidate=True)
        if node.attrs["where"] != "all" or self.shapes.of(node).domain != asked:
            return
        query, key, value = node.inputs
        ended = {id: self._ended(id) for id in (key, value)}
        if query_axis is not None:
            ended[query] = self._ended(query)
        elif self.shapes.of(self.index[query]).domain not in (asked, None):
            return
        found = {id: chain for id, chain in ended.items() if chain is not None}
        if len(found) < len(ended) or len({chain[-1].attrs["old"] for chain in found.values()}) > 1:
            return
        self.fusions.ended[node.id] = {id: chain[-1] for id, chain in found.items()}
        for id, chain in found.items():
            uses = node.inputs.count(id)
            for link in chain:
                if self.uses[link.id] != uses or link.id in self.known:
                    break
                self.fusions.put_off.add(link.id)
                uses = 1

    def _ended(self, id: int) -> list[Node] | None:
        """What renames, and at last what appends a candidate's value to one of a request's history."""
        chain = [self.index[id]]
        while chain[-1].op == op.RENAME:
            chain.append(self.index[chain[-1].inputs[0]])
        last = chain[-1]
        if last.op != op.APPEND or last.attrs["second"] is not None or not last.attrs["old"].ragged:
            return None
        rows = [self.shapes.of(self.index[i]).domain for i in last.inputs if i in self.there]
        wanted = [Domain(frozenset([last.attrs["old"]])), Domain(frozenset(), candidate=True)]
        return chain if rows == wanted else None

    def _for_steps(self, id: int, recurrence: Node) -> bool:
        """Whether a value that nothing else reads is a product for every step of a recurrence."""
        node = self.index[id]
        return node.op in (op.LINEAR, op.PROJECT) and node.type.has(recurrence.attrs["axis"])

    def _alone(self, id: int) -> bool:
        return id in self.index and self.uses[id] == 1 and id not in self.known

    def _product_to_add(self, node: Node) -> tuple[int, int] | None:
        """Of a sum of two values that nothing else reads, one whose place it may take and a product that is
        added to it: that is one operation, and nothing new."""
        for place, product in (node.inputs, node.inputs[::-1]):
            ids = (node.id, place, product)
            shapes = [self.shapes.of(self.index[i]) for i in ids]
            whole = shapes[0].domain is not None and shapes[2].domain == shapes[0].domain
            alone = all(self._alone(i) for i in ids[1:])
            if not whole or not alone or shapes[1].domain is None or any(s.dims for s in shapes):
                continue
            same = self.index[place].type.width == self.index[product].type.width
            if same and self.index[place].op in FRESH and self._addable(self.index[product]):
                return place, product
        return None

    def _addable(self, node: Node) -> bool:
        plain = node.op in (op.LINEAR, op.PROJECT) and node.id not in self.fusions.put_off
        return plain and not biased(node, self.index)

    def _picks_product(self, node: Node) -> bool:
        """Whether a node picks rows of a product that nothing else reads."""
        (id,) = node.inputs
        if not self._alone(id) or not node.attrs["old"].ragged or self.shapes.of(node).dims:
            return False
        product = self.index[id]
        return product.op in (op.LINEAR, op.PROJECT) and self.shapes.of(product).domain is not None

    def _picked_to_add(self, node: Node) -> tuple[Node, int] | None:
        """Of a sum of two values the one that is some rows of a product, if nothing else reads these; and the
        other one."""
        for other, id in (node.inputs, node.inputs[::-1]):
            picks = self.fusions.picked.get(id)
            if picks is None or picks[1] is not None or self.uses[id] > 1 or other == id:
                continue
            ends = [self.index[i] for i in (other, id)]
            if all(n.type.width == node.type.width for n in ends):
                own = self.shapes.of(node)
                if all(self.shapes.of(n) == own for n in ends):
                    return picks[0], other
        return None


def biased(product: Node, index: Mapping[int, Node]) -> bool:
    """Whether a product has a bias, which then is what is added to it."""
    return any(p.bias for p in products_of(product, index[product.inputs[0]].type.width))
