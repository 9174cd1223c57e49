"""Matrix products of training in C: by panels, as scoring has them (kit_products), with what follows.

    y = then(x W' + b)   or   y = then(y + x W')

A block of rows at a time: the bias is where sums begin, and `then` is done of a block that is still in the
cache. On the way back the gradients of x, W and b are summed block by block; of a large result the derivative
of `then` is done on the way, of a smaller one before.

Promises: the values and gradients of torch, up to rounding; also the second ones, by torch. Nothing is saved
for backward but what is given and, with `then`, the result.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling

from specc_runtime.native import small
from specc_runtime.native.kit_memory import MEMORY
from specc_runtime.native.kit_products import PRODUCTS
from specc_runtime.native.load import AT, NUMBER, load, real
from specc_runtime.native.say import wanted

# What may follow a product, by its number in C.
THEN = ("", "relu", "leaky_relu", "sigmoid", "tanh")
# Of fewer rows, channels or outputs BLAS is as quick: a panel has 16.
_ROWS, _WIDTH = 48, 8
# Of results of fewer numbers, which caches hold, the derivative of what follows is a step of its own: the
# result and its upstream gradient are then gone before the gradients of x and W are made.
TOGETHER = 2**20

_TEXT = """\
/* What follows a product, by its number (THEN). NaN stays NaN. */
INLINE void followed_(int64_t then, real slope, int64_t n, real *y)
{
    switch (then) {
    case 1: LANES for (int64_t i = 0; i < n; i++) y[i] = y[i] < 0 ? 0 : y[i]; break;
    case 2: LANES for (int64_t i = 0; i < n; i++) y[i] = y[i] < 0 ? y[i] * slope : y[i]; break;
    case 3: LANES for (int64_t i = 0; i < n; i++) y[i] = sigmoid_(y[i]); break;
    case 4: LANES for (int64_t i = 0; i < n; i++) y[i] = tanh_(y[i]); break;
    }
}

/* The upstream gradient d of its result y times its derivative. */
INLINE void before_(int64_t then, real slope, int64_t n, const real *d, const real *y, real *g)
{
    switch (then) {
    case 1: LANES for (int64_t i = 0; i < n; i++) g[i] = y[i] <= 0 ? 0 : d[i]; break;
    case 2: LANES for (int64_t i = 0; i < n; i++) g[i] = y[i] > 0 ? d[i] : d[i] * slope; break;
    case 3: LANES for (int64_t i = 0; i < n; i++) g[i] = d[i] * y[i] * (1 - y[i]); break;
    case 4: LANES for (int64_t i = 0; i < n; i++) g[i] = d[i] * (1 - y[i] * y[i]); break;
    }
}

/* W is [m, k]; its number for output j of channel c is w[j * sj + c * sc]. y [n, m]: added to, with `add`. */
int forward(int64_t n, int64_t k, int64_t m, const real *x, int64_t lx, const real *w, int64_t sj, int64_t sc,
            const real *bias, int64_t add, int64_t then, real slope, real *y)
{
    memory *a = memory_();
    if (!a) return 2;
    const real *p = in_panels_(a, k, m, w, sj, sc);
    for (int64_t i = 0; p && i < n; i += ROWS_) {
        const int64_t rows = n - i < ROWS_ ? n - i : ROWS_;
        by_panels_(rows, k, m, x + i * lx, lx, p, bias, y + i * m, m, add);
        followed_(then, slope, rows * m, y + i * m);
    }
    release_(a);
    return p ? 0 : 2;
}

/* For other C: w in panels at p, WHOLE(m) * k numbers, and n rows times it. */
void pack(int64_t k, int64_t m, const real *w, int64_t sj, int64_t sc, real *p)
{
    memory own = {.free = (char *)p, .left = SIZE_MAX};
    in_panels_(&own, k, m, w, sj, sc);
}

void by_panels(int64_t n, int64_t k, int64_t m, const real *x, int64_t lx, const real *p, real *y, int64_t ly,
               int64_t add)
{
    by_panels_(n, k, m, x, lx, p, 0, y, ly, (int)add);
}

/* n rows of w channels, a vector of channels after another, filled up with 0. */
INLINE void in_strips_(int64_t n, int64_t w, const real *x, int64_t lx, real *y)
{
    for (int64_t c = 0; c < w; c += VECTOR, y += n * VECTOR) {
        const int64_t many = w - c < VECTOR ? w - c : VECTOR;
        for (int64_t i = 0; many == VECTOR && i < n; i++)
            memcpy(y + i * VECTOR, x + i * lx + c, VECTOR * sizeof(real));
        for (int64_t i = 0; many < VECTOR && i < n; i++) {
            vector own = {0};
            memcpy(&own, x + i * lx + c, many * sizeof(real));
            memcpy(y + i * VECTOR, &own, sizeof own);
        }
    }
}

/* Sums over rows that are in registers at once: of so many channels of one strip by a vector, or by two. */
#ifdef __AVX512F__
#define HIGH_ (VECTOR < 8 ? VECTOR : 8)
#define BOTH_ 1
#else
#define HIGH_ 4
#define BOTH_ 0
#endif

/* y [some, many] = (or +=, with `add`) g' x of n rows: channels of a strip g, and of one or two strips x. */
INLINE void crossed_(int64_t n, const real *g, const real *x, int both, int64_t some, int64_t many, real *y,
                     int64_t ly, int add)
{
    vector sum[8], more[8];
    for (int64_t r = 0; r < HIGH_; r++) more[r] = sum[r] = (vector){0};
    for (int64_t i = 0; i < n; i++) {
        const vector one = load_(x + i * VECTOR), two = both ? load_(x + (n + i) * VECTOR) : one;
        for (int64_t r = 0; r < HIGH_; r++) {
            sum[r] += g[i * VECTOR + r] * one;
            if (both) more[r] += g[i * VECTOR + r] * two;
        }
    }
    for (int64_t r = 0; r < some; r++) {
        vector own = {0};
        if (add) memcpy(&own, y + r * ly, many * sizeof(real));
        own += sum[r];
        memcpy(y + r * ly, &own, many * sizeof(real));
        if (!both) continue;
        if (add) more[r] += load_(y + r * ly + VECTOR);
        memcpy(y + r * ly + VECTOR, &more[r], sizeof(vector));
    }
}

/* The same of strips xs [n, w] and one strip of `high` channels. */
KIT void strips_(int64_t n, int64_t w, int64_t high, const real *g, const real *xs, real *y, int64_t ly,
                 int add)
{
    for (int64_t h = 0; h < high; h += HIGH_)
        for (int64_t c = 0; c < w;) {
            const int64_t some = high - h < HIGH_ ? high - h : HIGH_, many = w - c < VECTOR ? w - c : VECTOR;
            const real *x = xs + c * n;
            real *of = y + h * ly + c;
            if (BOTH_ && some == HIGH_ && w - c >= 2 * VECTOR) {
                crossed_(n, g + h, x, 1, HIGH_, VECTOR, of, ly, add);
                c += 2 * VECTOR;
                continue;
            }
            if (some == HIGH_ && many == VECTOR) crossed_(n, g + h, x, 0, HIGH_, VECTOR, of, ly, add);
            else crossed_(n, g + h, x, 0, some, many, of, ly, add);
            c += VECTOR;
        }
}

/* Rows at a time, of which a strip is in the nearest cache, and channels of x at a time. */
#define BLOCK_ (4 * ROWS_)
#define STRIP_ 256

/* d [n, m]: the upstream gradient of y. g [n, m], dx [n, k], dw [m, k], db [m]: the gradients of what `then`
   follows, of x, W and b, or null. */
int backward(int64_t n, int64_t k, int64_t m, const real *x, int64_t lx, const real *w, int64_t sj,
             int64_t sc, const real *d, const real *y, int64_t then, real slope, real *g, real *dx, real *dw,
             real *db)
{
    memory *a = memory_();
    if (!a) return 2;
    const int64_t most = n < BLOCK_ ? n : BLOCK_;
    const real *p = dx ? in_panels_(a, m, k, w, sc, sj) : w;
    real *own = take_(a, then && !g ? most * m : 0, sizeof(real));
    real *xs = take_(a, dw ? most * STRIP_ : 0, sizeof(real)), *gs = take_(a, most * VECTOR, sizeof(real));
    const int failed = !p || !own || !xs || !gs;
    if (db) memset(db, 0, m * sizeof(real));
    if (dw && !n) memset(dw, 0, m * k * sizeof(real));
    for (int64_t i = 0; !failed && i < n; i += BLOCK_) {
        const int64_t rows = n - i < BLOCK_ ? n - i : BLOCK_;
        real *into = g ? g + i * m : own;
        const real *of = then ? into : d + i * m;
        for (int64_t r = 0; r < rows; r += ROWS_) {
            const int64_t some = rows - r < ROWS_ ? rows - r : ROWS_;
            if (then) before_(then, slope, some * m, d + (i + r) * m, y + (i + r) * m, into + r * m);
            for (int64_t b = r; db && b < r + some; b++)
                LANES for (int64_t j = 0; j < m; j++) db[j] += of[b * m + j];
            if (dx) by_panels_(some, m, k, of + r * m, m, p, 0, dx + (i + r) * k, k, 0);
        }
        for (int64_t c = 0; dw && c < k; c += STRIP_) {
            const int64_t wide = k - c < STRIP_ ? k - c : STRIP_;
            in_strips_(rows, wide, x + i * lx + c, lx, xs);
            for (int64_t j = 0; j < m; j += VECTOR) {
                const int64_t high = m - j < VECTOR ? m - j : VECTOR;
                in_strips_(rows, high, of + j, m, gs);
                strips_(rows, wide, high, gs, xs, dw + j * k + c, k, i > 0);
            }
        }
    }
    release_(a);
    return failed ? 2 : 0;
}
"""


@lru_cache(maxsize=2)
def library(dtype: torch.dtype) -> Any:
    """Return the library with `forward` and `backward`, or None if it cannot be built."""
    start = [NUMBER, NUMBER, NUMBER, AT, NUMBER, AT, NUMBER, NUMBER]
    return load(
        [small.TEXT, MEMORY, PRODUCTS, _TEXT],
        dtype,
        forward=[*start, AT, NUMBER, NUMBER, real(dtype), AT],
        backward=[*start, AT, AT, NUMBER, real(dtype), *[AT] * 4],
    )


def panels(dtype: torch.dtype) -> tuple[int | None, int | None]:
    """Return the addresses of `pack` and `by_panels` for other C; None where BLAS is quicker, which has
    several threads, or there is no kernel."""
    kernel = library(dtype) if torch.get_num_threads() == 1 else None
    if kernel is None:
        return None, None
    pack, by = (ctypes.cast(f, ctypes.c_void_p).value for f in (kernel.pack, kernel.by_panels))
    return pack, by


def worth(x: Tensor, matrix: Tensor, least: int | None) -> bool:
    """Return whether the product of x [..., k] with a matrix [m, k] is to be computed in C: of so many
    multiplications at least, in single precision on one thread, where nobody traces what is computed."""
    if least is None or is_compiling() or x.dim() < 2 or x.dtype is not torch.float32:
        return False
    outputs, width = matrix.shape
    if x.numel() * outputs < least or x.numel() < _ROWS * width or min(outputs, width) < _WIDTH:
        return False
    if not x.is_contiguous() and not (x.dim() == 2 and x.stride(1) == 1):
        return False
    return _plain(x) and _plain(matrix) and matrix.dtype is x.dtype and _alone() and wanted(x.device, x.dtype)


def _plain(x: Tensor) -> bool:
    """Return whether a tensor is nothing but its numbers."""
    return x.is_cpu and type(x) in (Tensor, torch.nn.Parameter) and x.layout is torch.strided


def _alone() -> bool:
    """Return whether one thread computes, and nothing looks on or computes otherwise."""
    return not (
        torch.get_num_threads() > 1
        or torch.is_autocast_enabled("cpu")
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def product(x: Tensor, matrix: Tensor, bias: Tensor | None, then: str, slope: float) -> Tensor | None:
    """Return then(x matrix' + bias), [..., m], of what is `worth` it; None if there is no kernel. then: one
    of THEN; slope: of leaky_relu, for negative numbers, at least 0."""
    if bias is not None and not (_plain(bias) and bias.dtype is x.dtype):
        return None
    kernel = library(x.dtype)
    if kernel is None:
        return None
    how = THEN.index(then), slope
    return _followed(_Product.apply(kernel, how, x, matrix, bias), then, slope)  # type: ignore[no-untyped-call]


def added(total: Tensor, x: Tensor, matrix: Tensor, then: str, slope: float) -> Tensor | None:
    """Return then(total + x matrix'), written over total [rows, m], of what is `worth` it; None, and nothing
    is written, if there is no kernel."""
    if not (_plain(total) and total.dtype is x.dtype and total.is_contiguous()):
        return None
    kernel = library(x.dtype)
    if kernel is None:
        return None
    how = THEN.index(then), slope
    return _followed(_Added.apply(kernel, how, total, x, matrix), then, slope)  # type: ignore[no-untyped-call]


def _followed(found: Tensor, then: str, slope: float) -> Tensor:
    """Return a product that `then` has been done of, with what its own derivative leaves out."""
    return _Then.apply(found, then, slope) if then and _apart(found) else found  # type: ignore[no-untyped-call]


def _apart(found: Tensor) -> bool:
    """Return whether the derivative of what follows a product is a step of its own."""
    return found.numel() < TOGETHER


def multiplied(x: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor, add: bool, least: int) -> bool:
    """Write x matrix' + bias into out [rows, m], or add it to what is there, without a gradient; False, and
    nothing is written, if it is not `worth` it or there is no kernel."""
    if not (worth(x, matrix, least) and out.is_contiguous()) or (kernel := library(x.dtype)) is None:
        return False
    _call(kernel.forward, x, matrix, None if bias is None else bias.contiguous(), int(add), 0, 0.0, out)
    return True


def slopes(
    x: Tensor, matrix: Tensor, d: Tensor, wants: tuple[bool, bool, bool], least: int
) -> list[Tensor | None] | None:
    """Return of d [rows, m], the upstream gradient of x matrix' + bias, those of x, the matrix and the bias
    that it `wants`; None if it is not `worth` it or there is no kernel."""
    if not worth(x, matrix, least) or (kernel := library(x.dtype)) is None:
        return None
    found: list[Tensor | None] = [
        x.new_empty(x.shape) if wants[0] else None,
        x.new_empty(matrix.shape) if wants[1] else None,
        x.new_empty(len(matrix)) if wants[2] else None,
    ]
    _call(kernel.backward, x, matrix, d.contiguous(), None, 0, 0.0, None, *found)
    return found


def _call(function: Any, x: Tensor, matrix: Tensor, *given: Any) -> None:
    m, k = matrix.shape
    rows = x.numel() // k
    stride = x.stride(0) if x.dim() == 2 else k
    addresses = (g.data_ptr() if isinstance(g, Tensor) else g for g in given)
    if function(rows, k, m, x.data_ptr(), stride, matrix.data_ptr(), *matrix.stride(), *addresses):
        raise MemoryError(f"a product of {rows} rows by a matrix {m} x {k}")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        library: Any,
        then: tuple[int, float],
        x: Tensor,
        matrix: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        out = x.new_empty(*x.shape[:-1], len(matrix))
        own = None if bias is None else bias.contiguous()
        _call(library.forward, x, matrix, own, 0, *then, out)
        ctx.library, ctx.then = library, (0, 0.0) if _apart(out) else then
        ctx.save_for_backward(x, matrix, out if ctx.then[0] else None)
        return out

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        wants = ctx.needs_input_grad
        _, *found = _gradients(ctx, d, (False, *wants[2:]))
        return None, None, *found


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        library: Any,
        then: tuple[int, float],
        total: Tensor,
        x: Tensor,
        matrix: Tensor,
    ) -> Tensor:
        _call(library.forward, x, matrix, None, 1, *then, total)
        ctx.mark_dirty(total)
        ctx.library, ctx.then = library, (0, 0.0) if _apart(total) else then
        ctx.save_for_backward(x, matrix, total if ctx.then[0] else None)
        return total

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        wants = ctx.needs_input_grad
        d_total, *found, _ = _gradients(ctx, d, (*wants[2:], False))
        return None, None, d_total, *found


class _Then(torch.autograd.Function):
    """What a product has done already; its derivative."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, then: str, slope: float) -> Tensor:
        ctx.mark_dirty(y)
        ctx.then = then, slope
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        return _before(d, y, *ctx.then), None, None


def _gradients(ctx: Any, d: Tensor, wants: tuple[bool, bool, bool, bool]) -> list[Tensor | None]:
    """Return the gradients of what `then` follows, of x, of the matrix and of the bias."""
    x, matrix, y = ctx.saved_tensors
    number, slope = ctx.then
    if torch.is_grad_enabled():  # of which there is a gradient, too
        return _by_torch(d, x, matrix, y, THEN[number], slope, wants)
    d = d.contiguous()
    places: list[Tensor | None] = [
        torch.empty_like(d) if wants[0] and number else None,
        x.new_empty(x.shape) if wants[1] else None,
        x.new_empty(matrix.shape) if wants[2] else None,
        x.new_empty(len(matrix)) if wants[3] else None,
    ]
    _call(ctx.library.backward, x, matrix, d, y, number, slope, *places)
    return [d if wants[0] and not number else places[0], *places[1:]]


def _by_torch(
    d: Tensor, x: Tensor, matrix: Tensor, y: Tensor | None, then: str, slope: float, wants: tuple[bool, ...]
) -> list[Tensor | None]:
    """Return the same as a function of all of them."""
    if y is not None:
        d = _before(d, y, then, slope)
    rows = d.reshape(-1, len(matrix))
    return [
        d if wants[0] else None,
        d @ matrix if wants[1] else None,
        rows.t() @ x.reshape(-1, matrix.shape[1]) if wants[2] else None,
        rows.sum(0) if wants[3] else None,
    ]


def _before(d: Tensor, y: Tensor, then: str, slope: float) -> Tensor:
    """Return the gradient of what `then` follows, of the upstream gradient d of its result y."""
    aten = torch.ops.aten
    match then:
        case "relu":
            found = aten.threshold_backward(d, y, 0)
        case "leaky_relu":
            found = aten.leaky_relu_backward(d, y, slope, True)
        case "sigmoid":
            found = aten.sigmoid_backward(d, y)
        case _:
            found = aten.tanh_backward(d, y)
    gradient: Tensor = found
    return gradient
