"""Print each kernel of a scoring function as C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

from specc.emit.c import broadcast, number_text, offset
from specc.emit.scoring import moves, products, sources
from specc.emit.scoring.function import Place, Printer, Repeats, Writer
from specc.emit.scoring.loops import by_tile, recur
from specc.emit.scoring.paired import paired
from specc.emit.scoring.places import each_row
from specc.emit.scoring.repeats import added_up
from specc.emit.scoring.rows import NotInC
from specc.lower.program import Kernel, Value
from specc.ops import OPS, op
from specc.ops.definition import Pointwise


def print_kernel(w: Writer, kernel: Kernel, number: int) -> None:
    """Write a kernel. number: its place among those of its function."""
    own = _PRINTERS.get(kernel.name)
    if own is not None:
        own(w, kernel, number)
        return
    family, _, name = kernel.name.rpartition(".")
    if family in _ALONG and name in _REDUCED and len(kernel.args) == _ALONG[family][1] and not kernel.options:
        _ALONG[family][0](w, kernel, name)
        return
    form = OPS[kernel.name].lowering if kernel.name in OPS else None
    if not isinstance(form, Pointwise) or not form.c:
        raise NotInC(f"`{kernel.name}`")
    _pointwise(w, kernel, number)


def _pointwise(w: Writer, kernel: Kernel, number: int) -> None:
    definition = OPS[kernel.name]
    form = definition.lowering
    assert isinstance(form, Pointwise)
    names = [*(s.name for s in definition.inputs), *definition.attrs]
    given = dict(zip(names, kernel.args, strict=True))
    repeats = _of_sum(w, kernel)
    _each(
        w,
        kernel,
        number,
        list(kernel.operands()),
        lambda texts: form.c.format(
            **{
                name: texts.get(x, "") if isinstance(x, Value) else number_text(x)
                for name, x in given.items()
            }
        ),
    )
    if repeats:
        w.places[kernel.result] = replace(w.place(kernel.result), parts=repeats)


def _of_sum(w: Writer, kernel: Kernel) -> tuple[Repeats, ...]:
    """The channels of a sum whose rows repeat."""
    operands = list(kernel.operands())
    if kernel.name != op.ADD or len(operands) != 2 or any(v.dtype != "real" for v in operands):
        return ()
    a, b = (w.place(v) for v in operands)
    if a.sizes != b.sizes or a.grid is b.grid is None:
        return ()
    return added_up(w, a, b)


def _each(
    w: Writer, kernel: Kernel, number: int, operands: list[Value], text: Callable[[dict[Value, str]], str]
) -> None:
    """Write a kernel that computes each number from those at the same place."""
    result = kernel.result
    places = {v: w.place(v) for v in dict.fromkeys(operands) if v.dtype != "number"}
    known = {v: number_text(v.number) for v in operands if v.dtype == "number"}
    if not places:
        raise NotInC("a number that is computed while running")
    sizes = broadcast([p.sizes for p in places.values()])
    grid = w.grid(result)
    if grid is None or all(p.grid is None for p in places.values()):
        grid = None
    reused = next((v for v, p in places.items() if p.sizes == sizes and p.grid == grid and not p.index), None)
    if reused is None or not w.over(result, reused, number):
        w.new(result, sizes, grid)
    out = w.place(result)
    plain = all(p.sizes == sizes and p.grid == grid and not p.index for p in places.values())
    if plain:
        texts = {v: f"{p.pointer}[c]" for v, p in places.items()} | known
        w.say(f"LANES for (int64_t c = 0; c < {w.count(grid)} * {out.size}; c++)")
        w.say(f"    {out.pointer}[c] = {text(texts)};")
        return
    with w.block(each_row(w, out)):
        texts = dict(known)
        for n, (v, p) in enumerate(places.items()):
            w.say(f"const real *x{n} = {p.row()};")
            texts[v] = f"x{n}[{offset(p.sizes, sizes)}]"
        w.say(f"real *y = {out.row()};")
        flat = [p.sizes == sizes or p.size == 1 for p in places.values()]
        if all(flat):
            for n, (v, p) in enumerate(places.items()):
                texts[v] = f"x{n}[{0 if p.size == 1 else 'c'}]"
            w.say(f"LANES for (int64_t c = 0; c < {out.size}; c++) y[c] = {text(texts)};")
            return
        outer = list(enumerate(sizes[:-1]))
        for n, size in outer:
            w.say(f"for (int64_t j{n} = 0; j{n} < {size}; j{n}++)")
        w.say(f"LANES for (int64_t c = 0; c < {sizes[-1]}; c++) y[{offset(sizes, sizes)}] = {text(texts)};")


def _nonzero(w: Writer, kernel: Kernel, number: int) -> None:
    x = kernel.args[0]
    _each(w, kernel, number, [x], lambda texts: f"({texts[x]} != 0 ? 1 : 0)")


def _segment(w: Writer, kernel: Kernel, name: str) -> None:
    x, rows, axis = kernel.args
    place, grid = w.place(x), w.layout.grid(rows)
    to = w.layout.grid(rows.domain.without(axis))
    ids = w.at_block(w.layout.index(grid, to))
    size, count, many = place.size, w.count(w.here(grid)), w.layout.count(to)
    if name == "softmax":
        result = w.new(kernel.result, place.sizes, grid)
        top, total = (w.scratch(f"{many} * {size}") for _ in range(2))
        w.say(f"for (int64_t c = 0; c < {many} * {size}; c++) {top}[c] = -INFINITY, {total}[c] = 0;")
        with w.block(each_row(w, result)):
            w.say(f"const real *x = {place.row()};")
            w.say(f"real *t = {top} + {ids}[i] * {size};")
            w.say(f"for (int64_t c = 0; c < {size}; c++) t[c] = x[c] > t[c] ? x[c] : t[c];")
        with w.block(f"LANES for (int64_t i = 0; i < {count}; i++)" if size == 1 else each_row(w, result)):
            w.say(f"const real *x = {place.row()}, *t = {top} + {ids}[i] * {size};")
            w.say(f"real *y = {result.row()};")
            w.say(f"for (int64_t c = 0; c < {size}; c++) y[c] = exp_(x[c] - t[c]);")
        with w.block(each_row(w, result)):
            w.say(f"real *y = {result.row()}, *t = {total} + {ids}[i] * {size};")
            w.say(f"for (int64_t c = 0; c < {size}; c++) t[c] += y[c];")
        with w.block(each_row(w, result)):
            w.say(f"real *y = {result.row()}, *t = {total} + {ids}[i] * {size};")
            w.say(f"for (int64_t c = 0; c < {size}; c++) y[c] /= t[c];")
        return
    result = w.new(kernel.result, place.sizes, to)
    w.prepare(f"memset({result.pointer}, 0, {many} * {size} * sizeof(real));")
    if name in ("sum", "mean"):
        with w.block(f"for (int64_t i = 0; i < {count}; i++)"):
            w.say(f"const real *x = {place.row()};")
            w.say(f"real *y = {result.pointer} + (int64_t){ids}[i] * {size};")
            w.say(f"LANES for (int64_t c = 0; c < {size}; c++) y[c] += x[c];")
    else:
        sign = ">" if name == "max" else "<"
        seen = w.scratch(many)
        w.prepare(f"memset({seen}, 0, {many} * sizeof(real));")
        with w.block(f"for (int64_t i = 0; i < {count}; i++)"):
            w.say(f"const real *x = {place.row()};")
            w.say(f"real *y = {result.pointer} + (int64_t){ids}[i] * {size};")
            w.say(f"for (int64_t c = 0; c < {size}; c++)")
            w.say(f"    if (!{seen}[{ids}[i]] || x[c] {sign} y[c]) y[c] = x[c];")
            w.say(f"{seen}[{ids}[i]] = 1;")
    if name == "mean":
        lengths = w.layout.lengths_of(to, axis)
        with w.after(), w.block(each_row(w, result)):
            w.say(f"const real l = {lengths}[i] > 1 ? {lengths}[i] : 1;")
            w.say(f"for (int64_t c = 0; c < {size}; c++) {result.pointer}[i * {size} + c] /= l;")


def _channels(w: Writer, kernel: Kernel, name: str) -> None:
    place = w.place(kernel.args[0])
    _reduced(w, kernel, name, place, len(place.sizes) - 1, (*place.sizes[:-1], 1))


def _static(w: Writer, kernel: Kernel, name: str) -> None:
    place = w.place(kernel.args[0])
    at = kernel.args[1] - 1
    _reduced(w, kernel, name, place, at, (*place.sizes[:at], *place.sizes[at + 1 :]))


def _reduced(w: Writer, kernel: Kernel, name: str, place: Place, at: int, sizes: tuple[int, ...]) -> None:
    """Over one of a row's own dimensions."""
    k, inner, outer = place.sizes[at], prod(place.sizes[at + 1 :]), prod(place.sizes[:at])
    if name == "softmax":
        dense = w.dense(place)
        result = w.new(kernel.result, place.sizes, place.grid)
        w.say(f"softmax_({w.count(place.grid)} * {outer}, {k}, {inner}, {dense.pointer}, {result.pointer});")
        return
    result = w.new(kernel.result, sizes, place.grid)
    with w.block(each_row(w, result)):
        w.say(f"const real *x = {place.row()};")
        w.say(f"real *y = {result.row()};")
        with w.block(f"for (int64_t j = 0; j < {outer}; j++, x += {k * inner}, y += {inner})"):
            if name in ("sum", "mean"):
                if inner == 1:
                    w.say("real sum = 0;")
                    w.say(f"SUMMED(sum) for (int64_t l = 0; l < {k}; l++) sum += x[l];")
                    w.say("y[0] = sum;")
                else:
                    w.say(f"memcpy(y, x, {inner} * sizeof(real));")
                    w.say(f"for (int64_t l = 1; l < {k}; l++)")
                    w.say(f"    LANES for (int64_t c = 0; c < {inner}; c++) y[c] += x[l * {inner} + c];")
                if name == "mean":
                    w.say(f"for (int64_t c = 0; c < {inner}; c++) y[c] /= {k};")
                return
            sign = ">" if name == "max" else "<"
            w.say(f"memcpy(y, x, {inner} * sizeof(real));")
            w.say(f"for (int64_t l = 1; l < {k}; l++)")
            each = f"x[l * {inner} + c]"
            w.say(f"    for (int64_t c = 0; c < {inner}; c++) y[c] = {each} {sign} y[c] ? {each} : y[c];")


_PRINTERS: dict[str, Printer] = {
    op.INPUT: sources.input,
    op.LOOKUP: sources.lookup,
    op.EMBED: sources.embed,
    op.EMBED_BAG: sources.embed,
    "learned": sources.learned,
    "along": sources.along,
    "zeros": sources.zeros,
    "constant": sources.constant,
    "numbers": sources.numbers,
    "transfer": moves.same,
    "dropout": moves.same,
    "real": moves.same,
    "same": moves.same,
    "nonzero": _nonzero,
    "expand": moves.expand,
    "expand_anew": moves.expand,
    "repeat": lambda w, kernel, number: moves.same(w, kernel, number),
    "split": moves.split,
    "join": moves.join,
    "unsqueeze": moves.unsqueeze,
    "squeeze": moves.squeeze,
    "slice": moves.slice,
    "rename": moves.rename,
    "append": moves.append,
    "cat": moves.cat,
    "concat": moves.concat,
    "stack": moves.stack,
    **dict.fromkeys((op.PAIRS, op.FIRSTS, op.SECONDS), moves.pairs),
    op.LINEAR: products.linear,
    "product_of": products.product_of,
    "add_product": products.add_product,
    **dict.fromkeys(("per_head", "fan", "matmul"), products.heads),
    op.DOT: products.dot,
    "dot_by_sequence": products.dot_by_sequence,
    "paired": paired,
    "weighted_sum": products.weighted_sum,
    op.NORM: products.norm,
    **dict.fromkeys((op.BATCH_NORM, op.DICE), products.statistics),
    "attend": products.attend,
    "by_tile": by_tile,
    "recur": recur,
}
_REDUCED = (op.SUM, op.MEAN, op.MAX, op.MIN, op.SOFTMAX)
_ALONG = {"segment": (_segment, 3), "channels": (_channels, 1), "along": (_static, 2)}
