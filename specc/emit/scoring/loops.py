"""Print tiles and recurrences of a scoring function as C."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from specc.emit.c import function_text
from specc.emit.scoring.function import Place, Writer
from specc.emit.scoring.matrices import bias_of, times, whole
from specc.emit.scoring.places import at_rows
from specc.emit.scoring.rows import Grid, NotInC
from specc.emit.tile import forward_text
from specc.emit.tile_helpers import HELPERS
from specc.lower.native import Native, Run
from specc.lower.program import Kernel, Record, Value
from specc.lower.tile import TileInC, sizes_of

# Of a tile's rows so many are computed at once: its largest value then has 64 kilobytes.
_SHARE = 16
# Of a recurrence so many sequences go through all steps before the next ones, so that their rows stay in the
# processor's cache from step to step.
_SEQUENCES = 96


def by_tile(w: Writer, kernel: Kernel, number: int) -> None:
    function, rows, *values = kernel.args
    if w.tile is not None:
        raise NotInC("a tile in a tile")
    size = max(rows // _SHARE, 1)
    grid = w.layout.grid(kernel.result.shape.domain) if kernel.result.shape.domain is not None else None
    if grid is None:
        raise NotInC("a tile of one row")
    if "in_c" in kernel.options:
        _by_row(w, kernel, kernel.options["in_c"], grid)
        return
    count = w.layout.count(grid)
    (value,) = function.results
    tile = Grid((), int(w.name("")))
    at, many = f"begin{tile.tile}", f"tile{tile.tile}"
    w.prepare(f"const int64_t room{tile.tile} = {size};")
    with w.loop(), w.block(f"for (int64_t {at} = 0; {at} < {count}; {at} += {size})"):
        w.say(f"const int64_t {many} = {count} - {at} < {size} ? {count} - {at} : {size};")
        w.tile = tile
        for parameter, x in zip(function.parameters, values, strict=True):
            place = w.place(x)
            if place.grid is None:
                w.places[parameter] = place
            elif place.index:
                w.places[parameter] = Place(place.pointer, place.sizes, tile, f"({place.index} + {at})")
            else:
                w.places[parameter] = Place(f"({place.pointer} + {at} * {place.size})", place.sizes, tile)
        for inner in function.kernels:
            w.print_kernel(w, inner, -1)
        own = w.place(value)
        w.tile = None
        result = w.new(kernel.result, own.sizes, grid)
        with w.block(f"for (int64_t i = 0; i < {many}; i++)"):
            w.copy(f"{result.pointer} + ({at} + i) * {result.size}", own.row(), result.size)


def _by_row(w: Writer, kernel: Kernel, tile: TileInC, grid: Grid) -> None:
    """A tile as training has it: a row at a time."""
    name, count = w.name(f"{w.prefix}_tile"), w.layout.count(grid)
    text, room = forward_text(name, tile, w.graph.weights)
    w.entry.helpers[HELPERS] = None
    w.runs.append(text)
    values = kernel.args[2:]
    pointers = [w.at(x, grid).pointer for x in values] + [w.weight(path) for path in tile.weights]
    result = w.new(kernel.result, sizes_of(tile.function.results[0]), grid)
    w.say(f"const real *const {name}_given[] = {{{', '.join(pointers)}}};")
    w.say(f"{name}({count}, {name}_given, {result.pointer}, {w.scratch(room)});")


def recur(w: Writer, kernel: Kernel, number: int) -> None:
    cell, rows, axis, values, constants, matrices, biases, starts, *backward = kernel.args
    native = cell.native
    if isinstance(native, str):
        raise NotInC(native)
    if w.tile is not None:
        raise NotInC("a recurrence in a tile")
    grid, layout = w.layout.grid(rows), w.layout
    sequences = layout.grid(rows.domain.without(axis))
    count, many = layout.count(grid), layout.count(sequences)
    if grid == sequences:
        raise NotInC("a recurrence without an axis")
    lengths, sequence = layout.lengths_of(sequences, axis), layout.index(grid, sequences)
    place = layout.position(grid, axis)
    steps = w.name("steps")
    back = int(bool(backward and backward[0]))
    w.say(f"steps {steps};")
    w.say(f"if (steps_(m, {many}, {lengths}, {count}, {sequence}, {place}, {back}, &{steps})) return 2;")
    groups = native.step.groups
    sources = [_source(w, x, grid) for x in values]
    at: dict[Value, tuple[str, int]] = {}
    for value, source in zip(groups["values"], sources, strict=True):
        at[value] = w.scratch(f"{_SEQUENCES} * {value.width}"), value.width
        if source.size != value.width:
            raise NotInC("a value of another width")
    for value, x in zip(groups["constants"], constants, strict=True):
        ordered = w.scratch(f"{many} * {value.width}")
        _ordered(w, steps, many, w.place(x), ordered)
        at[value] = f"({ordered} + begin * {value.width})", value.width
    transposed = {}
    for value, matrix in zip(groups["matrices"], matrices, strict=True):
        transposed[value] = whole(w, matrix)
    of_biases = {v: bias_of(w, m) for v, m in zip(groups["biases"], biases, strict=True)}
    begins = list[str]()
    for now, then, x in zip(groups["states"], groups["nexts"], starts, strict=True):
        for value in (now, then):
            name = w.scratch(f"{many} * {value.width}")
            at[value] = w.name("now"), value.width
            begins.append(f"real *{at[value][0]} = {name} + begin * {value.width};")
            if value is now:
                _ordered(w, steps, many, w.place(x), name)
    results = _results(w, kernel, grid, sequences)
    for kind, result, _ in results:
        if kind == "FINAL":
            w.say(f"memset({result.pointer}, 0, {many} * {result.size} * sizeof(real));")
    with w.loop(), w.block(f"for (int64_t begin = 0; begin < {many}; begin += {_SEQUENCES})"):
        for line in begins:
            w.say(line)
        begin_as_zero = {now for now, x in zip(groups["states"], starts, strict=True) if x in w.zeros}
        step = _Step(w, at, transposed, of_biases, begin_as_zero)
        with w.block(
            f"for (int64_t t = 0, first = begin; t < {steps}.longest && {steps}.active[t] > begin; t++)"
        ):
            _written(w, native, steps, step, sources, results)


def _written(
    w: Writer,
    native: Native,
    steps: str,
    step: _Step,
    sources: list[Place],
    results: list[tuple[str, Place, int]],
) -> None:
    """Write a step of some sequences, of which `begin` is the first."""
    groups, at = native.step.groups, step.at
    w.say(f"const int64_t left = {steps}.active[t] - begin, n = left < {_SEQUENCES} ? left : {_SEQUENCES};")
    w.say(f"const int32_t *row = {steps}.row + first;")
    for value, source in zip(groups["values"], sources, strict=True):
        with w.block("for (int64_t r = 0; r < n; r++)"):
            w.say("const int64_t i = row[r];")
            w.copy(f"{at[value][0]} + r * {value.width}", source.row(), value.width)
    step.write(native.step.kernels)
    for kind, result, state in results:
        next_, width = at[groups["nexts"][state]]
        each, head = f"{next_} + r * {width}", "for (int64_t r = 0; r < n; r++)"
        if kind == "ALL":
            w.copy(f"{result.pointer} + (int64_t)row[r] * {width}", each, width, head)
        elif kind == "STEPS":
            w.copy(f"{result.pointer} + (first + r) * {width}", each, width, head)
        else:
            w.say(f"const int64_t stay{state} = t + 1 < {steps}.longest ? {steps}.active[t + 1] - begin : 0;")
            head = f"for (int64_t r = stay{state} > 0 ? stay{state} : 0; r < n; r++)"
            w.copy(f"{result.pointer} + (int64_t){steps}.order[begin + r] * {width}", each, width, head)
    for now, then in zip(groups["states"], groups["nexts"], strict=True):
        a, b = at[now][0], at[then][0]
        w.say(f"{{ real *other = {a}; {a} = {b}; {b} = other; }}")
    w.say(f"first += {steps}.active[t];")


def _results(w: Writer, kernel: Kernel, grid: Grid, sequences: Grid) -> list[tuple[str, Place, int]]:
    """For each state that is wanted how, its place and its number."""
    wanted = [x.name for x in kernel.options.get("wanted", ())]
    nexts = kernel.args[0].native.step.groups["nexts"]
    found = []
    results = iter(kernel.results)
    for number, (want, state) in enumerate(zip(wanted or ["ALL"] * len(nexts), nexts, strict=True)):
        value = next(results)
        if want == "BOTH":
            again = next(results)
            assert again is not None
            found.append(("STEPS", w.new(again, (state.width,), grid), number))
        if value is None or want == "NONE":
            continue
        kind = "FINAL" if want == "FINAL" else "ALL"
        place = w.new(value, (state.width,), sequences if kind == "FINAL" else grid)
        found.append((kind, place, number))
    return found


def _source(w: Writer, value: Any, grid: Grid) -> Place:
    """A value that a recurrence reads, at its rows: computed at those that it has."""
    if isinstance(value, Value):
        return w.place(value)
    assert isinstance(value, Record)
    x, matrix, bias, *rows = (*value.args, None) if len(value.args) == 2 else value.args
    place, biased = w.dense(x), bias is not None
    out = sum(p.width for p in matrix.products)
    name, count = w.scratch(f"{w.count(place.grid)} * {out}"), w.count(place.grid)
    times(w, count, place, matrix.products, name, out, bias=biased, add=False)
    found = Place(name, (out,), place.grid)
    return at_rows(w, found, w.layout.grid(rows[0]), grid) if rows else found


def _ordered(w: Writer, steps: str, many: str, place: Place, into: str) -> None:
    """Rows of sequences, the longest first."""
    with w.block(f"for (int64_t r = 0; r < {many}; r++)"):
        w.say(f"const int64_t i = {steps}.order[r];")
        w.say("(void)i;")
        w.say(f"memcpy({into} + r * {place.size}, {place.row()}, {place.size} * sizeof(real));")


class _Step:
    """Writes the kernels of step t, of n sequences. at: by value the pointer to its rows, and how far apart
    they are. zeros: what is 0 in the first step, and not multiplied."""

    def __init__(
        self,
        w: Writer,
        at: dict[Value, tuple[str, int]],
        matrices: dict[Value, tuple[str, int, int]],
        biases: dict[Value, str],
        zeros: set[Value],
    ) -> None:
        self.w, self.at, self.matrices, self.biases, self.zeros = w, at, matrices, biases, zeros

    def write(self, kernels: list[Kernel]) -> None:
        for kernel in kernels:
            match kernel.name:
                case "columns":
                    root, start, _ = kernel.args
                    pointer, stride = self.at[root]
                    self.at[kernel.result] = (f"({pointer} + {start})", stride)
                case "empty_rows":
                    self._new(kernel.result)
                case "run":
                    self._run(*kernel.args)
                case "mm":
                    self._product(kernel, None, *kernel.args)
                case "addmm":
                    self._product(kernel, *kernel.args)
                case _:
                    raise NotInC(f"`{kernel.name}` in a step")

    def _new(self, value: Value) -> None:
        self.at[value] = self.w.scratch(f"{_SEQUENCES} * {value.width}"), value.width

    def _run(self, run: Run, *rows: Value) -> None:
        name = self.w.name(f"{self.w.prefix}_run")
        self.w.runs.append("static " + function_text(name, run))
        given = [f"{pointer}, {stride}" for pointer, stride in (self.at[root] for root in rows)]
        self.w.say(f"{name}(n, {', '.join(given)});")

    def _product(self, kernel: Kernel, base: Value | None, x: Value, matrix: Value) -> None:
        """A product, over what it is added to if that is so."""
        if matrix not in self.matrices or kernel.options:
            raise NotInC("a product that is not with a matrix")
        (of, far), (weight, out, width) = self.at[x], self.matrices[matrix]
        if kernel.over is not None:
            into, stride = self.at[kernel.over]
            self.at[kernel.result] = into, stride
        else:
            self._new(kernel.result)
            into, stride = self.at[kernel.result]
        bias, add = "0", 0
        if base is not None and base in self.biases:
            bias = self.biases[base]
        elif base is not None:
            if kernel.over is not base:
                other, apart = self.at[base]
                self.w.say(
                    f"for (int64_t r = 0; r < n; r++) memcpy({into} + r * {stride}, {other} + r * {apart}, "
                    f"{out} * sizeof(real));"
                )
            add = 1
        with self.w.block("if (t)") if x in self.zeros else nullcontext():
            self.w.multiply("n", width, out, of, far, weight, f"{width}, 1", bias, into, stride, add)
        if x in self.zeros and not add:
            row, each = f"{into} + r * {stride}", "else for (int64_t r = 0; r < n; r++)"
            filled = f"memcpy({row}, {bias}" if bias != "0" else f"memset({row}, 0"
            self.w.say(f"{each} {filled}, {out} * sizeof(real));")
