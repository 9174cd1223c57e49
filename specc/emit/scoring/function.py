"""Print a function of a lowered program as one function of C.

A value is an array of rows that lie one after another; repeating rows for other axes moves nothing, but gives
the value an index, which what reads it row by row follows. Arrays that nothing reads any more are used again.

Promises: the values of the function's kernels, each printed by `kernels` or `loops`; it reads and writes only
what it is given, and ends without a result where a batch is not what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any

from specc import frozen
from specc.emit.function import Unit
from specc.emit.scoring.entry import Entry
from specc.emit.scoring.rows import Grid, Layout
from specc.ir.graph import Graph
from specc.lower.program import Block, Field, Kernel, Position, Value, walk


@frozen.dataclass(frozen=True)
class Repeats:
    """`width` channels of a value from `start` on, which are rows of another array, some more than once: at
    `pointer`, `stride` apart, of which `skipped` channels are left out; the index of the row that each is,
    and how many there are. looked_up: of ids' rows in a table, how many rows that has; `rows` are then the
    ids. bag: where each row's ids begin, their shares, and whether it is their mean. Several with the same
    channels are added up."""

    start: int
    width: int
    pointer: str
    stride: int
    index: str
    rows: str
    skipped: int = 0
    looked_up: str = ""
    bag: str = ""


@frozen.dataclass(frozen=True)
class Place:
    """Where a value is: `pointer` to its first row, its sizes in a row, its rows (None: it is the same
    everywhere), and the index of the row that each is, if that is not its own number.

    of: of a value with an index, the rows that lie at the pointer, if these are a grid's.
    parts: the channels whose rows repeat, in order, each as they are alone."""

    pointer: str
    sizes: tuple[int, ...]
    grid: Grid | None
    index: str = ""
    of: Grid | None = None
    parts: tuple[Repeats, ...] = ()

    @property
    def size(self) -> int:
        return prod(self.sizes)

    def row(self, i: str = "i") -> str:
        """The C expression for the address of a row."""
        if self.grid is None:
            return self.pointer
        return f"{self.pointer} + (int64_t){f'{self.index}[{i}]' if self.index else i} * {self.size}"


Printer = Callable[["Writer", Kernel, int], None]
"""Writes a kernel, given its place among those of its function."""


class Writer:
    """Writes one function. graph: of which the weights' shapes are read."""

    def __init__(self, unit: Unit, entry: Entry, prefix: str, print_kernel: Printer) -> None:
        self.unit = unit
        self.prefix = prefix
        self.print_kernel = print_kernel
        self.tile: Grid | None = None
        # In a block of rows: the rows that it is of, which values others read, and where those are.
        self.block_of: Grid | None = None
        self._read: set[Value] = set()
        self._whole: dict[str, Place] = {}
        self._after: list[str] = []
        self.graph: Graph = unit.graph
        self.lines: list[str] = []
        self.indent = 1
        self.entry = entry
        self.layout = Layout(unit.axes, unit.roles, self.prepare)
        self.layout.given = self._lengths
        self.places: dict[Value, Place] = {}
        self.zeros: set[Value] = set()
        self.runs: list[str] = []
        self.made: dict[Any, str] = {}
        self._free: dict[Grid, list[tuple[int, str]]] = {}
        self._buffers: dict[str, tuple[Grid, int]] = {}
        self._last: dict[Value, int] = {}
        self.before: list[list[str]] = []

    def say(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def prepare(self, *lines: str) -> None:
        with self.prepared():
            for line in lines:
                self.say(line)

    @contextmanager
    def loop(self) -> Iterator[None]:
        """A loop's lines; what is prepared within it stands before it."""
        outer, self.lines = self.lines, []
        self.before.append(outer)
        yield
        self.before.pop()
        outer += self.lines
        self.lines = outer

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Lines that no round of a loop changes, before the outermost loop."""
        if not self.before:
            yield
            return
        lines, indent, self.lines, self.indent = self.lines, self.indent, self.before[0], 1
        before, self.before = self.before, []
        yield
        self.before = before
        self.lines, self.indent = lines, indent

    @contextmanager
    def after(self) -> Iterator[None]:
        """Lines behind the last block of rows."""
        if self.block_of is None:
            yield
            return
        lines, indent, self.lines, self.indent = self.lines, self.indent, self._after, 1
        yield
        self.lines, self.indent = lines, indent

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        self.say(f"{head} {{".strip())
        self.indent += 1
        yield
        self.indent -= 1
        self.say("}")

    def name(self, stem: str) -> str:
        return self.layout.name(stem)

    def copy(self, into: str, of: str, numbers: int | str, head: str = "") -> None:
        """Copy numbers; in a loop, if there is a `head`."""
        self.say(f"{head} memcpy({into}, {of}, {numbers} * sizeof(real));".strip())

    def multiply(
        self, n: str, k: int, m: int, x: str, lx: int | str, matrix: str, strides: str, bias: str, y: str,
        ly: int | str, add: int, repeats: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Multiply n rows of k channels by a matrix of m outputs (`multiply_` of the kit). repeats: the
        channels whose rows repeat, as the kit has them (`folded_`)."""
        name = self.name("p")
        given = f"{n}, {k}, {m}, {x}, {lx}, {matrix}, {strides}, {bias}, {y}, {ly}, {add}"
        if repeats:
            self.say(f"panels {name}[{len(repeats) + 1}] = {{{{0}}}};")
            self.say(f"const repeats of{name}[] = {{{', '.join(f'{{{text}}}' for text in repeats)}}};")
            self.say(f"if (folded_(m, {name}, {given}, {len(repeats)}, of{name})) return 2;")
            return
        self.prepare(f"panels {name} = {{0}};")
        self.say(f"if (multiply_(m, &{name}, {given})) return 2;")

    # ------------------------------------------------------------------ what is given

    def slot(self, kind: str, *name: Any, slots: int = 2) -> int:
        return self.entry.slot(self.prefix, kind, *name, slots=slots)

    def _lengths(self, id: str) -> tuple[str, str]:
        slot = self.slot("lengths", id) if id else self.slot("candidates")
        return self._pointer(slot, "int64_t"), f"a[{slot + 1}]"

    def _pointer(self, slot: int, type: str = "real") -> str:
        key = ("pointer", slot)
        if key not in self.made:
            name = self.made[key] = f"a{slot}"
            self.prepare(f"const {type} *{name} = (const {type} *)(intptr_t)a[{slot}];")
        return self.made[key]

    def weight(self, path: str) -> str:
        return self._pointer(self.slot("weight", path, slots=1))

    def option(self, path: str, name: str) -> str:
        """A number that a layer has."""
        slot = self.slot("number", path, name, slots=1)
        key = ("number", slot)
        if key not in self.made:
            found = self.made[key] = f"d{slot}"
            self.prepare(f"double {found};", f"memcpy(&{found}, a + {slot}, sizeof {found});")
        return self.made[key]

    def shape(self, path: str) -> tuple[int, ...]:
        return tuple(self.graph.weights[path].shape)

    def table(self, path: str) -> tuple[str, str]:
        """A table, and how many rows it has."""
        slot = self.slot("table", path)
        return self._pointer(slot), f"a[{slot + 1}]"

    def column(self, field: Field, count: str, kind: str, type: str) -> str:
        """The values of a field that has `count` of them."""
        slot = self.slot(kind, field.path)
        pointer = self._pointer(slot, type)
        self.check(f"a[{slot + 1}] != {count}")
        return pointer

    def check(self, wrong: str) -> None:
        key = ("check", wrong)
        if key not in self.made:
            self.made[key] = wrong
            self.prepare(f"if ({wrong}) return 1;")

    def ids(self, field: Field, grid: Grid, table: str) -> str:
        """A field's ids, of which each is a row of a table."""
        count, (_, rows) = self.layout.count(grid), self.table(table)
        key = ("ids", field.path, self.shape(table)[0])
        if key not in self.made:
            pointer = self.column(field, count, "ids", "int64_t")
            name = self.made[key] = self.name("ids")
            self.prepare(
                f"const int32_t *{name} = ids_(m, {count}, {pointer}, {rows});", f"if (!{name}) return 1;"
            )
        return self.made[key]

    # -------------------------------------------------------------------- memory

    def grid(self, value: Value) -> Grid | None:
        """The rows of a value: those of the tile, inside of one."""
        if value.shape.domain is None:
            return None
        return self.tile if self.tile is not None else self.layout.grid(value.shape.domain)

    def count(self, grid: Grid | None) -> str:
        return "1" if grid is None else self.layout.count(grid)

    def scratch(self, numbers: str | int) -> str:
        """Room for some numbers, for the whole function."""
        name = self.name("s")
        self.prepare(f"REALS({name}, {numbers});")
        return name

    def new(self, value: Value, sizes: Sequence[int], grid: Grid | None) -> Place:
        """A place for a value that has rows."""
        if self.block_of is not None and grid == self.tile and value in self._read:
            whole = self.new(value, sizes, self.block_of)
            part = self.places[value] = self._shifted(whole)
            self._whole[part.pointer] = whole
            return part
        grid = grid if grid is not None else _ONE
        size = prod(sizes)
        free = self._free.get(grid, [])
        found = min((x for x in free if x[0] >= size), default=None)
        if found is not None:
            free.remove(found)
            name = found[1]
        else:
            name, count = self.name("v"), "1" if grid is _ONE else self.layout.count(grid)
            room = f"room{grid.tile}" if grid.tile > 0 else count
            self.prepare(f"REALS({name}, {room} * {size});")
            self._buffers[name] = grid, size
        place = Place(name, tuple(sizes), None if grid is _ONE else grid)
        self.places[value] = place
        return place

    def over(self, value: Value, x: Value, place: int) -> bool:
        """Put a value in the place of an operand, if nothing else is there or reads it."""
        own = self.places.get(x)
        if own is None or own.index or own.pointer not in self._buffers or value in self._read:
            return False
        others = (v for v, p in self.places.items() if own.pointer in _pointers(p))
        if any(self._last.get(v, -1) > place for v in others):
            return False
        self.places[value] = replace(own, parts=())
        return True

    def alias(self, value: Value, of: Place, sizes: Sequence[int] | None = None) -> None:
        if sizes is None:
            self.places[value] = of
        else:
            self.places[value] = Place(of.pointer, tuple(sizes), of.grid, of.index, of.of)

    def place(self, x: Any) -> Place:
        return self.places[x]

    def dense(self, x: Value | Place) -> Place:
        """A value whose rows lie one after another; one row if it is the same everywhere."""
        place = x if isinstance(x, Place) else self.places[x]
        if not place.index:
            return place
        assert place.grid is not None
        key = ("dense", place)
        if key not in self.made or place.grid.tile:
            count = self.layout.count(place.grid)
            room = f"room{place.grid.tile}" if place.grid.tile else count
            name = self.made[key] = self.scratch(f"{room} * {place.size}")
            with self.block(f"for (int64_t i = 0; i < {count}; i++)"):
                self.say(f"memcpy({name} + i * {place.size}, {place.row()}, {place.size} * sizeof(real));")
        return Place(self.made[key], place.sizes, place.grid, parts=place.parts)

    def at(self, x: Value, grid: Grid) -> Place:
        """A value with a row of its own for each of some rows, one after another."""
        place = self.places[x]
        if place.grid is not None:
            return self.dense(place)
        name, count = self.scratch(f"{self.count(grid)} * {place.size}"), self.count(grid)
        with self.block(f"for (int64_t i = 0; i < {count}; i++)"):
            self.say(f"memcpy({name} + i * {place.size}, {place.row()}, {place.size} * sizeof(real));")
        return Place(name, place.sizes, grid)

    def run(self, blocks: Iterable[Block], ends: Sequence[Value]) -> None:
        """Write kernels in order. ends: values that are read after all of them."""
        blocks = list(blocks)
        kernels = [kernel for block in blocks for kernel in block.kernels]
        self._last |= {v: n for n, k in enumerate(kernels) for v in _reads(k)}
        self._last |= dict.fromkeys(ends, len(kernels))
        number = 0
        for block in blocks:
            if block.rows is None:
                self.print_kernel(self, block.kernels[0], number)
            else:
                self._by_block(block, self.layout.grid(block.rows), number)
            number += len(block.kernels)
            self._release(number - 1)

    def _by_block(self, block: Block, grid: Grid, number: int) -> None:
        """Write kernels that some rows at a time go through."""
        tile = Grid((), int(self.name("")))
        at, many, room, count = (f"{x}{tile.tile}" for x in ("begin", "tile", "room", "count"))
        self.prepare(f"const int64_t {count} = {self.count(grid)}, {room} = at_once_({count}, {block.most});")
        self.block_of, self.tile, self._read = grid, tile, set(block.results)
        outside = {x: self.places[x] for k in block.kernels for x in _reads(k) if x in self.places}
        for x, place in outside.items():
            if x.shape.domain == block.rows:
                self.places[x] = self._shifted(place)
        with self.loop(), self.block(f"for (int64_t {at} = 0; {at} < {count}; {at} += {room})"):
            self.say(f"const int64_t {many} = {count} - {at} < {room} ? {count} - {at} : {room};")
            for n, kernel in enumerate(block.kernels, number):
                self.print_kernel(self, kernel, n)
                self._release(n, tile)
        self.block_of, self.tile, self._read = None, None, set()
        self.lines += self._after
        self._after = []
        self.places |= outside
        for x in (r for k in block.kernels for r in k.results if r is not None):
            own = self.places[x]
            if own.pointer in self._whole:
                self.places[x] = replace(self._whole[own.pointer], sizes=own.sizes)

    def _shifted(self, place: Place) -> Place:
        """The rows of a place that are a block's."""
        if place.grid is None or self.tile is None:
            return place
        if place.index:
            return Place(place.pointer, place.sizes, self.tile, self.at_block(place.index))
        return Place(f"({place.pointer} + begin{self.tile.tile} * {place.size})", place.sizes, self.tile)

    def at_block(self, index: str) -> str:
        """An array that has a number for each row, from the first one of the block on."""
        if self.block_of is None or self.tile is None:
            return index
        return f"({index} + begin{self.tile.tile})"

    def here(self, grid: Grid) -> Grid:
        """The rows of some that are computed now: those of the block, inside of one."""
        return self.tile if self.block_of is not None and self.tile is not None else grid

    def _release(self, done: int, only: Grid | None = None) -> None:
        """Let what nothing reads any more be used again. only: of these rows."""
        live = {x for v, p in self.places.items() if self._last.get(v, -1) > done for x in _pointers(p)}
        for name, (grid, size) in list(self._buffers.items()):
            if only is not None and grid != only:
                continue
            free = self._free.setdefault(grid, [])
            if name not in live and (size, name) not in free and not self._copied(name):
                free.append((size, name))
            elif name in live and (size, name) in free:
                free.remove((size, name))

    def _copied(self, name: str) -> bool:
        """Whether a copy of an array's rows is known, which another value in its place would not have."""
        return any(key[0] == "dense" and key[1].pointer == name for key in self.made if key[0] == "dense")

    def position(self, position: Position) -> str:
        """The position, or the length, of each row along an axis."""
        grid = self.layout.grid(position.rows)
        if position.length:
            return self.layout.lengths_of(grid, position.axis)
        return self.layout.position(grid, position.axis)


_ONE = Grid((), -1)


def _pointers(place: Place) -> list[str]:
    """The arrays that a value is read from."""
    return [place.pointer, *(part.pointer for part in place.parts)]


def _reads(kernel: Kernel) -> list[Value]:
    found = list(kernel.operands())
    for inner in kernel.functions():
        found += [x for k in walk(inner) for x in k.operands()] + inner.results
    return found


def part(
    unit: Unit,
    entry: Entry,
    print_kernel: Printer,
    name: str,
    blocks: Sequence[Block],
    results: Sequence[Value],
    state: Mapping[Value, tuple[int, ...]],
) -> tuple[str, dict[Value, tuple[int, ...]]]:
    """The C of a function, and the sizes of a row of each result. entry: what it is given. state: the values
    that another function made, and the sizes of their rows."""
    w = Writer(unit, entry, name, print_kernel)
    for number, (value, sizes) in enumerate(state.items()):
        grid = w.grid(value)
        w.say(f"const real *state{number} = state[{number}].x;")
        w.places[value] = Place(f"state{number}", sizes, grid)
        w.check(f"state[{number}].n != {w.count(grid)}")
    w.run(blocks, results)
    for number, value in enumerate(results):
        grid = w.grid(value)
        place = w.dense(value) if grid is None else w.at(value, grid)
        w.say(f"found[{number}] = (made){{{place.pointer}, {w.count(grid)}}};")
    text = [
        f"static int {name}_(memory *m, const int64_t *a, const made *state, made *found)",
        "{",
        "    const int64_t requests = a[0];",
        "    (void)state;",
        *w.lines,
        "    return 0;",
        "}",
        "",
    ]
    return "\n".join([*w.runs, *text]), {value: w.places[value].sizes for value in results}
