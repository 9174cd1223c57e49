"""Print products, layers and attention as C."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

from specc.emit.c import broadcast, number_text, offset
from specc.emit.scoring.function import Writer
from specc.emit.scoring.matrices import times
from specc.emit.scoring.moves import append, expanded
from specc.emit.scoring.places import at_rows, each_row, indexed, result_of
from specc.emit.scoring.rows import NotInC
from specc.lower.program import Heads, Kernel, Record, Value
from specc.lower.shape import Shape
from specc.ops import op
from specc.ops.products import Columns, Product


def linear(w: Writer, kernel: Kernel, number: int) -> None:
    layer, x = kernel.args
    place = w.dense(x)
    out, width = w.shape(f"{layer.path}.weight")
    result = result_of(w, kernel, (*place.sizes[:-1], out), place)
    bias = f"{layer.path}.bias"
    known = bias if bias in w.graph.weights else None
    rows = f"{w.count(result.grid)} * {prod(place.sizes[:-1])}"
    whole = Product(f"{layer.path}.weight", known, out, ((Columns(1.0, 0, width),),))
    times(w, rows, place, [whole], result.pointer, out, bias=True, add=False)


def product_of(w: Writer, kernel: Kernel, number: int) -> None:
    x, matrix, *bias = kernel.args
    place = w.dense(x)
    out = sum(p.width for p in matrix.products)
    result = result_of(w, kernel, (*place.sizes[:-1], out), place)
    rows = f"{w.count(result.grid)} * {prod(place.sizes[:-1])}"
    times(w, rows, place, matrix.products, result.pointer, out, bias=bool(bias), add=False)


def add_product(w: Writer, kernel: Kernel, number: int) -> None:
    into, x, matrix = kernel.args
    place, own = w.dense(x), w.place(into)
    result = kernel.result
    if own.grid is None or not w.over(result, into, number):
        new = w.new(result, own.sizes, w.grid(result))
        with w.block(each_row(w, new)):
            w.say(f"memcpy({new.row()}, {own.row()}, {new.size} * sizeof(real));")
    out = w.place(result)
    times(w, w.count(out.grid), place, matrix.products, out.pointer, out.size, bias=False, add=True)


def heads(w: Writer, kernel: Kernel, number: int) -> None:
    """A matrix for each head: of the same value (fan), of each head's own (per_head), or one for all."""
    x, heads, *dim = kernel.args
    assert isinstance(heads, Heads)
    place = w.dense(x)
    first = heads.slabs[0]
    size, columns = first.stop - first.start, w.shape(first.matrix)[1]
    width, out = (size, columns) if heads.transposed else (columns, size)
    own = kernel.name == "per_head"
    sizes = place.sizes if own else (*place.sizes[:-1], len(heads.slabs), 0) if dim else place.sizes
    result = result_of(w, kernel, (*sizes[:-1], out), place)
    count = w.count(result.grid)
    for n, slab in enumerate(heads.slabs):
        text = f"{w.weight(slab.matrix)} + {slab.start * columns}"
        strides = f"1, {columns}" if heads.transposed else f"{columns}, 1"
        if not dim:
            rows = f"{count} * {prod(place.sizes[:-1])}"
            w.multiply(rows, width, out, place.pointer, width, text, strides, "0", result.pointer, out, 0)
            return
        of, far = (
            (f"{place.pointer} + {n * width}", len(heads.slabs) * width) if own else (place.pointer, width)
        )
        into = f"{result.pointer} + {n * out}"
        w.multiply(count, width, out, of, far, text, strides, "0", into, len(heads.slabs) * out, 0)


def dot(w: Writer, kernel: Kernel, number: int) -> None:
    a, b = (w.place(x) for x in kernel.args)
    sizes = broadcast([a.sizes[:-1], b.sizes[:-1]]) if len(a.sizes) > 1 else ()
    result = result_of(w, kernel, (*sizes, 1))
    width = max(a.sizes[-1], b.sizes[-1])
    with w.block(each_row(w, result)):
        w.say(f"const real *x = {a.row()}, *z = {b.row()};")
        w.say(f"real *y = {result.row()};")
        for n, size in enumerate(sizes):
            w.say(f"for (int64_t j{n} = 0; j{n} < {size}; j{n}++)")
        full = (*sizes, width)
        with w.block():
            w.say("real sum = 0;")
            w.say(f"SUMMED(sum) for (int64_t c = 0; c < {width}; c++)")
            w.say(f"    sum += x[{offset(a.sizes, full)}] * z[{offset(b.sizes, full)}];")
            w.say(f"y[{offset((*sizes, 1), (*sizes, 2))}] = sum;")


def dot_by_sequence(w: Writer, kernel: Kernel, number: int) -> None:
    """The same: what has fewer rows is read where it is."""
    a, b, rows, of, _ = kernel.args
    each = replace(b)
    expanded(w, each, w.place(b), w.layout.grid(of), w.layout.grid(rows))
    dot(w, replace(kernel, args=(a, each)), number)


def weighted_sum(w: Writer, kernel: Kernel, number: int) -> None:
    weight, x, rows, axis, *of = kernel.args
    grid, to = w.layout.grid(rows), w.layout.grid(rows.domain.without(axis))
    place, share = w.place(x), w.place(weight)
    if of:
        place = at_rows(w, place, w.layout.grid(of[0]), grid)
    ids, size = w.at_block(w.layout.index(grid, to)), place.size
    result = w.new(kernel.result, place.sizes, to)
    w.prepare(f"memset({result.pointer}, 0, {w.count(to)} * {size} * sizeof(real));")
    inner = place.sizes[-1]
    outer = size // inner
    by = "p[j]" if share.size > 1 else "p[0]"
    with w.block(f"for (int64_t i = 0; i < {w.count(w.here(grid))}; i++)"):
        w.say(f"const real *x = {place.row()}, *p = {share.row()};")
        w.say(f"real *y = {result.pointer} + (int64_t){ids}[i] * {size};")
        if outer > 1:
            w.say(f"for (int64_t j = 0; j < {outer}; j++, x += {inner}, y += {inner})")
        w.say(f"LANES for (int64_t c = 0; c < {inner}; c++) y[c] += {by} * x[c];")


def norm(w: Writer, kernel: Kernel, number: int) -> None:
    layer, x = kernel.args
    place = w.dense(x)
    result = result_of(w, kernel, place.sizes, place)
    rows = f"{w.count(result.grid)} * {prod(place.sizes[:-1])}"
    scale, shift = (w.weight(f"{layer.path}.{name}") for name in ("scale", "shift"))
    eps = w.option(layer.path, "eps")
    w.say(
        f"layer_norm_({rows}, {place.sizes[-1]}, {place.pointer}, {scale}, {shift}, {eps}, {result.pointer});"
    )


def statistics(w: Writer, kernel: Kernel, number: int) -> None:
    """batch_norm and dice, of the running mean and variance."""
    layer, x = kernel.args
    place = w.dense(x)
    result = result_of(w, kernel, place.sizes, place)
    width = place.sizes[-1]
    rows = f"{w.count(result.grid)} * {prod(place.sizes[:-1])}"
    names = ("slope",) if kernel.name == op.DICE else ("scale", "shift")
    own = [f"{layer.path}.{name}" for name in names]
    moments = [w.weight(f"{layer.path}.{name}") for name in ("running_mean", "running_var")]
    given = [
        *moments,
        *(w.weight(p) if p in w.graph.weights else "0" for p in own),
        w.option(layer.path, "eps"),
    ]
    if kernel.name == op.DICE:
        room = w.scratch(2 * width)
        w.say(
            f"dice_({rows}, {width}, {place.pointer}, {', '.join(given)}, "
            f"{room}, {room} + {width}, {result.pointer});"
        )
    else:
        w.say(f"batch_norm_({rows}, {width}, {place.pointer}, {', '.join(given)}, {result.pointer});")


def _together(w: Writer, x: Value | Record | None, number: int) -> Value | None:
    """What an attention reads; a history and the one at its end are put together."""
    if not isinstance(x, Record):
        return x
    head, *_, to, _, _ = x.args
    whole = Value(-1, Shape(to.domain, head.shape.dims), head.width, head.device)
    append(w, Kernel("append", (*x.args, None), (whole,)), number)
    return whole


def _picked(w: Writer, x: Value | Record) -> tuple[tuple[int, ...], str] | None:
    """What an attention reads as rows that are put together sequence by sequence: their sizes, and the kit's
    `picked`. None where a history and the one at its end have not both rows of the same sizes."""
    head, end, *rest = x.args if isinstance(x, Record) else (x, None)
    place = w.dense(head) if isinstance(x, Record) else w.place(head)
    if place.grid is None:
        return None
    if end is None:
        return place.sizes, f"(picked){{{place.pointer}, 0, {place.index or 0}, MOST, {place.size}}}"
    own, other, rows = (w.layout.grid(each) for each in rest[:3])
    old, new = rest[3:]
    last, position = w.dense(end), w.layout.position(rows, new)
    if last.grid is None or last.sizes != place.sizes:
        return None
    count, length = w.count(own), w.layout.lengths_of(rows, old)
    first = w.layout.named(w.layout.located(rows, own, {old: position}))
    at_end = w.layout.named(w.layout.located(rows, other, {}))
    index = f"appended_(m, {w.count(rows)}, {position}, {length}, {count}, {first}, {at_end})"
    text = f"{place.pointer}, {last.pointer}, {w.layout.named(index)}, {count}, {place.size}"
    return place.sizes, f"(picked){{{text}}}"


def attend(w: Writer, kernel: Kernel, number: int) -> None:
    asked, known, query_axis, key_axis, scale, *where = kernel.args[3:]
    grid, keys = w.layout.grid(asked), w.layout.grid(known)
    last = query_axis is None or grid.axes[-1] == query_axis
    if (
        keys.axes[-1] != key_axis
        or not last
        or (query_axis is not None and w.layout.prefix(grid) != w.layout.prefix(keys))
    ):
        raise NotInC("attention over rows that are not one after another")
    query, key, value = kernel.args[:3]
    values = [query, key, key if value is None else value]
    ended = query_axis is not None and any(isinstance(x, Record) for x in values)
    picked = [x for x in map(partial(_picked, w), values) if x is not None] if ended else []
    if len(picked) == len(values):
        name, given = "ended_attention_", ", ".join(text for _, text in picked)
        q, k, v = (sizes for sizes, _ in picked)
    else:
        queries, *others = (_together(w, x, number) for x in (query, key, value))
        assert queries is not None
        of_queries = w.at(queries, grid)
        of_keys, of_values = (
            indexed(w, w.place(x), keys) for x in (others[0], others[0] if value is None else others[1])
        )
        q, k, v = of_queries.sizes, of_keys.sizes, of_values.sizes
        name = "attention_"
        given = ", ".join(
            [of_queries.pointer, *(f"{x.pointer}, {x.index or 0}" for x in (of_keys, of_values))]
        )
    dims = broadcast([q[:-1], k[:-1], v[:-1]]) if len(q) > 1 else ()
    heads, sequences = prod(dims), w.layout.prefix(keys)
    if prod(q[:-1]) != heads or any(prod(x[:-1]) not in (1, heads) for x in (k, v)):
        raise NotInC("attention whose heads share a query")
    result = w.new(kernel.result, (*dims, v[-1]), grid)
    begins = "0" if query_axis is None else w.layout.begins(grid)
    sight = {"all": 0, "until": 1, "before": 2, "others": 3}[where[0] if where else "all"]
    sizes = f"{heads}, {prod(k[:-1])}, {prod(v[:-1])}, {q[-1]}, {v[-1]}"
    w.say(
        f"if ({name}(m, {w.count(sequences)}, {begins}, {w.layout.begins(keys)}, {sizes}, "
        f"{number_text(scale)}, {sight}, {given}, {result.pointer})) return 2;"
    )
