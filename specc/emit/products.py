"""Print products with slices of matrices (ir/products.py) as expressions.

`local` returns a short name for a matrix of which slices are read, `columns` some columns of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from specc.emit.names import attribute
from specc.lower.program import Heads
from specc.ops.products import Columns, Product, Slab, together

Local = Callable[[str], str]
# Of a matrix by its path, columns `start` .. `stop`-1.
ColumnsOf = Callable[[str, int, int], str]


def matrix_text(products: Sequence[Product], columns: ColumnsOf) -> str:
    """Return the matrix of products of the same input, stacked one below the other."""
    parts = [_matrix(p, columns) for p in products]
    return parts[0] if len(parts) == 1 else f"torch.cat([{', '.join(parts)}])"


def bias_text(products: Sequence[Product]) -> str:
    """Return the biases of products side by side, zeros for a product without one; None if none has one."""
    known = [attribute(p.bias) for p in products if p.bias]
    if not known:
        return ""
    parts = [attribute(p.bias) if p.bias else f"{known[0]}.new_zeros({p.width})" for p in products]
    return parts[0] if len(parts) == 1 else f"torch.cat([{', '.join(parts)}])"


def columns_read(products: Sequence[Product]) -> Iterator[tuple[str, int, int]]:
    """Yield the matrices of which products read some columns, each with the first and the end of these."""
    for product in products:
        if not product.whole:
            for block in together(product.blocks):
                yield from ((product.matrix, part.start, part.stop) for part in block)


def _matrix(product: Product, columns: ColumnsOf) -> str:
    if product.whole:
        return attribute(product.matrix)
    blocks = [_block(block, product.matrix, columns) for block in together(product.blocks)]
    return blocks[0] if len(blocks) == 1 else f"torch.cat([{', '.join(blocks)}], 1)"


def _block(block: tuple[Columns, ...], matrix: str, columns: ColumnsOf) -> str:
    text = ""
    for some in block:
        part = columns(matrix, some.start, some.stop)
        size = abs(some.coefficient)
        if size != 1.0:
            part = f"{size!r} * {part}"
        if not text:
            text = part if some.coefficient > 0 else f"-{part}"
        else:
            text = f"{text} {'+' if some.coefficient > 0 else '-'} {part}"
    return text


def heads_text(heads: Heads, local: Local, height: Callable[[str], int]) -> str:
    """Return the stacked matrices of heads. height: the rows of each."""
    slabs = heads.slabs
    first = slabs[0]
    size = first.stop - first.start
    turned = "" if heads.transposed else ".mT"
    consecutive = all(s == Slab(first.matrix, i * size, (i + 1) * size) for i, s in enumerate(slabs))
    if not heads.apart:
        return f"{local(first.matrix)}{turned}"
    if consecutive and height(first.matrix) == size * len(slabs):
        return f"{local(first.matrix)}.unflatten(0, ({len(slabs)}, {size})){turned}"
    parts = []
    for slab in slabs:
        whole = size == height(slab.matrix)
        parts.append(attribute(slab.matrix) if whole else f"{local(slab.matrix)}[{slab.start}:{slab.stop}]")
    return f"torch.stack([{', '.join(parts)}]){turned}"
