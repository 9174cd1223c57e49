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
from specc.ir.graph import Weight
from specc.lower.program import Kernel, Value
from specc.lower.tile import TileInC, sizes_of
from specc.ops import OPS, op
from specc.ops.definition import Pointwise


def tile_text(name: str, tile: TileInC, weights: Mapping[str, Weight]) -> str:
    """The C of a tile: `NAME(n, given, out, room)` and `NAME_back(n, given, d, d_given, room)`. given: the
    rows of each parameter, then the weights. The room has `room_of` numbers."""
    return _Tile(name, tile, weights).text()


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

    def text(self) -> str:
        (result,) = self.function.results
        size = prod(sizes_of(result))
        forward = self._forward()
        last = f"memcpy(out + i * {size}, {self.at[result]}, {size} * sizeof(real));"
        text = self._function("", "real *out", [*chain(*forward.values()), last])
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

    def _forward(self) -> dict[Value, list[str]]:
        """By value, the lines that compute it."""
        found: dict[Value, list[str]] = {}
        for number, parameter in enumerate(self.function.parameters):
            self.at[parameter] = f"(given[{number}] + i * {prod(sizes_of(parameter))})"
        for kernel in self.function.kernels:
            self.at[kernel.result] = self._place(prod(sizes_of(kernel.result)))
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
            self.lines.append(f"{name}_({_around(sizes_of(x), dim)}, {self.at[x]}, {into});")
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
            add, called = int(not self._first(x)), kernel.name if not family else name
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


def _loops(sizes: tuple[int, ...]) -> list[str]:
    """The loops over all but the channels."""
    return [f"for (int64_t j{n} = 0; j{n} < {size}; j{n}++)" for n, size in enumerate(sizes[:-1])]


def _around(sizes: tuple[int, ...], dim: int) -> str:
    """How many numbers there are before a dimension (from 1), along it, and behind it."""
    return f"{prod(sizes[: dim - 1])}, {sizes[dim - 1]}, {prod(sizes[dim:])}"


def _whole(numbers: int) -> int:
    """Numbers up to whole vectors, in single and in double precision."""
    return -(-numbers // 16) * 16


HELPERS = """\
#include <string.h>
#define LANES PRAGMA(omp simd)
#define SUMMED(x) PRAGMA(omp simd reduction(+:x))
/* Called with sizes that are known, so that a copy for them is made of each. */
#define SIZED static inline __attribute__((always_inline, unused))
#define VECTOR (int64_t)(64 / sizeof(real))
typedef real vector __attribute__((vector_size(64)));

SIZED vector load_(const real *x, int64_t n)
{
    vector found = {0};
    memcpy(&found, x, n * sizeof(real));
    return found;
}

/* A matrix of `rows` times `columns` with rows filled up with 0 to multiples of 16. */
SIZED void filled_(int64_t rows, int64_t columns, const real *w, int64_t by_row, int64_t by_column, real *y)
{
    const int64_t wide = (columns + 15) / 16 * 16;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < wide; c++) y[r * wide + c] = c < columns ? w[r * by_row + c * by_column] : 0;
}

/* Some rows of a vector's columns of a product, from column j on; n of these are there. */
SIZED void block_(int64_t rows, int64_t k, int64_t m, int64_t wide, int64_t j, int64_t n, const real *x,
                  const real *w, const real *bias, real *y, int add)
{
    vector sum[6];
    for (int64_t r = 0; r < rows; r++) {
        sum[r] = bias ? load_(bias + j, n) : (vector){0};
        if (add) sum[r] += load_(y + r * m + j, n);
    }
    for (int64_t c = 0; c < k; c++) {
        const vector of = load_(w + c * wide + j, VECTOR);
        for (int64_t r = 0; r < rows; r++) sum[r] += x[r * k + c] * of;
    }
    for (int64_t r = 0; r < rows; r++) memcpy(y + r * m + j, &sum[r], n * sizeof(real));
}

/* y [rows, m] = (or +=, with `add`) x [rows, k] times w [k, m], filled, plus a bias [m], if there is one. */
SIZED void rows_(int64_t rows, int64_t k, int64_t m, const real *x, const real *w, const real *bias, real *y,
                 int add)
{
    const int64_t wide = (m + 15) / 16 * 16;
    if (m == 1) {
        real own[64];
        for (int64_t c = 0; c < k; c++) own[c] = w[c * wide];
        for (int64_t r = 0; r < rows; r++) {
            real sum = 0;
            SUMMED(sum) for (int64_t c = 0; c < k; c++) sum += x[r * k + c] * own[c];
            y[r] = sum + (bias ? bias[0] : 0) + (add ? y[r] : 0);
        }
        return;
    }
    for (int64_t r = 0; r < rows; r += 6) {
        const real *of = x + r * k;
        real *into = y + r * m;
        int64_t j = 0;
        if (r + 6 <= rows) {
            for (; j + VECTOR <= m; j += VECTOR) block_(6, k, m, wide, j, VECTOR, of, w, bias, into, add);
            if (m % VECTOR) block_(6, k, m, wide, j, m % VECTOR, of, w, bias, into, add);
            continue;
        }
        for (; j + VECTOR <= m; j += VECTOR) block_(rows % 6, k, m, wide, j, VECTOR, of, w, bias, into, add);
        if (m % VECTOR) block_(rows % 6, k, m, wide, j, m % VECTOR, of, w, bias, into, add);
    }
}

/* Of `many` of the outputs, the columns of a vector's, from c on; n of these are there. */
SIZED void columns_(int64_t rows, int64_t k, int64_t m, int64_t many, int64_t c, int64_t n, const real *d,
                    const real *x, real *dw)
{
    vector sum[8];
    for (int64_t j = 0; j < many; j++) sum[j] = load_(dw + j * k + c, n);
    for (int64_t r = 0; r < rows; r++) {
        const vector of = load_(x + r * k + c, n);
        for (int64_t j = 0; j < many; j++) sum[j] += d[r * m + j] * of;
    }
    for (int64_t j = 0; j < many; j++) memcpy(dw + j * k + c, &sum[j], n * sizeof(real));
}

/* dw [m, k] += d [rows, m] turned, times x [rows, k]; db [m], if there is one, += the sum of d. */
SIZED void rows_weights_(int64_t rows, int64_t k, int64_t m, const real *d, const real *x, real *dw, real *db)
{
    for (int64_t j = 0; j < m; j += 8) {
        int64_t c = 0;
        if (j + 8 <= m) {
            for (; c + VECTOR <= k; c += VECTOR) columns_(rows, k, m, 8, c, VECTOR, d + j, x, dw + j * k);
            if (k % VECTOR) columns_(rows, k, m, 8, c, k % VECTOR, d + j, x, dw + j * k);
            continue;
        }
        for (; c + VECTOR <= k; c += VECTOR) columns_(rows, k, m, m % 8, c, VECTOR, d + j, x, dw + j * k);
        if (k % VECTOR) columns_(rows, k, m, m % 8, c, k % VECTOR, d + j, x, dw + j * k);
    }
    if (db)
        for (int64_t r = 0; r < rows; r++)
            LANES for (int64_t j = 0; j < m; j++) db[j] += d[r * m + j];
}

SIZED void pairs_(int64_t outer, int64_t count, int64_t w, const real *x, real *y)
{
    for (int64_t o = 0; o < outer; o++, x += count * w)
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = i + 1; j < count; j++, y += w)
                LANES for (int64_t c = 0; c < w; c++) y[c] = x[i * w + c] * x[j * w + c];
}

SIZED void pairs_back_(int64_t outer, int64_t count, int64_t w, const real *x, const real *y, const real *d,
                       real *dx, int add)
{
    (void)y;
    if (!add) memset(dx, 0, outer * count * w * sizeof(real));
    for (int64_t o = 0; o < outer; o++, x += count * w, dx += count * w)
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = i + 1; j < count; j++, d += w)
                LANES for (int64_t c = 0; c < w; c++) {
                    const real of = d[c], a = x[i * w + c], b = x[j * w + c];
                    dx[i * w + c] += of * b;
                    dx[j * w + c] += of * a;
                }
}

SIZED void sum_(int64_t outer, int64_t count, int64_t w, const real *x, real *y)
{
    for (int64_t o = 0; o < outer; o++, x += count * w, y += w) {
        memcpy(y, x, w * sizeof(real));
        for (int64_t j = 1; j < count; j++)
            LANES for (int64_t c = 0; c < w; c++) y[c] += x[j * w + c];
    }
}

SIZED void scaled_back_(int64_t outer, int64_t count, int64_t w, const real *d, real *dx, int add, real by)
{
    for (int64_t o = 0; o < outer; o++, d += w)
        for (int64_t j = 0; j < count; j++, dx += w)
            LANES for (int64_t c = 0; c < w; c++) dx[c] = (add ? dx[c] : 0) + by * d[c];
}

SIZED void sum_back_(int64_t outer, int64_t count, int64_t w, const real *x, const real *y, const real *d,
                     real *dx, int add)
{
    (void)x, (void)y;
    scaled_back_(outer, count, w, d, dx, add, 1);
}

SIZED void mean_(int64_t outer, int64_t count, int64_t w, const real *x, real *y)
{
    sum_(outer, count, w, x, y);
    LANES for (int64_t c = 0; c < outer * w; c++) y[c] /= count;
}

SIZED void mean_back_(int64_t outer, int64_t count, int64_t w, const real *x, const real *y, const real *d,
                      real *dx, int add)
{
    (void)x, (void)y;
    scaled_back_(outer, count, w, d, dx, add, (real)1 / count);
}

SIZED void softmax_(int64_t outer, int64_t count, int64_t w, const real *x, real *y)
{
    for (int64_t o = 0; o < outer; o++, x += count * w, y += count * w)
        for (int64_t c = 0; c < w; c++) {
            real top = -INFINITY, total = 0;
            PRAGMA(omp simd reduction(max:top))
            for (int64_t j = 0; j < count; j++) top = x[j * w + c] > top ? x[j * w + c] : top;
            LANES for (int64_t j = 0; j < count; j++) y[j * w + c] = exp_(x[j * w + c] - top);
            SUMMED(total) for (int64_t j = 0; j < count; j++) total += y[j * w + c];
            LANES for (int64_t j = 0; j < count; j++) y[j * w + c] /= total;
        }
}

SIZED void softmax_back_(int64_t outer, int64_t count, int64_t w, const real *x, const real *y, const real *d,
                         real *dx, int add)
{
    (void)x;
    for (int64_t o = 0; o < outer; o++, y += count * w, d += count * w, dx += count * w)
        for (int64_t c = 0; c < w; c++) {
            real total = 0;
            SUMMED(total) for (int64_t j = 0; j < count; j++) total += y[j * w + c] * d[j * w + c];
            LANES for (int64_t j = 0; j < count; j++)
                dx[j * w + c] = (add ? dx[j * w + c] : 0) + y[j * w + c] * (d[j * w + c] - total);
        }
}
"""
