"""Sums of weighted rows in C, and their gradients: a row is read once, and nothing is as large as all of them
but what is asked for."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from specc_runtime.native.load import AT, NUMBER, load
from specc_runtime.native.say import wanted

# n rows of h numbers `weight`, each of which multiplies w channels of x; row i is added to row ids[i] of the
# result, and is row places[i] of x, or without places row i. `back` is given the result's gradient d, `next`
# numbers from one row to the next. It writes d_weight, and adds to d_x where there are places, else writes
# it; either may be null.
_TEXT = """\
#define EACH PRAGMA(omp simd) for (int64_t c = 0; c < w; c++)

void weigh(int64_t n, int64_t h, int64_t w, const real *restrict weight, const real *restrict x,
           const int64_t *ids, const int64_t *places, real *restrict out)
{
    for (int64_t i = 0; i < n; i++, weight += h) {
        const real *restrict from = x + (places ? places[i] : i) * h * w;
        real *restrict to = out + ids[i] * h * w;
        for (int64_t k = 0; k < h; k++, from += w, to += w) {
            const real a = weight[k];
            EACH to[c] += a * from[c];
        }
    }
}

void back(int64_t n, int64_t h, int64_t w, const real *restrict weight, const real *restrict x,
          const int64_t *ids, const int64_t *places, const real *restrict d, real *restrict d_weight,
          real *restrict d_x, int64_t next)
{
    for (int64_t i = 0; i < n; i++, weight += h) {
        const int64_t at = (places ? places[i] : i) * h * w;
        const real *restrict up = d + ids[i] * next;
        for (int64_t k = 0; k < h; k++, up += w) {
            if (d_weight) {
                const real *restrict from = x + at + k * w;
                real sum = 0;
                PRAGMA(omp simd reduction(+ : sum)) for (int64_t c = 0; c < w; c++) sum += up[c] * from[c];
                *d_weight++ = sum;
            }
            if (d_x) {
                real *restrict to = d_x + at + k * w;
                const real a = weight[k];
                if (places) {
                    EACH to[c] += a * up[c];
                } else {
                    EACH to[c] = a * up[c];
                }
            }
        }
    }
}
"""


class Weighted:
    """The C functions of a precision. Tensors are contiguous, on the CPU."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def weigh(self, weight: Tensor, x: Tensor, ids: Tensor, places: Tensor | None, out: Tensor) -> None:
        """Add weight [n, ..., 1] times rows of x [m, ..., w] to rows `ids` of out."""
        self.library.weigh(*_sizes(weight, x), *map(_address, (weight, x, ids, places, out)))

    def back(
        self,
        weight: Tensor,
        x: Tensor,
        ids: Tensor,
        places: Tensor | None,
        d: Tensor,
        d_weight: Tensor | None,
        d_x: Tensor | None,
    ) -> None:
        """Write d_weight. Add to d_x where there are places, else write it. d: with its channels, and what is
        between them and its rows, in order."""
        given = (weight, x, ids, places, d, d_weight, d_x)
        self.library.back(*_sizes(weight, x), *map(_address, given), d.stride(0))


def functions(weight: Tensor, x: Tensor) -> Weighted | None:
    """Return the functions for such weights [n, ..., 1] and values [m, ..., w]; None where there are none."""
    if weight.dtype is not x.dtype or weight.shape[1:-1] != x.shape[1:-1] or weight.shape[-1] != 1:
        return None
    return _functions(x.dtype) if wanted(x.device, x.dtype) else None


@lru_cache(maxsize=2)
def _functions(dtype: torch.dtype) -> Weighted | None:
    sizes = [NUMBER] * 3
    library = load([_TEXT], dtype, weigh=[*sizes, *[AT] * 5], back=[*sizes, *[AT] * 7, NUMBER])
    return None if library is None else Weighted(library)


def _sizes(weight: Tensor, x: Tensor) -> tuple[int, int, int]:
    return weight.shape[0], prod(weight.shape[1:]), x.shape[-1]


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()
