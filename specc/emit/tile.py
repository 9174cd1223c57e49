"""Print the functions of tiles, and their derivatives, as C: a row at a time, every size known.

Promises: the values of the tile's function (specc_runtime.ops.tile), up to rounding. Backward computes a row
again before it goes back through it, so that nothing is kept of the forward pass; it adds to the gradients of
weights, and writes those of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod

from specc.emit.c import number_text, offset
from specc.emit.tile_helpers import HELPERS
from specc.ir.graph import Weight
from specc.lower.program import Kernel, Value
from specc.lower.tile import TileInC, sizes_of
from specc.ops import OPS, op
from specc.ops.definition import Pointwise


def tile_text(name: str, tile: TileInC, weights: Mapping[str, Weight]) -> str:
    """The C of a tile: `NAME(n, given, out, room)` and `NAME_back(n, given, d, d_given, room)`. given: the
    rows of each parameter, then the weights. The room has `room_of` numbers."""
    return _Tile(name, tile, weights).text()


def forward_text(name: str, tile: TileInC, weights: Mapping[str, Weight]) -> tuple[str, int]:
    """The C of `NAME(n, given, out, room)` alone, and how many numbers the room has."""
    found = _Tile(name, tile, weights)
    return "KIT " + found.forward(), found.room


def tiles_text(tiles: Sequence[tuple[str, TileInC]], weights: Mapping[str, Weight]) -> str:
    """The C of all tiles, by name; empty if there is none."""
    return "\n".join([HELPERS, *(tile_text(name, tile, weights) for name, tile in tiles)]) if tiles else ""


def room_of(tile: TileInC, weights: Mapping[str, Weight]) -> int:
    """How many numbers the functions of a tile need beside what they are given."""
    found = _Tile("", tile, weights)
    found.text()
    return found.room


class _Tile:
    def __init__(self, name: str, tile: TileInC, weights: Mapping[str, Weight]) -> None:
        self.name, self.function, self.weights = name, tile.function, weights
        self.given = {path: len(tile.function.parameters) + n for n, path in enumerate(tile.weights)}
        self.room = 0
        self.lines: list[str] = []
        self.at: dict[Value, str] = {}
        self.d: dict[Value, str] = {}
        self.reached: set[Value] = set()
        self.turned: dict[tuple[str, bool], str] = {}

    def forward(self) -> str:
        """The function alone, whose values are over those that nothing reads any more."""
        last = {x: n for n, kernel in enumerate(self.function.kernels) for x in kernel.operands()}
        last[self.function.results[0]] = len(self.function.kernels)
        return self._forward_of(self._forward(last))

    def _forward_of(self, lines: Mapping[Value, list[str]]) -> str:
        (result,) = self.function.results
        size = prod(sizes_of(result))
        last = f"memcpy(out + i * {size}, {self.at[result]}, {size} * sizeof(real));"
        return self._function("", "real *out", [*chain(*lines.values()), last])

    def text(self) -> str:
        forward = self._forward()
        text = self._forward_of(forward)
        backward = self._backward()
        # What the derivative reads, and what that is made of.
        read = "\n".join(backward)
        for value, lines in reversed(forward.items()):
            if self.at[value] in read:
                read = "\n".join([read, *lines])
                backward = [*lines, *backward]
        return text + self._function("_back", "const real *d, real *const *d_given", backward)

    def _function(self, suffix: str, given: str, lines: list[str]) -> str:
        return "\n".join([
            f"void {self.name}{suffix}(int64_t n, const real *const *given, {given}, real *room)",
            "{",
            *self._filled(),
            "    for (int64_t i = 0; i < n; i++) {",
            *(f"        {line}" for line in lines),
            "    }",
            "}",
            "",
        ])  # fmt: skip

    def _place(self, numbers: int) -> str:
        """Room for some numbers, whole vectors."""
        at, self.room = self.room, self.room + _whole(numbers)
        return f"(room + {at})"

    def _weight(self, path: str) -> str:
        return f"given[{self.given[path]}]"

    def _matrix(self, path: str, turned: bool) -> str:
        """A matrix [m, k] with its rows filled up to whole vectors; turned: that of [k, m]."""
        if (path, turned) not in self.turned:
            m, k = self.weights[path].shape
            rows, columns = (k, m) if turned else (m, k)
            self.turned[path, turned] = self._place(rows * _whole(columns))
        return self.turned[path, turned]

    def _filled(self) -> list[str]:
        """The lines that fill these."""
        found = []
        for (path, turned), place in self.turned.items():
            m, k = self.weights[path].shape
            rows, columns, strides = (k, m, f"1, {k}") if turned else (m, k, f"{k}, 1")
            found.append(f"    filled_({rows}, {columns}, {self._weight(path)}, {strides}, {place});")
        return found

    # ---------------------------------------------------------------- forward

    def _forward(self, last: Mapping[Value, int] | None = None) -> dict[Value, list[str]]:
        """By value, the lines that compute it. last: by value the kernel after which its place is free; by
        default none is."""
        found: dict[Value, list[str]] = {}
        free: list[tuple[int, str]] = []
        for number, parameter in enumerate(self.function.parameters):
            self.at[parameter] = f"(given[{number}] + i * {prod(sizes_of(parameter))})"
        for number, kernel in enumerate(self.function.kernels):
            size = prod(sizes_of(kernel.result))
            done = [x for x in dict.fromkeys(kernel.operands()) if x in found and last and last[x] == number]
            over = [x for x in done if _pointwise(kernel) and sizes_of(x) == sizes_of(kernel.result)]
            if over:
                self.at[kernel.result] = self.at[over[0]]
            elif place := next((place for place in free if place[0] == size), None):
                free.remove(place)
                self.at[kernel.result] = place[1]
            else:
                self.at[kernel.result] = self._place(size)
            free += [(prod(sizes_of(x)), self.at[x]) for x in done if x not in over[:1]]
            self.lines = found[kernel.result] = []
            self._kernel(kernel)
        return found

    def _kernel(self, kernel: Kernel) -> None:
        into = self.at[kernel.result]
        family, _, name = kernel.name.rpartition(".")
        if kernel.name == op.PAIRS:
            x, dim = kernel.args[:2]
            self.lines.append(f"pairs_({_around(sizes_of(x), dim)}, {self.at[x]}, {into});")
        elif kernel.name == op.LINEAR:
            layer, x = kernel.args
            path, sizes = f"{layer.path}.weight", sizes_of(x)
            m, k = self.weights[path].shape
            bias = self._weight(f"{layer.path}.bias") if f"{layer.path}.bias" in self.given else "0"
            given = f"{self.at[x]}, {self._matrix(path, True)}, {bias}, {into}"
            self.lines.append(f"rows_({prod(sizes[:-1])}, {k}, {m}, {given}, 0);")
        elif family:
            x = kernel.args[0]
            dim = len(sizes_of(x)) if family == "channels" else kernel.args[1]
            self.lines.append(f"along_{name}_({_around(sizes_of(x), dim)}, {self.at[x]}, {into});")
        else:
            form = OPS[kernel.name].lowering
            assert isinstance(form, Pointwise)
            text = form.c.format(**self._named(kernel))
            number = self._number(kernel.result, kernel)
            self.lines += self._each(sizes_of(kernel.result), f"{number} = {text};")

    def _named(self, kernel: Kernel) -> dict[str, str]:
        names = [s.name for s in OPS[kernel.name].inputs]
        return {name: self._number(x, kernel) for name, x in zip(names, kernel.args, strict=True)}

    def _number(self, x: object, kernel: Kernel, at: Mapping[Value, str] | None = None) -> str:
        """The number of a value that belongs to j0, j1, … and c of a kernel's result."""
        if not isinstance(x, Value):
            return number_text(float(x))  # type: ignore[arg-type]
        if x.dtype == "number":
            return number_text(x.number)
        places = self.at if at is None else at
        return f"{places[x]}[{offset(sizes_of(x), sizes_of(kernel.result))}]"

    def _each(self, sizes: tuple[int, ...], line: str) -> list[str]:
        """A line for each number of a result."""
        return [*_loops(sizes), f"LANES for (int64_t c = 0; c < {sizes[-1]}; c++) {line}"]

    # --------------------------------------------------------------- backward

    def _backward(self) -> list[str]:
        (result,) = self.function.results
        self.lines = []
        for number, parameter in enumerate(self.function.parameters):
            self.d[parameter] = f"(d_given[{number}] + i * {prod(sizes_of(parameter))})"
        for kernel in self.function.kernels:
            self.d[kernel.result] = self._place(prod(sizes_of(kernel.result)))
        size = prod(sizes_of(result))
        self.lines.append(f"memcpy({self.d[result]}, d + i * {size}, {size} * sizeof(real));")
        self.reached.add(result)
        for kernel in reversed(self.function.kernels):
            if kernel.result in self.reached:
                self._back(kernel)
        for parameter in self.function.parameters:
            if parameter not in self.reached:
                self.lines.append(
                    f"memset({self.d[parameter]}, 0, {prod(sizes_of(parameter))} * sizeof(real));"
                )
        return self.lines

    def _first(self, x: Value) -> bool:
        """Whether what follows is the first part of a value's gradient."""
        first = x not in self.reached
        self.reached.add(x)
        return first

    def _back(self, kernel: Kernel) -> None:
        d, y = self.d[kernel.result], self.at[kernel.result]
        family, _, name = kernel.name.rpartition(".")
        if kernel.name == op.LINEAR:
            self._linear_back(kernel)
        elif kernel.name == op.PAIRS or family:
            x = kernel.args[0]
            dim = len(sizes_of(x)) if family == "channels" else kernel.args[1]
            add, called = int(not self._first(x)), kernel.name if not family else f"along_{name}"
            self.lines.append(
                f"{called}_back_({_around(sizes_of(x), dim)}, {self.at[x]}, {y}, {d}, {self.d[x]}, {add});"
            )
        else:
            self._pointwise_back(kernel)

    def _linear_back(self, kernel: Kernel) -> None:
        layer, x = kernel.args
        path, sizes, d = f"{layer.path}.weight", sizes_of(x), self.d[kernel.result]
        m, k = self.weights[path].shape
        rows, bias = prod(sizes[:-1]), f"{layer.path}.bias"
        into = f"d_given[{self.given[bias]}]" if bias in self.given else "0"
        self.lines.append(
            f"rows_weights_({rows}, {k}, {m}, {d}, {self.at[x]}, d_given[{self.given[path]}], {into});"
        )
        add = int(not self._first(x))
        self.lines.append(
            f"rows_({rows}, {m}, {k}, {d}, {self._matrix(path, False)}, 0, {self.d[x]}, {add});"
        )

    def _pointwise_back(self, kernel: Kernel) -> None:
        definition, sizes = OPS[kernel.name], sizes_of(kernel.result)
        assert definition.derivative is not None
        given = {
            **self._named(kernel),
            "y": self._number(kernel.result, kernel),
            "d": self._number(kernel.result, kernel, self.d),
        }
        for x, form in zip(kernel.args, definition.derivative.c, strict=True):
            if not isinstance(x, Value) or x.dtype == "number":
                continue
            own, first, text = sizes_of(x), self._first(x), form.format(**given)
            into = self._number(x, kernel, self.d)
            if first and own != sizes:
                self.lines.append(f"memset({self.d[x]}, 0, {prod(own)} * sizeof(real));")
            if own[-1] == sizes[-1]:
                sign = "=" if first and own == sizes else "+="
                self.lines += self._each(sizes, f"{into} {sign} {text};")
                continue
            self.lines += [
                *_loops(sizes),
                "{",
                "real sum = 0;",
                f"SUMMED(sum) for (int64_t c = 0; c < {sizes[-1]}; c++) sum += {text};",
                f"{into} += sum;",
                "}",
            ]


def _pointwise(kernel: Kernel) -> bool:
    return kernel.name in OPS and isinstance(OPS[kernel.name].lowering, Pointwise)


def _loops(sizes: tuple[int, ...]) -> list[str]:
    """The loops over all but the channels."""
    return [f"for (int64_t j{n} = 0; j{n} < {size}; j{n}++)" for n, size in enumerate(sizes[:-1])]


def _around(sizes: tuple[int, ...], dim: int) -> str:
    """How many numbers there are before a dimension (from 1), along it, and behind it."""
    return f"{prod(sizes[: dim - 1])}, {sizes[dim - 1]}, {prod(sizes[dim:])}"


def _whole(numbers: int) -> int:
    """Numbers up to whole vectors, in single and in double precision."""
    return -(-numbers // 16) * 16
