"""Scores of sums of two values, and their gradients, in C: the sum, and what an activation makes of it, are
of one row at a time, and computed again for the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from specc_runtime.native.load import AT, NUMBER, load
from specc_runtime.ops.autocast import in_single

# By activation what it makes of x, and what its gradient is: d times the slope where it made y.
ACTIVATIONS: Mapping[str, tuple[str, str]] = {
    "relu": ("(x < 0 ? 0 : x)", "(y <= 0 ? 0 : d)"),
    "sigmoid": ("sigmoid_(x)", "(d * (1 - y) * y)"),
    "tanh": ("tanh_(x)", "(d * (1 - y * y))"),
}

# n scores: the sum over w channels of v times ACT(a + b), plus a bias. a is row of_a[i], or row i without
# of_a; b likewise. `back` is given the scores' gradient d. It writes d_a, or adds to it where there is of_a,
# d_b likewise, and adds to d_v and d_bias. Each may be null.
_TEXT = """\
#define EACH PRAGMA(omp simd) for (int64_t c = 0; c < w; c++)

void score(int64_t n, int64_t w, const real *a, const real *b, const int64_t *of_a, const int64_t *of_b,
           const real *v, const real *bias, real *out)
{
    for (int64_t i = 0; i < n; i++) {
        const real *p = a + (of_a ? of_a[i] : i) * w, *q = b + (of_b ? of_b[i] : i) * w;
        real sum = 0;
        PRAGMA(omp simd reduction(+ : sum)) for (int64_t c = 0; c < w; c++) {
            const real x = p[c] + q[c];
            sum += v[c] * ACT;
        }
        out[i] = sum + (bias ? *bias : 0);
    }
}

void back(int64_t n, int64_t w, const real *a, const real *b, const int64_t *of_a, const int64_t *of_b,
          const real *v, const real *up, real *restrict d_a, real *restrict d_b, real *restrict d_v,
          real *restrict d_bias, real *restrict room)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t at_a = (of_a ? of_a[i] : i) * w, at_b = (of_b ? of_b[i] : i) * w;
        const real *p = a + at_a, *q = b + at_b, g = up[i];
        EACH {
            const real x = p[c] + q[c], y = ACT, d = g * v[c];
            room[c] = SLOPE;
            room[w + c] = y;
        }
        if (d_a && of_a) EACH d_a[at_a + c] += room[c];
        if (d_a && !of_a) EACH d_a[at_a + c] = room[c];
        if (d_b && of_b) EACH d_b[at_b + c] += room[c];
        if (d_b && !of_b) EACH d_b[at_b + c] = room[c];
        if (d_v) EACH d_v[c] += g * room[w + c];
        if (d_bias) *d_bias += g;
    }
}
"""


@lru_cache(maxsize=8)
def library(activation: str, dtype: torch.dtype) -> Any:
    """Return the functions with an activation, or None if they cannot be built."""
    act, slope = ACTIVATIONS[activation]
    text = f"#define ACT {act}\n#define SLOPE {slope}\n{_TEXT}"
    sizes = [NUMBER] * 2
    return load([text], dtype, score=[*sizes, *[AT] * 7], back=[*sizes, *[AT] * 11])


def scores(
    activation: str,
    a: Tensor,
    of_a: Tensor | None,
    b: Tensor,
    of_b: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
) -> Tensor | None:
    """Return weight [1, w] times activation(a + b), plus the bias [1], at n rows: [n, 1]; None if there are
    no kernels. a, b [rows, w]; of_a, of_b: the row of each score, int64 [n], None if that is its own."""
    kernel = library(activation, a.dtype)
    if kernel is None:
        return None
    found: Tensor = _Scores.apply(kernel, a, of_a, b, of_b, weight, bias)  # type: ignore[no-untyped-call]
    return found


@in_single
class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        library: Any,
        a: Tensor,
        of_a: Tensor | None,
        b: Tensor,
        of_b: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        a, b, weight = a.contiguous(), b.contiguous(), weight.contiguous()
        out = a.new_empty(len(a if of_a is None else of_a), 1)
        ctx.library = library
        ctx.save_for_backward(a, of_a, b, of_b, weight, bias)
        library.score(len(out), a.shape[1], *map(_address, (a, b, of_a, of_b, weight, bias, out)))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        a, of_a, b, of_b, weight, bias = ctx.saved_tensors
        grad = grad.contiguous()
        wanted = ctx.needs_input_grad
        d_a, d_b = (
            (torch.empty_like(x) if of is None else torch.zeros_like(x)) if wants else None
            for x, of, wants in ((a, of_a, wanted[1]), (b, of_b, wanted[3]))
        )
        d_weight = torch.zeros_like(weight) if wanted[5] else None
        d_bias = torch.zeros_like(bias) if wanted[6] else None
        width = a.shape[1]
        given = (a, b, of_a, of_b, weight, grad, d_a, d_b, d_weight, d_bias, a.new_empty(2 * width))
        ctx.library.back(len(grad), width, *map(_address, given))
        return None, d_a, None, d_b, None, d_weight, d_bias


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()
