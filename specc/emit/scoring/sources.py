"""Print what reads the batch and the weights as C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from specc.emit.c import number_text
from specc.emit.scoring.function import Place, Repeats, Writer
from specc.emit.scoring.places import each_row, result_of
from specc.emit.scoring.rows import NotInC
from specc.lower.program import Field, Kernel, Position


def input(w: Writer, kernel: Kernel, number: int) -> None:
    field: Field = kernel.args[0]
    result = result_of(w, kernel, (kernel.result.width,))
    count = w.count(result.grid)
    pointer = w.column(field, count, "numbers", "float")
    w.say(f"for (int64_t c = 0; c < {count} * {result.size}; c++) {result.pointer}[c] = {pointer}[c];")


def looked_up(w: Writer, result: Place, at: int, part: Sequence[Any]) -> Repeats:
    """Write one part of a value into its columns, from `at` on, which repeat the rows of a table."""
    table, field, *mode = part
    grid = w.block_of or result.grid
    assert grid is not None
    pointer, rows = w.table(table.path)
    width = w.shape(table.path)[1]
    count = w.count(grid)
    if not mode:
        ids = w.at_block(w.ids(field, grid, table.path))
        with w.block(each_row(w, result)):
            w.copy(f"{result.row()} + {at}", f"{pointer} + (int64_t){ids}[i] * {width}", width)
        return Repeats(at, width, pointer, width, ids, count, looked_up=rows)
    slot = w.slot("bag", field.path, slots=5)
    ids, begins = w.name("ids"), w.name("begins")
    w.check(f"a[{slot + 3}] != {count}")
    w.prepare(
        f"const int32_t *{ids} = ids_(m, a[{slot + 1}], (const int64_t *)(intptr_t)a[{slot}], {rows});",
        f"if (!{ids}) return 1;",
        f"const int32_t *{begins} = lengths_(m, {count}, (const int64_t *)(intptr_t)a[{slot + 2}], MOST);",
        f"if (!{begins} || !({begins} = begins_(m, {count}, {begins}))) return 1;",
        f"if ({begins}[{count}] != a[{slot + 1}]) return 1;",
        f"const float *share{ids} = (const float *)(intptr_t)a[{slot + 4}];",
    )
    own = w.at_block(begins)
    with w.block(each_row(w, result)):
        w.say(f"real *y = {result.row()} + {at};")
        w.say(f"const int64_t l = {own}[i + 1] - {own}[i];")
        w.say(f"memset(y, 0, {width} * sizeof(real));")
        with w.block(f"for (int64_t j = {own}[i]; j < {own}[i + 1]; j++)"):
            w.say(f"const real *x = {pointer} + (int64_t){ids}[j] * {width};")
            mean = "1 / (real)l" if mode[0] == "mean" else "1"
            w.say(f"const real by = share{ids} ? (real)share{ids}[j] : {mean};")
            w.say(f"LANES for (int64_t c = 0; c < {width}; c++) y[c] += by * x[c];")
    bag = f", {begins}, share{ids}, {int(mode[0] == 'mean')}"
    return Repeats(at, width, pointer, width, ids, f"a[{slot + 1}]", looked_up=rows, bag=bag)


def lookup(w: Writer, kernel: Kernel, number: int) -> None:
    for value, parts in zip(kernel.results, kernel.args, strict=True):
        assert value is not None
        result, at = w.new(value, (value.width,), w.grid(value)), 0
        found = list[Repeats]()
        for part in parts:
            found.append(looked_up(w, result, at, part))
            at += found[-1].width
        w.places[value] = replace(result, parts=tuple(found))


def embed(w: Writer, kernel: Kernel, number: int) -> None:
    table, field, *mode = kernel.args
    if mode == ["max"]:
        raise NotInC("the maximum of a bag")
    grid, width = w.grid(kernel.result), kernel.result.width
    if mode:
        result = result_of(w, kernel, (width,))
        part = looked_up(w, result, 0, kernel.args)
        w.places[kernel.result] = replace(result, parts=(part,))
    else:
        assert grid is not None
        pointer, rows = w.table(table.path)
        ids = w.ids(field, grid, table.path)
        part = Repeats(0, width, pointer, width, ids, w.count(grid), looked_up=rows)
        w.places[kernel.result] = Place(pointer, (width,), grid, ids, parts=(part,))


def learned(w: Writer, kernel: Kernel, number: int) -> None:
    if len(kernel.args) > 1:
        raise NotInC("a parameter whose axes are turned")
    path = kernel.args[0].path
    w.places[kernel.result] = Place(w.weight(path), w.shape(path), None)


def along(w: Writer, kernel: Kernel, number: int) -> None:
    weight, position, *more = kernel.args
    if more or not isinstance(position, Position):
        raise NotInC("a parameter of several ragged axes")
    shape, grid, index = w.shape(weight.path), w.layout.grid(position.rows), w.position(position)
    pointer = w.weight(weight.path)
    parts = [Repeats(0, shape[1], pointer, shape[1], index, str(shape[0]))] if len(shape) == 2 else []
    w.places[kernel.result] = Place(pointer, shape[1:], grid, index, parts=tuple(parts))


def zeros(w: Writer, kernel: Kernel, number: int) -> None:
    sizes = tuple(kernel.args[1:])
    name = w.scratch(prod(sizes))
    w.prepare(f"memset({name}, 0, {prod(sizes)} * sizeof(real));")
    w.zeros.add(kernel.result)
    w.places[kernel.result] = Place(name, sizes, None)


def constant(w: Writer, kernel: Kernel, number: int) -> None:
    name = w.scratch(1)
    w.prepare(f"{name}[0] = {number_text(kernel.args[0])};")
    w.places[kernel.result] = Place(name, (1,), None)


def numbers(w: Writer, kernel: Kernel, number: int) -> None:
    (position,) = kernel.args
    index = w.position(position)
    result = result_of(w, kernel, (1,))
    w.say(f"for (int64_t i = 0; i < {w.count(result.grid)}; i++) {result.pointer}[i] = {index}[i];")
