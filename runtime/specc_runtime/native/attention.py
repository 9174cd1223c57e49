"""Attention of one query over all positions of its sequence, in C: sequence by sequence, without padding.

    w = softmax(scale * dot(q, k)),  out = sum of w v

Promises: the values and first-order gradients of that definition, up to rounding; for an empty sequence the
result is 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from specc_runtime.native.load import AT, NUMBER, load, real
from specc_runtime.ops.autocast import in_single

# H: the number of heads. HK and HV: those of keys and values, H or 1 (shared). D and E: their widths.
_TEXT = """\
#define KEY(j, h) (k + ((j) * HK + (HK > 1 ? (h) : 0)) * D)
#define VALUE(j, h) (v + ((j) * HV + (HV > 1 ? (h) : 0)) * E)
#define PLUS PRAGMA(omp simd reduction(+:sum))
#define EACH PRAGMA(omp simd)

/* begins [n + 1]: the first position of each sequence. w [positions, H]: the attention weights. */
void forward(int64_t n, const int64_t *begins, real scale, const real *q, const real *k, const real *v,
             real *w, real *out)
{
    for (int64_t i = 0; i < n; i++, q += H * D, out += H * E) {
        real top[H], total[H];
        for (int64_t h = 0; h < H; h++) top[h] = -INFINITY, total[h] = 0;
        for (int64_t c = 0; c < H * E; c++) out[c] = 0;
        for (int64_t j = begins[i]; j < begins[i + 1]; j++)
            for (int64_t h = 0; h < H; h++) {
                const real *x = q + h * D, *y = KEY(j, h);
                real sum = 0;
                PLUS for (int64_t c = 0; c < D; c++) sum += x[c] * y[c];
                sum *= scale;
                w[j * H + h] = sum;
                top[h] = sum > top[h] ? sum : top[h];
            }
        for (int64_t j = begins[i]; j < begins[i + 1]; j++)
            EACH for (int64_t h = 0; h < H; h++) {
                w[j * H + h] = exp_(w[j * H + h] - top[h]);
                total[h] += w[j * H + h];
            }
        for (int64_t j = begins[i]; j < begins[i + 1]; j++)
            for (int64_t h = 0; h < H; h++) {
                const real *x = VALUE(j, h), p = w[j * H + h] / total[h];
                real *y = out + h * E;
                w[j * H + h] = p;
                EACH for (int64_t c = 0; c < E; c++) y[c] += p * x[c];
            }
    }
}

/* dk and dv, which may be the same buffer, are 0 on entry. */
void backward(int64_t n, const int64_t *begins, real scale, const real *q, const real *k, const real *v,
              const real *w, const real *d, real *dq, real *dk, real *dv)
{
    for (int64_t i = 0; i < n; i++, q += H * D, dq += H * D, d += H * E) {
        real mean[H];
        for (int64_t h = 0; h < H; h++) mean[h] = 0;
        for (int64_t c = 0; c < H * D; c++) dq[c] = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t j = begins[i]; j < begins[i + 1]; j++)
                for (int64_t h = 0; h < H; h++) {
                    const real *g = d + h * E, *x = VALUE(j, h), p = w[j * H + h];
                    real sum = 0;
                    PLUS for (int64_t c = 0; c < E; c++) sum += g[c] * x[c];
                    if (!pass) {
                        mean[h] += p * sum;
                        continue;
                    }
                    const real *a = q + h * D, *b = KEY(j, h), s = p * (sum - mean[h]) * scale;
                    real *da = dq + h * D, *db = dk + (b - k), *dx = dv + (x - v);
                    EACH for (int64_t c = 0; c < D; c++) da[c] += s * b[c];
                    EACH for (int64_t c = 0; c < D; c++) db[c] += s * a[c];
                    EACH for (int64_t c = 0; c < E; c++) dx[c] += p * g[c];
                }
    }
}
"""


@lru_cache(maxsize=64)
def library(heads: int, keys: int, values: int, width: int, value_width: int, dtype: torch.dtype) -> Any:
    """Return the library with `forward` and `backward` for these sizes, or None if it cannot be built."""
    sizes = {"H": heads, "HK": keys, "HV": values, "D": width, "E": value_width}
    text = "".join(f"#define {name} {size}\n" for name, size in sizes.items()) + _TEXT
    start = [NUMBER, AT, real(dtype)]
    return load([text], dtype, forward=[*start, *[AT] * 5], backward=[*start, *[AT] * 8])


def attend(query: Tensor, key: Tensor, value: Tensor | None, lengths: Tensor, scale: float) -> Tensor | None:
    """Return the attention of n queries, each over the positions of its own sequence: [n, heads, e].

    query [n, heads, d], key [positions, heads or 1, d], value [positions, heads or 1, e]; if value is None
    the keys are the values. lengths, int64 [n]: the number of positions of each query's sequence; the
    sequences follow each other.

    Returns None if there are no kernels.
    """
    values = key if value is None else value
    kernel = library(
        query.shape[1], key.shape[1], values.shape[1], query.shape[2], values.shape[2], query.dtype
    )
    if kernel is None:
        return None
    begins = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    found: Tensor = _Attention.apply(kernel, scale, begins, query, key, value)  # type: ignore[no-untyped-call]
    return found


@in_single
class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, library: Any, scale: float, begins: Tensor, query: Tensor, key: Tensor, value: Tensor | None
    ) -> Tensor:
        query, key = query.contiguous(), key.contiguous()
        given = key if value is None else value.contiguous()
        n, heads, _ = query.shape
        weight = query.new_empty(len(key), heads)
        out = query.new_empty(n, heads, given.shape[2])
        tensors = (query, key, given, weight, out)
        library.forward(n, begins.data_ptr(), scale, *(x.data_ptr() for x in tensors))
        ctx.library, ctx.scale, ctx.alone = library, scale, value is None
        ctx.save_for_backward(begins, query, key, given, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        begins, query, key, value, weight = ctx.saved_tensors
        d_query, d_key = torch.empty_like(query), torch.zeros_like(key)
        d_value = d_key if ctx.alone else torch.zeros_like(value)
        tensors = (query, key, value, weight, grad.contiguous(), d_query, d_key, d_value)
        ctx.library.backward(len(query), begins.data_ptr(), ctx.scale, *(x.data_ptr() for x in tensors))
        return None, None, None, d_query, d_key, None if ctx.alone else d_value
