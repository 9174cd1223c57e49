"""Print all steps of a recurrence, and all of its derivative, as one C function each.

The products are those of the BLAS that torch itself calls, or the runtime's own, of matrices that are put in
panels once for many steps (specc_runtime.native.products); what lies between them are the runs of
specc.emit.c. Both functions are given addresses and the strides of rows (specc_runtime.ops.steps_in_c), in
this order. Forward: values, constants, matrices, biases, starts, traces, what is kept, rows of their own.
Backward: values, constants, matrices, starts, traces, what is kept; the gradients of values and of products;
upstream gradients of each position, then of each last state; gradients that a step hands to the one before,
and the sum of both; the gradients of constants; what matrices are multiplied by; rows of their own.

A row of a value, a trace or what is kept is that of a sequence at a step; of others that of a sequence.

Promises: the values and gradients of the cell's functions in Python, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specc.lower.cell import Cell
from specc.lower.native import Native, Run
from specc.lower.program import Function, Kernel, Value

# product_: y [n, m] = x [n, k] times w [m, k] or, with `along`, w [k, m]; added to what is there with `add`.
# lx, lw, ly: strides of rows. first: x may be a state's start, which often is zero. p: w in panels, if it is.
PRODUCT = """\
#include <stdlib.h>
#include <string.h>

typedef void gemm(const char *, const char *, const int *, const int *, const int *, const real *,
                  const real *, const int *, const real *, const int *, const real *, real *, const int *);
static gemm *blas_;
void use_blas(void *found) { blas_ = (gemm *)found; }

/* What puts a matrix in panels, and multiplies n rows by it, if the runtime has them. */
typedef void packing(int64_t, int64_t, const real *, int64_t, int64_t, real *);
typedef void by_panels(int64_t, int64_t, int64_t, const real *, int64_t, const real *, real *, int64_t,
                       int64_t);
static packing *pack_;
static by_panels *by_panels_;
void use_panels(void *pack, void *by) { pack_ = (packing *)pack, by_panels_ = (by_panels *)by; }

/* A matrix w [m, k] or, with `along`, w [k, m] in panels, where the steps have enough rows: in `room`, which
   is to be freed. */
typedef struct { void *room; const real *x; } packed;
static packed packed_(int along, int64_t first, int64_t stop, const int64_t *active, int64_t k, int64_t m,
                      const real *w, int64_t lw)
{
    packed found = {0};
    int64_t n = 0;
    for (int64_t t = first; t < stop; t++) n += active[t];
    if (!pack_ || n < 64 || k < 8 || m < 8) return found;
    found.room = malloc((size_t)((m + 15) / 16 * 16 * k) * sizeof(real) + 64);
    if (!found.room) return found;
    real *x = (real *)(((uintptr_t)found.room + 63) / 64 * 64);
    pack_(k, m, w, along ? 1 : lw, along ? lw : 1, x);
    found.x = x;
    return found;
}

static int zero_(int64_t n, int64_t k, const real *x, int64_t lx)
{
    for (int64_t i = 0; i < n; i++, x += lx)
        for (int64_t c = 0; c < k; c++)
            if (x[c] != 0) return 0;
    return 1;
}

static void copy_(int64_t n, int64_t w, const real *x, int64_t lx, real *y, int64_t ly)
{
    for (int64_t i = 0; i < n; i++) memcpy(y + i * ly, x + i * lx, w * sizeof(real));
}

static void add_(int64_t n, int64_t w, const real *x, int64_t lx, real *y, int64_t ly)
{
    for (int64_t i = 0; i < n; i++)
        PRAGMA(omp simd) for (int64_t c = 0; c < w; c++) y[i * ly + c] += x[i * lx + c];
}

static void product_(int first, int along, packed p, int64_t n, int64_t k, int64_t m, const real *x,
                     int64_t lx, const real *w, int64_t lw, real *y, int64_t ly, int add)
{
    if (first && zero_(n, k, x, lx)) {
        for (int64_t i = 0; !add && i < n; i++) memset(y + i * ly, 0, m * sizeof(real));
        return;
    }
    if (p.x) {
        by_panels_(n, k, m, x, lx, p.x, y, ly, add);
        return;
    }
    const int n_ = n, k_ = k, m_ = m, x_ = lx, w_ = lw, y_ = ly;
    const real one = 1, keep = add;
    blas_(along ? "N" : "T", "N", &m_, &n_, &k_, &one, w, &w_, x, &x_, &keep, y, &y_);
}

/* The upstream gradient of a step's states y [n, w]: of every position `each` or of the last one `last`,
   null where there is none, and for the first `more` rows what the step after it hands on. */
static void met_(int64_t n, int64_t w, int64_t more, const real *each, int64_t le, const real *last,
                 int64_t ll, const real *carried, int64_t lc, real *y, int64_t ly)
{
    if (each) copy_(n, w, each, le, y, ly);
    if (each) add_(more, w, carried, lc, y, ly);
    else copy_(more, w, carried, lc, y, ly);
    if (each) return;
    if (last) copy_(n - more, w, last + more * ll, ll, y + more * ly, ly);
    for (int64_t i = more; !last && i < n; i++) memset(y + i * ly, 0, w * sizeof(real));
}
"""


def steps_text(name: str, cell: Cell, runs: Mapping[Run, str]) -> str:
    """Return both functions of a cell. name: what theirs begin with. runs: the names of its runs."""
    native = cell.native
    assert isinstance(native, Native)
    return _Steps(cell, native, runs).forward(name) + "\n" + _Steps(cell, native, runs).backward(name)


def rooms(native: Native) -> tuple[tuple[int, ...], ...]:
    """Return how wide the rows are of what is kept, and of what each of both functions needs for itself, and
    for each matrix the first one that multiplies the same. -1 - n stands for the rows of next state n."""
    step, back = native.step, native.back
    nexts = step.groups["nexts"]
    assert back.returned is not None
    multiplied = back.returned[2]
    return (
        tuple(-1 - nexts.index(v) if v in nexts else v.width for v in step.results),
        tuple(v.width for v in _made(step) if v not in step.results),
        tuple(v.width for v in _made(back)),
        tuple(map(multiplied.index, multiplied)),
    )


def _made(function: Function) -> list[Value]:
    """Return the values that have rows of their own."""
    return [k.result for k in function.kernels if k.name not in ("columns", "run") and k.over is None]


class _Steps:
    def __init__(self, cell: Cell, native: Native, runs: Mapping[Run, str]) -> None:
        self.cell, self.native, self.runs = cell, native, runs
        self.lines: list[str] = []
        self.number = 0
        self.places: dict[Value, tuple[str, str]] = {}
        self.packed: dict[Value, str] = {}
        self.before: list[str] = []

    def forward(self, name: str) -> str:
        step = self.native.step
        self._rows(step.groups["values"], "at")
        self._rows(step.groups["constants"], "0")
        self._matrices(step.groups["matrices"], step)
        self._rows(step.groups["biases"], "0")
        self._states(step)
        self._again(step.groups["nexts"], self.number - len(step.groups["nexts"]), "at")
        self._rows(step.results, "at")
        self._rows([v for v in _made(step) if v not in step.results], "0")
        for kernel in step.kernels:
            self._kernel(kernel, along=False)
        head = f"void {name}_steps({_ARGUMENTS})"
        loop = ["for (int64_t t = first; t < stop; at += active[t++]) {", "    const int64_t n = active[t];"]
        return self._text(head, loop)

    def backward(self, name: str) -> str:
        back, cell = self.native.back, self.cell
        self._rows(back.groups["values"], "at")
        self._rows(back.groups["constants"], "0")
        self._matrices(back.groups["matrices"], back)
        self._states(back)
        self._rows(back.groups["kept"], "at")
        self._rows(back.groups["d_values"], "at")
        self._rows(back.groups["d_products"], "at")
        d_next = back.groups["d_next"]
        count = len(d_next)
        each, last, carried = self.number, self.number + count, self.number + 2 * count
        self.number += 3 * count
        self._rows(d_next, "0")
        constants = self.number
        factors = constants + len(back.groups["constants"])
        self.number = factors + len(cell.products)
        self._rows(_made(back), "0")
        for n, value in enumerate(d_next):
            given = f"{_at(each + n, 'at')}, s[{each + n}], {_at(last + n, '0')}, s[{last + n}]"
            more = f"{_at(carried + n, '0')}, s[{carried + n}]"
            self._line(f"met_(n, {value.width}, more, {given}, {more}, {self._place(value)});")
        idle = _of_starts(cell, back)
        for kernel in back.kernels:
            self._kernel(kernel, along=True, when="if (t) " if kernel in idle else "")
        assert back.returned is not None
        d_constants, d_states, multiplied = back.returned
        for n, part in enumerate(d_constants):
            if part is not None:
                into = f"{_at(constants + n, '0')}, s[{constants + n}]"
                self._line(f"add_(n, {part.width}, {self._place(part)}, {into});")
        for n, part in enumerate(d_states):
            into = f"{_at(carried + n, '0')}, s[{carried + n}]"
            if part is None:
                width = d_next[n].width
                row = _at(carried + n, "i")
                self._line(f"for (int64_t i = 0; i < n; i++) memset({row}, 0, {width} * sizeof(real));")
            else:
                self._line(f"copy_(n, {part.width}, {self._place(part)}, {into});")
        for n, part in enumerate(multiplied):
            if part not in multiplied[:n]:
                into = f"{_at(factors + n, 'at')}, s[{factors + n}]"
                self._line(f"copy_(n, {part.width}, {self._place(part)}, {into});")
        head = f"void {name}_backs({_ARGUMENTS})"
        loop = [
            "for (int64_t t = stop - 1; t >= first; t--) {",
            "    const int64_t n = active[t], more = active[t + 1];",
            "    at -= n;",
        ]
        return self._text(head, loop)

    def _text(self, head: str, loop: Sequence[str]) -> str:
        after = [f"free({name}.room);" for name in self.packed.values()]
        lines = [*self.before, *loop, *_in(self.lines), "}", *after]
        return "\n".join([head, "{", *_in(lines), "}", ""])

    def _line(self, text: str) -> None:
        self.lines.append(text)

    def _rows(self, values: Sequence[Value], at: str) -> None:
        """Name the places of values, which are given one after another."""
        self._again(values, self.number, at)
        self.number += len(values)

    def _matrices(self, values: Sequence[Value], function: Function) -> None:
        """Name the places of matrices, and put them in panels before the steps."""
        along = function is self.native.back
        for n, value in enumerate(values):
            users = (k for k in function.kernels if k.name in ("mm", "addmm") and k.args[-1] is value)
            for kernel in list(users)[:1]:
                self.packed[value] = name = f"p{n}"
                sizes = f"{kernel.args[-2].width}, {kernel.result.width}"
                w = f"(real *)x[{self.number + n}], s[{self.number + n}]"
                given = f"{int(along)}, first, stop, active, {sizes}, {w}"
                self.before.append(f"const packed {name} = packed_({given});")
        self._rows(values, "0")

    def _again(self, values: Sequence[Value], first: int, at: str) -> None:
        for n, value in enumerate(values, first):
            if value not in self.places:
                self.places[value] = f"y{len(self.places)}", f"s[{n}]"
                self._line(f"real *{self.places[value][0]} = {_at(n, at)};")

    def _states(self, function: Function) -> None:
        """Name the places of states: their starts, or where they are after the step before."""
        states = function.groups["states"]
        for n, value in enumerate(states, self.number):
            trace = n + len(states)
            self.places[value] = f"y{len(self.places)}", f"(t ? s[{trace}] : s[{n}])"
            before = _at(trace, "(at - active[t - 1])")
            self._line(f"real *{self.places[value][0]} = t ? {before} : {_at(n, '0')};")
        self.number += 2 * len(states)

    def _place(self, value: Value) -> str:
        """Return where a value is, and the stride of its rows."""
        while value not in self.places:  # it is written over another one
            assert value.base is not None
            value = value.base
        return ", ".join(self.places[value])

    def _kernel(self, kernel: Kernel, along: bool, when: str = "") -> None:
        match kernel.name:
            case "columns":
                x, start, _ = kernel.args
                pointer, stride = self._place(x).split(", ")
                self.places[kernel.result] = f"({pointer} + {start})", stride
            case "run":
                run, *rows = kernel.args
                self._line(f"{self.runs[run]}(n, {', '.join(map(self._place, rows))});")
            case "mm":
                self._product(kernel, kernel.args, along, add=False, when=when)
            case "addmm":
                first, *factors = kernel.args
                if first is not kernel.over:
                    pointer, stride = self._place(first).split(", ", 1)
                    stride = "0" if first in self.native.step.groups["biases"] else stride
                    into = self._place(kernel.over or kernel.result)
                    self._line(f"copy_(n, {kernel.result.width}, {pointer}, {stride}, {into});")
                self._product(kernel, factors, along, add=True, when=when)

    def _product(self, kernel: Kernel, factors: Sequence[Value], along: bool, add: bool, when: str) -> None:
        x, matrix = factors
        into = self._place(kernel.over or kernel.result)
        sizes = f"n, {x.width}, {kernel.result.width}, {self._place(x)}, {self._place(matrix)}"
        first = "0" if along else "!t"
        self._line(
            f"{when}product_({first}, {int(along)}, {self.packed[matrix]}, {sizes}, {into}, {int(add)});"
        )


def _of_starts(cell: Cell, back: Function) -> list[Kernel]:
    """Return the products that in the first step give nothing but the derivatives of the states before it, if
    these are 0 whatever is trained."""
    assert back.returned is not None
    if cell.node.region is None or any(given is not None for given in cell.node.region.inits):
        return []
    d_constants, _, multiplied = back.returned
    read = [v for v in (*d_constants, *multiplied) if v is not None]
    read += [v for name in ("d_values", "d_products") for v in back.groups[name]]
    known, found = {v.buffer for v in read}, list[Kernel]()
    for kernel in reversed(back.kernels):
        if kernel.name in ("mm", "addmm") and kernel.result.buffer not in known:
            found.append(kernel)
        elif kernel.name == "run":
            break  # it reads what products before it give
    return found


_ARGUMENTS = (
    "int64_t first, int64_t stop, int64_t at, const int64_t *active, const int64_t *x, const int64_t *s"
)


def _at(number: int, row: str) -> str:
    """Return the address of a row of what is given; null where it is null."""
    if row == "0":
        return f"(real *)x[{number}]"
    return f"((real *)x[{number}] + {row} * s[{number}])"


def _in(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
