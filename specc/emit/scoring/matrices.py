"""Print products with matrices, and with parts of them, as C."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from specc.emit.scoring.function import Place, Repeats, Writer
from specc.emit.scoring.repeats import texts
from specc.lower.program import Matrix
from specc.ops.products import Columns, Product, together

# From so many rows on it is worth to put matrices together.
_MANY = 8


def multiply(
    w: Writer,
    n: str,
    x: str,
    ldx: int,
    products: Sequence[Product],
    y: str,
    ldy: int,
    *,
    bias: bool,
    add: bool,
    repeats: Sequence[tuple[Repeats, str]] = (),
) -> None:
    """y = (or +=) x times the matrices of some products, each beside the one before.

    Of many rows they are one product with all matrices in one, which are put together before. repeats: the
    channels whose rows repeat.
    """
    parts, column = [], 0
    for one in products:
        known, begin = w.weight(one.bias) if bias and one.bias else "0", 0
        for block in together(one.blocks):
            width = block[0].stop - block[0].start
            matrix, stride = block_of(w, one, block)
            parts.append((one.width, width, column, begin, matrix, stride, known))
            begin, known = begin + width, "0"
        column += one.width
    several = len(parts) > 1 and (not w.before or w.block_of is not None)
    if several:
        _at_once(w, n, x, ldx, products, y, ldy, parts, repeats, bias=bias, add=add)
    with w.block("else") if several else nullcontext():
        for out, width, column, begin, matrix, stride, known in parts:
            into = f"{y} + {column}" if column else y
            of = f"{x} + {begin}" if begin else x
            strides, over = f"{stride}, 1", int(add or begin > 0)
            own = () if several else [_initialiser(*part) for part in repeats]
            w.multiply(n, width, out, of, ldx, matrix, strides, known, into, ldy, over, own)


def times(
    w: Writer,
    n: str,
    x: Place,
    products: Sequence[Product],
    y: str,
    ldy: int,
    *,
    bias: bool,
    add: bool,
) -> None:
    """As `multiply`, of a value whose rows lie one after another. Rows that repeat are multiplied once, where
    the batch has few of them."""
    repeats = [] if w.before else texts(w, x.parts)
    multiply(w, n, x.pointer, x.sizes[-1], products, y, ldy, bias=bias, add=add, repeats=repeats)


def _initialiser(part: Repeats, text: str) -> str:
    return f"{text}, {part.start}, {part.width}{part.bag}"


def _at_once(
    w: Writer,
    n: str,
    x: str,
    ldx: int,
    products: Sequence[Product],
    y: str,
    ldy: int,
    parts: Sequence[tuple[int, int, int, int, str, int, str]],
    repeats: Sequence[tuple[Repeats, str]],
    *,
    bias: bool,
    add: bool,
) -> None:
    out = sum(one.width for one in products)
    width = sum(block[0].stop - block[0].start for block in products[0].blocks)
    name, biases = w.scratch(out * width), "0"
    if bias and any(one.bias for one in products):
        biases = w.scratch(out)
    many = n if w.block_of is None else w.count(w.block_of)
    with w.prepared(), w.block(f"if ({many} > {_MANY})"):
        for rows, columns, row, begin, matrix, stride, known in parts:
            with w.block(f"for (int64_t j = 0; j < {rows}; j++)"):
                into = f"{name} + ({row} + j) * {width} + {begin}"
                w.copy(into, f"{matrix} + j * {stride}", columns)
            if biases != "0" and not begin:
                given = f"memcpy({biases} + {row}, {known}" if known != "0" else f"memset({biases} + {row}, 0"
                w.say(f"{given}, {rows} * sizeof(real));")
    with w.block(f"if ({many} > {_MANY})"):
        own = [_initialiser(*part) for part in repeats]
        w.multiply(n, width, out, x, ldx, name, f"{width}, 1", biases, y, ldy, int(add), own)


def block_of(w: Writer, product: Product, block: tuple[Columns, ...]) -> tuple[str, int]:
    """The matrix of one block, and how far apart its rows are."""
    weight, stride = w.weight(product.matrix), w.shape(product.matrix)[1]
    if len(block) == 1 and block[0].coefficient == 1.0:
        return f"{weight} + {block[0].start}" if block[0].start else weight, stride
    key = ("block", product.matrix, product.width, block)
    if key not in w.made:
        width = block[0].stop - block[0].start
        name = w.made[key] = w.scratch(product.width * width)
        with w.prepared(), w.block(f"for (int64_t j = 0; j < {product.width}; j++)"):
            terms = " + ".join(f"(real){c.coefficient!r} * x[{c.start} + c]" for c in block)
            w.say(f"const real *x = {weight} + j * {stride};")
            w.say(f"LANES for (int64_t c = 0; c < {width}; c++) {name}[j * {width} + c] = {terms};")
    return w.made[key], block[0].stop - block[0].start


def whole(w: Writer, matrix: Matrix) -> tuple[str, int, int]:
    """Products' matrices one below the other, [out, in], and their sizes."""
    out = sum(p.width for p in matrix.products)
    key = ("whole", matrix)
    if key not in w.made:
        name = w.made[key] = w.scratch(out * matrix.width)
        row = 0
        for product in matrix.products:
            column = 0
            for block in together(product.blocks):
                width = block[0].stop - block[0].start
                text, stride = block_of(w, product, block)
                with w.prepared(), w.block(f"for (int64_t j = 0; j < {product.width}; j++)"):
                    into = f"{name} + ({row} + j) * {matrix.width} + {column}"
                    w.say(f"memcpy({into}, {text} + j * {stride}, {width} * sizeof(real));")
                column += width
            row += product.width
    return w.made[key], out, matrix.width


def bias_of(w: Writer, matrix: Matrix | None) -> str:
    """The biases of products side by side, 0 where there is none; "0" if none has one."""
    if matrix is None or not any(p.bias for p in matrix.products):
        return "0"
    if len(matrix.products) == 1:
        assert matrix.products[0].bias
        return w.weight(matrix.products[0].bias)
    key = ("bias", matrix.products)
    if key not in w.made:
        name = w.made[key] = w.scratch(sum(p.width for p in matrix.products))
        at = 0
        for p in matrix.products:
            into = f"{name} + {at}"
            of = f"memcpy({into}, {w.weight(p.bias)}" if p.bias else f"memset({into}, 0"
            w.prepare(f"{of}, {p.width} * sizeof(real));")
            at += p.width
    return w.made[key]
