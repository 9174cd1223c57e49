"""Products of all pairs of a dimension's places, in C: each is written once, and nothing is copied first."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from specc_runtime.native.load import AT, NUMBER, load
from specc_runtime.ops.autocast import in_single

# x [outer, N, W], out [outer, pairs, W], in the order (0, 1), (0, 2), ..., (1, 2), ...
_TEXT = """\
#define EACH PRAGMA(omp simd) for (int64_t c = 0; c < W; c++)

void forward(int64_t outer, const real *restrict x, real *restrict out)
{
    for (int64_t o = 0; o < outer; o++, x += N * W)
        for (int64_t i = 0; i < N; i++)
            for (int64_t j = i + 1; j < N; j++, out += W)
                EACH out[c] = x[i * W + c] * x[j * W + c];
}

/* dx is 0 on entry. */
void backward(int64_t outer, const real *restrict x, const real *restrict d, real *restrict dx)
{
    for (int64_t o = 0; o < outer; o++, x += N * W, dx += N * W)
        for (int64_t i = 0; i < N; i++) {
            real own[W];
            EACH own[c] = dx[i * W + c];
            for (int64_t j = i + 1; j < N; j++, d += W)
                EACH {
                    own[c] += d[c] * x[j * W + c];
                    dx[j * W + c] += d[c] * x[i * W + c];
                }
            EACH dx[i * W + c] = own[c];
        }
}
"""


@lru_cache(maxsize=64)
def library(count: int, width: int, dtype: torch.dtype) -> Any:
    """Return the library with `forward` and `backward` for these sizes, or None if it cannot be built."""
    text = f"#define N {count}\n#define W {width}\n{_TEXT}"
    return load([text], dtype, forward=[NUMBER, *[AT] * 2], backward=[NUMBER, *[AT] * 3])


def pairs(x: Tensor, dim: int) -> Tensor | None:
    """Return x_i * x_j for all i < j along a dimension but the last, or None if there are no kernels."""
    count, width = x.shape[dim], x.shape[dim + 1 :].numel()
    kernel = library(count, width, x.dtype)
    if kernel is None:
        return None
    found: Tensor = _Pairs.apply(kernel, x, dim)  # type: ignore[no-untyped-call]
    return found


@in_single
class _Pairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: Any, x: Tensor, dim: int) -> Tensor:
        x = x.contiguous()
        count = x.shape[dim]
        out = x.new_empty(*x.shape[:dim], count * (count - 1) // 2, *x.shape[dim + 1 :])
        ctx.library, ctx.outer = library, x.shape[:dim].numel()
        library.forward(ctx.outer, x.data_ptr(), out.data_ptr())
        ctx.save_for_backward(x)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (x,) = ctx.saved_tensors
        d_x, grad = torch.zeros_like(x), grad.contiguous()
        ctx.library.backward(ctx.outer, x.data_ptr(), grad.data_ptr(), d_x.data_ptr())
        return None, d_x, None
