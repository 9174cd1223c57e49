"""Rows multiplied by a matrix of their segment, in C: what `paired` gives where each of one factor's rows
belongs to a run of the other's.

    P (x * y) + Q x + z = (Q + P diag(y)) x + z

Promises: the values and first-order gradients of that definition, up to rounding. The matrix of a segment is
made once for all of its rows; neither products nor matrices are saved for backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from specc_runtime.native import small
from specc_runtime.native.load import AT, NUMBER, load
from specc_runtime.ops.autocast import in_single

# Rows that are computed at a time, and numbers of x that backward reads again at a time.
_ROWS, _PIECE = 48, 2**18

# W: channels. N: outputs. WP, NP: these up to whole vectors. A: rows at a time.
_TEXT = """\
/* y += x times a number of its own for each row of some. */
INLINE void scaled_(int64_t n, int64_t w, const real *by, const real *x, real *y)
{
    for (int64_t r = 0; r < n; r++)
        LANES for (int64_t c = 0; c < w; c++) y[r * w + c] += by[r] * x[r * w + c];
}

/* begins [n + 1]: the first row of each segment. x [rows, W], y [n, W], p [N, W], q [N, W] and z [n, N], or
   null; out [rows, N]. */
void forward(int64_t n, const int64_t *begins, const real *x, const real *y, const real *p, const real *q,
             const real *z, real *out, real *room)
{
    real *pt = room, *qt = pt + W * NP, *own = qt + W * NP, *found = own + W * NP;
    turned_(N, W, NP, p, W, pt);
    if (q) turned_(N, W, NP, q, W, qt);
    else memset(qt, 0, W * NP * sizeof(real));
    for (int64_t i = 0; i < n; i++, y += W) {
        if (begins[i + 1] == begins[i]) continue;
        memcpy(own, qt, W * NP * sizeof(real));
        scaled_(W, NP, y, pt, own);
        for (int64_t r = begins[i]; r < begins[i + 1]; r += A) {
            const int64_t m = begins[i + 1] - r < A ? begins[i + 1] - r : A;
            times_(m, W, NP, x + r * W, W, 1, own, NP, found, NP, 0);
            for (int64_t j = 0; j < m; j++)
                LANES for (int64_t c = 0; c < N; c++)
                    out[(r + j) * N + c] = found[j * NP + c] + (z ? z[i * N + c] : 0);
        }
    }
}

/* Adds to dp and dq; dx, dq and dz are null where they are not wanted. */
void backward(int64_t n, const int64_t *begins, const real *x, const real *y, const real *p, const real *q,
              const real *d, real *dx, real *dy, real *dp, real *dq, real *dz, real *room)
{
    real *pt = room, *dpt = pt + W * NP, *dqt = dpt + W * NP, *dm = dqt + W * NP, *g = dm + W * NP;
    real *pp = g + A * NP, *qp = pp + N * WP, *own = qp + N * WP, *back = own + N * WP;
    turned_(N, W, NP, p, W, pt);
    packed_(N, W, WP, p, W, 1, pp);
    if (q) packed_(N, W, WP, q, W, 1, qp);
    else memset(qp, 0, N * WP * sizeof(real));
    memset(dpt, 0, W * NP * sizeof(real));
    memset(dqt, 0, W * NP * sizeof(real));
    for (int64_t i = 0; i < n; i++, y += W, dy += W) {
        if (dz) memset(dz + i * N, 0, N * sizeof(real));
        if (begins[i + 1] == begins[i]) {
            memset(dy, 0, W * sizeof(real));
            continue;
        }
        for (int64_t j = 0; dx && j < N; j++)
            LANES for (int64_t c = 0; c < W; c++) own[j * WP + c] = qp[j * WP + c] + y[c] * pp[j * WP + c];
        for (int64_t r = begins[i]; r < begins[i + 1]; r += A) {
            const int64_t m = begins[i + 1] - r < A ? begins[i + 1] - r : A;
            packed_(m, N, NP, d + r * N, N, 1, g);
            times_(W, m, NP, x + r * W, 1, W, g, NP, dm, NP, r > begins[i]);
            for (int64_t j = 0; dz && j < m; j++)
                LANES for (int64_t c = 0; c < N; c++) dz[i * N + c] += g[j * NP + c];
            if (!dx) continue;
            if (W == WP) {
                times_(m, N, WP, g, NP, 1, own, WP, dx + r * W, W, 0);
                continue;
            }
            times_(m, N, WP, g, NP, 1, own, WP, back, WP, 0);
            for (int64_t j = 0; j < m; j++) memcpy(dx + (r + j) * W, back + j * WP, W * sizeof(real));
        }
        for (int64_t c = 0; c < W; c++) {
            const real *a = dm + c * NP, *b = pt + c * NP;
            real sum = 0;
            PRAGMA(omp simd reduction(+:sum)) for (int64_t j = 0; j < NP; j++) sum += a[j] * b[j];
            dy[c] = sum;
        }
        scaled_(W, NP, y, dm, dpt);
        if (dq) LANES for (int64_t c = 0; c < W * NP; c++) dqt[c] += dm[c];
    }
    for (int64_t j = 0; j < N; j++)
        for (int64_t c = 0; c < W; c++) {
            dp[j * W + c] += dpt[c * NP + j];
            if (dq) dq[j * W + c] += dqt[c * NP + j];
        }
}
"""


class Readable(Protocol):
    """What rows of a value can be read from."""

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Return some rows."""


@lru_cache(maxsize=64)
def library(width: int, outputs: int, dtype: torch.dtype) -> Any:
    """Return the library with `forward` and `backward` for these sizes, or None if it cannot be built."""
    sizes = {"W": width, "N": outputs, "WP": small.whole(width), "NP": small.whole(outputs), "A": _ROWS}
    text = "".join(f"#define {name} {size}\n" for name, size in sizes.items()) + _TEXT
    return load([small.TEXT, text], dtype, forward=[NUMBER, *[AT] * 8], backward=[NUMBER, *[AT] * 12])


def paired(
    x: Tensor,
    y: Tensor,
    matrix: Tensor,
    own: Tensor | None,
    added: Tensor | None,
    lengths: Tensor,
    again: Readable | None,
) -> Tensor | None:
    """Return matrix (x * y) + own x + added at every row of x: [rows, n].

    x [rows, w], y [segments, w], matrix and own [n, w], added [segments, n]. lengths, int64 [segments]: how
    many rows of x each segment has; they follow each other. again: where backward reads x again, so that it
    is not saved.

    Returns None if there are no kernels.
    """
    kernel = library(x.shape[1], len(matrix), x.dtype)
    if kernel is None:
        return None
    begins = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    found: Tensor = _Paired.apply(kernel, begins, again, x, y, matrix, own, added)  # type: ignore[no-untyped-call]
    return found


def _addresses(*tensors: Tensor | None) -> list[int | None]:
    return [None if x is None else x.data_ptr() for x in tensors]


@in_single
class _Paired(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, library: Any, begins: Tensor, again: Readable | None, x: Tensor, y: Tensor, matrix: Tensor,
        own: Tensor | None, added: Tensor | None,
    ) -> Tensor:  # fmt: skip
        x = x.contiguous()
        rest = [None if t is None else t.contiguous() for t in (y, matrix, own, added)]
        out = x.new_empty(len(x), len(matrix))
        room = x.new_empty(_room(x.shape[1], len(matrix)))
        library.forward(len(begins) - 1, begins.data_ptr(), *_addresses(x, *rest, out, room))
        ctx.library, ctx.again, ctx.adds = library, again, added is not None
        ctx.save_for_backward(begins, None if again is not None else x, *rest[:3])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        begins, x, y, matrix, own = ctx.saved_tensors
        grad = grad.contiguous()
        n, w = matrix.shape
        d_x = grad.new_empty(len(grad), w) if ctx.needs_input_grad[3] else None
        d_y, d_matrix = torch.empty_like(y), torch.zeros_like(matrix)
        d_own = None if own is None else torch.zeros_like(own)
        d_added = grad.new_empty(len(y), n) if ctx.adds else None
        room = grad.new_empty(_room(w, n))
        for first, last in [(0, len(y))] if ctx.again is None else _pieces(begins, w):
            begin, end = int(begins[first]), int(begins[last])
            some = x if x is not None else ctx.again[begin:end]
            own_rows = [None if t is None else t[begin:end] for t in (grad, d_x)]
            of_segments = [None if t is None else t[first:last] for t in (y, d_y, d_added)]
            places = begins[first : last + 1] - begin
            ctx.library.backward(
                last - first,
                places.data_ptr(),
                *_addresses(some, of_segments[0], matrix, own, *own_rows),
                *_addresses(of_segments[1], d_matrix, d_own, of_segments[2], room),
            )
        return None, None, None, d_x, d_y, d_matrix, d_own, d_added


def _room(width: int, outputs: int) -> int:
    """Return how many numbers the functions need for themselves."""
    wide, high = small.whole(width), small.whole(outputs)
    return 4 * width * high + 3 * outputs * wide + _ROWS * (wide + high)


def _pieces(begins: Tensor, width: int) -> Sequence[tuple[int, int]]:
    """Return the first and the last segment, exclusive, of pieces of some rows."""
    count = int(begins[-1])
    marks = torch.arange(0, count, max(_PIECE // width, 1), device="cpu")
    cuts = torch.unique(torch.searchsorted(begins, marks)).tolist()
    whole = sorted({0, *cuts, len(begins) - 1})
    return list(pairwise(whole))
