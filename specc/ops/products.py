"""A product with parts of matrices: what linear layers become once they are taken apart and put together.

    project(x) = concat over products of x M^T (+ b),  M = concat over blocks of sum c * W[:, start:stop]

The channels of x are divided among a product's blocks in order; every block says which columns of the
matrix multiply its channels. A whole linear layer is one block of one term.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from specc.frozen import dataclass

if TYPE_CHECKING:
    from specc.ir.graph import Node


@dataclass(frozen=True)
class Columns:
    """`coefficient` times columns `start` .. `stop`-1 of a matrix."""

    coefficient: float
    start: int
    stop: int

    def __str__(self) -> str:
        sign = {1.0: "", -1.0: "-"}.get(self.coefficient, f"{self.coefficient}*")
        return f"{sign}{self.start}:{self.stop}"


@dataclass(frozen=True)
class Slab:
    """Rows `start` .. `stop`-1 of a matrix: what multiplies for one head."""

    matrix: str
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.matrix}[{self.start}:{self.stop}]"


@dataclass(frozen=True)
class Product:
    """matrix, bias: weight paths. width: channels of the result. blocks: for each run of the input's
    channels the columns that are added up to multiply it. whole: the matrix as it is."""

    matrix: str
    bias: str | None
    width: int
    blocks: tuple[tuple[Columns, ...], ...]
    whole: bool = False

    def __str__(self) -> str:
        blocks = ", ".join(" + ".join(str(c) for c in block) for block in self.blocks)
        return f"{self.matrix}[{blocks}]" + (f" + {self.bias}" if self.bias else "")


def together(blocks: Sequence[tuple[Columns, ...]]) -> list[tuple[Columns, ...]]:
    """Return the blocks, with those that are adjacent in their matrix too merged into one."""
    found: list[tuple[Columns, ...]] = []
    for block in blocks:
        before = found[-1] if found else ()
        if len(block) == len(before) and all(
            a.stop == b.start and a.coefficient == b.coefficient for a, b in zip(before, block, strict=True)
        ):
            pairs = zip(before, block, strict=True)
            found[-1] = tuple(Columns(a.coefficient, a.start, b.stop) for a, b in pairs)
        else:
            found.append(block)
    return found


def products_of(node: Node, width: int) -> tuple[Product, ...]:
    """Return the products that a `linear` (of an input of `width` channels) or `project` node is made of."""
    if node.op == "project":
        found: tuple[Product, ...] = node.attrs["products"]
        return found
    matrix, *bias = node.weights
    whole = Columns(1.0, 0, width)
    return (Product(matrix, bias[0] if bias else None, node.type.width, ((whole,),), True),)


def project_attrs(products: tuple[Product, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the attributes and weights of a `project` node."""
    weights = (*(p.matrix for p in products), *(p.bias for p in products if p.bias))
    return {"products": products}, tuple(dict.fromkeys(weights))
