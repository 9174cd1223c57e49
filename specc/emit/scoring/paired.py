"""Print products of two factors, of which one is repeated for the rows of the other, as C."""

from __future__ import annotations

from math import prod

from specc.emit.scoring.function import Place, Writer
from specc.emit.scoring.matrices import bias_of, multiply, whole
from specc.emit.scoring.places import at_rows, each_row, indexed
from specc.emit.scoring.rows import Grid, NotInC
from specc.lower.program import Kernel, Matrix, Record, Value


def paired(w: Writer, kernel: Kernel, number: int) -> None:
    a, b, matrix, bias, rows = kernel.args
    if matrix is not None and _by_segment(w, kernel):
        return
    grid = w.layout.grid(rows)
    count = w.layout.count(grid)
    factors, added = [], []
    for factor in (a, b):
        x, of, *own = factor.args
        place, at = w.place(x), w.layout.grid(of)
        factors.append(at_rows(w, place, at, grid))
        if own and own[0] is not None:
            dense = w.dense(x)
            out = sum(p.width for p in own[0].products)
            term = w.scratch(f"{w.count(dense.grid)} * {out}")
            multiply(
                w,
                w.count(dense.grid),
                dense.pointer,
                own[0].width,
                own[0].products,
                term,
                out,
                bias=False,
                add=False,
            )
            added.append(at_rows(w, Place(term, (out,), dense.grid), at, grid))
    sizes = factors[0].sizes
    if factors[1].sizes != sizes or (matrix is not None and len(sizes) > 1):
        raise NotInC("a product of values with different dimensions")
    result = w.new(kernel.result, (*sizes[:-1], kernel.result.width), grid)
    width, heads = sizes[-1], prod(sizes[:-1])
    if matrix is None and heads > 1:
        with w.block(each_row(w, result)):
            w.say(f"const real *x = {factors[0].row()}, *z = {factors[1].row()};")
            w.say(f"for (int64_t j = 0; j < {heads}; j++)")
            head = f"j * {width}"
            w.say(f"    {result.pointer}[i * {heads} + j] = dot_(x + {head}, z + {head}, {width});")
        return
    if matrix is None:
        with w.block(each_row(w, result)):
            w.say(f"{result.pointer}[i] = dot_({factors[0].row()}, {factors[1].row()}, {width});")
        return
    out = kernel.result.width
    biases = [bias_of(w, m) for m in (() if bias is None else bias.args)]
    tile = max(2**14 // max(width, out), 1)
    product = w.scratch(tile * width)
    with w.block(f"for (int64_t t = 0; t < {count}; t += {tile})"):
        w.say(f"const int64_t n = {count} - t < {tile} ? {count} - t : {tile};")
        with w.block("for (int64_t r = 0; r < n; r++)"):
            w.say("const int64_t i = t + r;")
            w.say(f"const real *x = {factors[0].row()}, *z = {factors[1].row()};")
            w.say(f"real *y = {product} + r * {width}, *o = {result.row()};")
            w.say(f"LANES for (int64_t c = 0; c < {width}; c++) y[c] = x[c] * z[c];")
            for n, place in enumerate(added):
                w.say(f"const real *e{n} = {place.row()};")
            terms = [
                *(f"e{n}[c]" for n in range(len(added))),
                *(f"{name}[c]" for name in biases if name != "0"),
            ]
            w.say(f"LANES for (int64_t c = 0; c < {out}; c++) o[c] = {' + '.join(terms) or '0'};")
        multiply(
            w,
            "n",
            product,
            width,
            matrix.products,
            f"({result.pointer} + t * {out})",
            out,
            bias=False,
            add=True,
        )


def _by_segment(w: Writer, kernel: Kernel) -> bool:
    """Write a kernel as rows that are multiplied by a matrix of their segment (`paired_` of the kit), if its
    rows are runs of one factor, and of the other one a row each."""
    a, b, matrix, bias, rows = kernel.args
    layout, grid = w.layout, w.layout.grid(rows)
    prefix = layout.prefix(grid)
    ends = [layout.grid(factor.args[1]).axes[-1:] == grid.axes[-1:] for factor in (a, b)]
    if not grid.axes or w.tile is not None or ends.count(True) != 1:
        return False
    (x, of_x, *own_x), (y, of_y, *own_y) = (f.args for f in ((a, b) if ends[0] else (b, a)))
    grid_x, grid_y = layout.grid(of_x), layout.grid(of_y)
    if grid.axes[-1] in grid_y.axes:
        return False
    place, other = w.place(x), w.place(y)
    if place.grid is None or place.index or len(place.sizes) > 1 or other.sizes != place.sizes:
        return False
    width, out = place.size, kernel.result.width
    at_x = "0" if grid_x == grid else layout.index(grid, grid_x)
    of = indexed(w, at_rows(w, other, grid_y, prefix), prefix)
    added, stride = _of_segments(w, y, own_y[0] if own_y else None, bias, grid_y)
    by_z = "0" if added is None or added.grid is None else at_rows(w, added, grid_y, prefix).index
    panels = [_panels(w, m) for m in (matrix, own_x[0] if own_x else None)]
    result = w.new(kernel.result, (out,), grid)
    factors = f"{place.pointer}, {at_x}, {of.pointer}, {of.index or 0}, {', '.join(panels)}"
    z = f"{added.pointer if added is not None else 0}, {stride}, {by_z or 0}"
    count, begins = w.count(prefix), layout.begins(grid)
    w.say(f"if (paired_(m, {count}, {begins}, {width}, {out}, {factors}, {z}, {result.pointer})) return 2;")
    return True


def _panels(w: Writer, matrix: Matrix | None) -> str:
    """Products' matrices in panels; "0" where there is none."""
    if matrix is None:
        return "0"
    text, out, width = whole(w, matrix)
    name = w.name("panels")
    w.say(f"const real *{name} = in_panels_(m, {width}, {out}, {text}, {width}, 1);")
    w.check(f"!{name}")
    return name


def _of_segments(
    w: Writer, y: Value, own: Matrix | None, bias: Record | None, grid: Grid
) -> tuple[Place | None, int]:
    """What is added to all rows of a segment: a product of its row y, and biases; and the stride of its rows,
    0 where it is the same everywhere."""
    biases = [name for name in (bias_of(w, m) for m in (() if bias is None else bias.args)) if name != "0"]
    terms = " + ".join(f"{name}[c]" for name in biases)
    if own is None:
        if not biases:
            return None, 0
        (matrix, *_) = bias.args if bias is not None else ()
        out = sum(p.width for p in matrix.products)
        name = w.scratch(out)
        w.say(f"for (int64_t c = 0; c < {out}; c++) {name}[c] = {terms};")
        return Place(name, (out,), None), 0
    dense, out = w.dense(y), sum(p.width for p in own.products)
    count, name = w.count(dense.grid), w.scratch(f"{w.count(dense.grid)} * {out}")
    multiply(w, count, dense.pointer, own.width, own.products, name, out, bias=False, add=False)
    if biases:
        with w.block(f"for (int64_t i = 0; i < {count}; i++)"):
            w.say(f"LANES for (int64_t c = 0; c < {out}; c++) {name}[i * {out} + c] += {terms};")
    return Place(name, (out,), dense.grid), 0 if dense.grid is None else out
