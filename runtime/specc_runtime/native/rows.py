"""Adam on some rows of a table, in C: row by row, in place.

Promises: the values of train.skipped and of torch's Adam, up to rounding.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from specc_runtime.native import build, source
from specc_runtime.native.say import say, wanted

# W: the width of the table.
_TEXT = """\
#define AHEAD 16
#define MOST 256
#define EACH PRAGMA(omp simd) for (int64_t c = 0; c < W; c++)
#define FETCH(x) for (int64_t c = 0; c < W; c += 64 / (int64_t)sizeof(real)) __builtin_prefetch((x) + c, 1)

static void fetch(const int64_t *rows, int64_t i, int64_t n, real *w, real *m, real *v)
{
    if (i + AHEAD >= n) return;
    const int64_t at = rows[i + AHEAD] * W;
    FETCH(w + at);
    FETCH(m + at);
    FETCH(v + at);
}

/* A step with gradients [n, W] of n distinct rows. kept: what decay leaves of a weight. rate: lr / bias
   correction of the mean; root: the root of that of the square. */
void step(int64_t n, const int64_t *rows, const real *grad, real *w, real *m, real *v,
          double first, double second, double eps, double rate, double root, double kept)
{
    const real a = 1 - first, b = second, d = 1 - second, e = eps, r = rate, s = 1 / root, k = kept;
    for (int64_t i = 0; i < n; i++, grad += W) {
        real *x = w + rows[i] * W, *y = m + rows[i] * W, *z = v + rows[i] * W;
        fetch(rows, i, n, w, m, v);
        EACH {
            const real g = grad[c];
            const real mean = y[c] + a * (g - y[c]), square = b * z[c] + d * g * g;
            y[c] = mean, z[c] = square;
            x[c] = k * x[c] - r * mean / (SQRT(square) * s + e);
        }
    }
}

/* Carry rows on from the index that each has in `seen` to `steps` (train.skipped.Moments). For few and for
   many points: nodes [indices, points], values [points, points]. first, second: powers. inner, outer:
   products of what decay leaves, or null. Returns 0, or 1 where a row is not one of the `size` that there
   are. */
int catch_up(int64_t n, const int64_t *rows, int64_t size, int32_t *seen, int64_t steps,
              real *w, real *m, real *v, const double *sums, int64_t stride, int64_t late,
              int64_t many, const double *many_nodes, const double *many_values,
              int64_t few, const double *few_nodes, const double *few_values,
              const double *first, const double *second, const double *inner, const double *outer,
              int64_t block, int64_t window, double eps)
{
    const real e = eps;
    for (int64_t i = 0; i < n; i++)
        if (rows[i] < 0 || rows[i] >= size) return 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = seen[rows[i]];
        fetch(rows, i, n, w, m, v);
        if (i + AHEAD < n) __builtin_prefetch(seen + rows[i + AHEAD], 1);
        if (at == steps) continue;
        seen[rows[i]] = (int32_t)steps;
        real *x = w + rows[i] * W, *y = m + rows[i] * W, *z = v + rows[i] * W;
        const int64_t count = at < late ? many : few;
        const double *nodes = (at < late ? many_nodes : few_nodes) + at * count;
        const double *values = at < late ? many_values : few_values;
        const int64_t end = at + window < steps ? at + window : steps;
        const double left = inner ? outer[end / block] * inner[end] : 1;
        const real kept = inner ? outer[at / block] * inner[at] - 1 : 0;
        real root[W], total[W];
        double share[MOST];
        int moves = 0;
        EACH moves |= y[c] != 0;
        EACH total[c] = 0;
        if (moves) {
            for (int64_t q = 0; q < count; q++) share[q] = 0;
            for (int64_t k = 0; k < count; k++) {
                const double sum = sums[at * stride + k] * left;
                for (int64_t q = 0; q < count; q++) share[q] += sum * values[k * count + q];
            }
            EACH root[c] = SQRT(z[c]);
            for (int64_t q = 0; q < count; q++) {
                const real part = share[q], node = nodes[q];
                EACH total[c] += part / (root[c] * node + e);
            }
        }
        const real p = first[steps - at], s = second[steps - at];
        EACH {
            x[c] += kept * x[c] - y[c] * total[c];
            y[c] *= p;
            z[c] *= s;
        }
    }
    return 0;
}
"""


@lru_cache(maxsize=64)
def library(width: int, dtype: torch.dtype) -> Any:
    """The functions for tables of a width; None where they can't be had."""
    single = dtype == torch.float32
    text = f"#define W {width}\n#define SQRT {'sqrtf' if single else 'sqrt'}\n{_TEXT}"
    try:
        found = build.library(source.file([text], single))
    except build.Failed as e:
        say(str(e))
        return None
    whole, pointer, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
    found.step.argtypes = [whole, *[pointer] * 5, *[number] * 6]
    found.catch_up.argtypes = [
        whole, pointer, whole, pointer, whole, *[pointer] * 4, whole, whole, whole, pointer, pointer, whole,
        *[pointer] * 6, whole, whole, number,
    ]  # fmt: skip
    found.step.restype, found.catch_up.restype = None, ctypes.c_int
    return found


def for_tensors(held: Sequence[Tensor]) -> Any:
    """The functions for a table and what goes with it, each [rows, width]; None where there are none."""
    weight = held[0]
    if not wanted(weight.device, weight.dtype) or not all(
        x.is_contiguous() and x.dtype == weight.dtype for x in held
    ):
        return None
    return library(weight.shape[1], weight.dtype)
