"""Print what moves values, or only says otherwise where they are, as C."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import prod

from specc.emit.c import broadcast, offset
from specc.emit.scoring.function import Place, Writer
from specc.emit.scoring.places import each_row, result_of, row_at
from specc.emit.scoring.repeats import side_by_side
from specc.emit.scoring.rows import Grid, NotInC
from specc.lower.program import Kernel, Value
from specc.ops import op


def same(w: Writer, kernel: Kernel, number: int) -> None:
    w.alias(kernel.result, w.place(kernel.args[0]))


def expand(w: Writer, kernel: Kernel, number: int) -> None:
    x, of, to = kernel.args
    expanded(w, kernel.result, w.place(x), w.layout.grid(of), w.layout.grid(to))


def expanded(w: Writer, value: Value, place: Place, of: Grid, to: Grid) -> None:
    """A value at other rows, of which each has one of its."""
    if of == to or place.grid is None:
        w.places[value] = place
        return
    index = w.layout.index(to, of)
    if place.index:
        index = w.layout.named(f"picked_(m, {w.count(to)}, {place.index}, {index})")
    w.places[value] = Place(place.pointer, place.sizes, to, index, place.of if place.index else of)


def split(w: Writer, kernel: Kernel, number: int) -> None:
    x, size, width, *moved = kernel.args
    if moved:
        raise NotInC("heads that are not beside their channels")
    place = w.place(x)
    w.alias(kernel.result, place, (*place.sizes[:-1], size, width))


def join(w: Writer, kernel: Kernel, number: int) -> None:
    if len(kernel.args) > 1:
        raise NotInC("heads that are not beside their channels")
    place = w.place(kernel.args[0])
    w.alias(kernel.result, place, (*place.sizes[:-2], place.sizes[-2] * place.sizes[-1]))


def unsqueeze(w: Writer, kernel: Kernel, number: int) -> None:
    x, *dims = kernel.args
    sizes = list(w.place(x).sizes)
    for dim in dims:
        sizes.insert(dim - 1, 1)
    w.alias(kernel.result, w.place(x), sizes)


def squeeze(w: Writer, kernel: Kernel, number: int) -> None:
    place = w.place(kernel.args[0])
    w.alias(kernel.result, place, place.sizes[:-1])


def slice(w: Writer, kernel: Kernel, number: int) -> None:
    x, start, stop = kernel.args
    place = w.place(x)
    result = w.new(kernel.result, (*place.sizes[:-1], stop - start), place.grid)
    with w.block(each_row(w, result)):
        w.say(f"const real *x = {place.row()} + {start};")
        w.say(f"real *y = {result.row()};")
        outer, width = prod(place.sizes[:-1]), stop - start
        w.say(
            f"for (int64_t j = 0; j < {outer}; j++) "
            f"memcpy(y + j * {width}, x + j * {place.sizes[-1]}, {width} * sizeof(real));"
        )


def rename(w: Writer, kernel: Kernel, number: int) -> None:
    x, of, to, old, new = kernel.args
    place, own, other = w.place(x), w.layout.grid(of), w.layout.grid(to)
    if tuple(new if a == old else a for a in own.axes) == other.axes:
        w.places[kernel.result] = Place(place.pointer, place.sizes, other, place.index)
        return
    index = w.layout.named(w.layout.located(other, own, {old: w.layout.position(other, new)}))
    if place.index:
        index = w.layout.named(f"picked_(m, {w.count(other)}, {place.index}, {index})")
    w.places[kernel.result] = Place(place.pointer, place.sizes, other, index)


def append(w: Writer, kernel: Kernel, number: int) -> None:
    x, y, of_x, of_y, to, old, new, second = kernel.args
    layout = w.layout
    rows, grid_x, grid_y = layout.grid(to), layout.grid(of_x), layout.grid(of_y)
    place, length = layout.position(rows, new), layout.lengths_of(rows, old)
    from_x = layout.named(layout.located(rows, grid_x, {old: place}))
    after = {}
    if second is not None:
        after = {second: layout.named(f"less_(m, {w.count(rows)}, {place}, {length}, 0)")}
    from_y = layout.named(layout.located(rows, grid_y, after))
    a, b = w.place(x), w.place(y)
    sizes = broadcast([a.sizes, b.sizes])
    result = w.new(kernel.result, sizes, w.grid(kernel.result))
    place, length, from_x, from_y = map(w.at_block, (place, length, from_x, from_y))
    with w.block(each_row(w, result)):
        w.say(f"const real *x = {row_at(a, f'{from_x}[i]')};")
        w.say(f"if ({place}[i] >= {length}[i]) x = {row_at(b, f'{from_y}[i]')};")
        w.copy(result.row(), "x", result.size)


def beside(w: Writer, kernel: Kernel, places: list[Place]) -> None:
    """Channels of several values side by side."""
    width = sum(p.sizes[-1] for p in places)
    dims = broadcast([p.sizes[:-1] for p in places]) if len(places[0].sizes) > 1 else ()
    result = result_of(w, kernel, (*dims, width))
    if not dims and w.tile is None:
        w.places[kernel.result] = replace(result, parts=side_by_side(w, places))
    with w.block(each_row(w, result)):
        w.say(f"real *y = {result.row()};")
        at = 0
        for p in places:
            own = p.sizes[-1]
            if dims:
                with w.block():
                    w.say(f"const real *x = {p.row()};")
                    for n, size in enumerate(dims):
                        w.say(f"for (int64_t j{n} = 0; j{n} < {size}; j{n}++)")
                    into = offset((*dims, width), (*dims, width)).removesuffix("c").removesuffix(" + ")
                    of = offset(p.sizes, (*dims, own)).removesuffix("c").removesuffix(" + ")
                    w.say(f"memcpy(y + {into or 0} + {at}, x + {of or 0}, {own} * sizeof(real));")
            else:
                w.say(f"memcpy(y + {at}, {p.row()}, {own} * sizeof(real));")
            at += own


def cat(w: Writer, kernel: Kernel, number: int) -> None:
    beside(w, kernel, [w.place(x) for x in kernel.args[0]])


def concat(w: Writer, kernel: Kernel, number: int) -> None:
    beside(w, kernel, [w.place(x) for x in kernel.args])


def stack(w: Writer, kernel: Kernel, number: int) -> None:
    parts, dim = kernel.args
    places = [w.place(x) for x in parts]
    sizes = broadcast([p.sizes for p in places])
    result = result_of(w, kernel, (*sizes[: dim - 1], len(parts), *sizes[dim - 1 :]))
    outer, inner = prod(sizes[: dim - 1]), prod(sizes[dim - 1 :])
    with w.block(each_row(w, result)):
        w.say(f"real *y = {result.row()};")
        for n, p in enumerate(places):
            w.say(
                f"for (int64_t j = 0; j < {outer}; j++) memcpy(y + (j * {len(parts)} + {n}) * {inner}, "
                f"{p.row()} + j * {inner}, {inner} * sizeof(real));"
            )


def pairs(w: Writer, kernel: Kernel, number: int) -> None:
    """pairs, firsts and seconds of the positions of a static axis."""
    x, dim = kernel.args
    place = w.place(x)
    size, outer = place.sizes[dim - 1], prod(place.sizes[: dim - 1])
    inner = prod(place.sizes[dim:])
    chosen = list(combinations(range(size), 2))
    sizes = (*place.sizes[: dim - 1], len(chosen), *place.sizes[dim:])
    result = result_of(w, kernel, sizes, place)
    table = w.name("pairs")
    flat = ", ".join(f"{a}, {b}" for a, b in chosen)
    w.prepare(f"static const int32_t {table}[] = {{{flat or '0'}}};")
    text = {op.PAIRS: "x[f + c] * x[s + c]", op.FIRSTS: "x[f + c]", op.SECONDS: "x[s + c]"}[kernel.name]
    with w.block(each_row(w, result)):
        w.say(f"const real *x = {place.row()};")
        w.say(f"real *y = {result.row()};")
        w.say(f"for (int64_t j = 0; j < {outer}; j++, x += {size * inner})")
        with w.block(f"for (int64_t p = 0; p < {len(chosen)}; p++, y += {inner})"):
            w.say(f"const int64_t f = {table}[2 * p] * {inner}, s = {table}[2 * p + 1] * {inner};")
            w.say("(void)f, (void)s;")
            w.say(f"LANES for (int64_t c = 0; c < {inner}; c++) y[c] = {text};")
