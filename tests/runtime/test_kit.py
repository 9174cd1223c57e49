"""The kit of scoring in C: products without BLAS, and memory that serves the next call."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
import torch

from specc_runtime.native import build, source
from specc_runtime.native.kit import KIT

# One product with a matrix in panels, of a memory that is released.
_TEXT = """\
int once(int64_t n, int64_t k, int64_t m, const real *x, int64_t lx, const real *w, int64_t sj, int64_t sc,
         const real *bias, real *y, int64_t ly, int64_t add)
{
    memory *a = memory_();
    const real *p = in_panels_(a, k, m, w, sj, sc);
    by_panels_(n, k, m, x, lx, p, bias, y, ly, add);
    release_(a);
    return 0;
}

static char *taken(int64_t numbers)
{
    memory *a = memory_();
    char *first = take_(a, numbers, sizeof(real)), *second = take_(a, numbers, sizeof(real));
    memset(first, 1, numbers * sizeof(real)), memset(second, 2, numbers * sizeof(real));
    const int whole = first[numbers * sizeof(real) - 1] == 1 && (int64_t)second % 64 == 0;
    release_(a);
    return whole ? first : 0;
}

/* Whether what a call takes lies where the call before it had it, once that is known; -1 if it overlaps. */
int again(int64_t numbers)
{
    taken(numbers);
    const char *first = taken(numbers), *second = taken(numbers);
    return !first || !second ? -1 : first == second;
}
"""


@pytest.fixture(scope="module")
def library() -> Any:
    found = build.library(source.file([KIT, _TEXT], False))
    sizes = [ctypes.c_int64] * 3
    pointer, stride = ctypes.c_void_p, ctypes.c_int64
    found.once.argtypes = [
        *sizes, pointer, stride, pointer, stride, stride, pointer, pointer, stride, stride,
    ]  # fmt: skip
    found.again.argtypes = [ctypes.c_int64]
    return found


@pytest.mark.parametrize("n", [0, 1, 5, 6, 97, 200])
@pytest.mark.parametrize(("k", "m"), [(1, 2), (7, 16), (300, 9), (256, 33), (64, 1)])
@pytest.mark.parametrize("turned", [False, True])
def test_products_in_panels(library: Any, n: int, k: int, m: int, turned: bool) -> None:
    torch.manual_seed(n + k + m)
    # Rows with other numbers beside them, which are not touched.
    x, y = torch.randn(n, k + 3, dtype=torch.double), torch.randn(n, m + 2, dtype=torch.double)
    w = torch.randn(k, m, dtype=torch.double) if turned else torch.randn(m, k, dtype=torch.double)
    bias = torch.randn(m, dtype=torch.double)
    strides = (1, m) if turned else (k, 1)
    for add in (0, 1):
        for own in (None, bias):
            out = y.clone()
            library.once(
                n, k, m, x.data_ptr(), k + 3, w.data_ptr(), *strides, None if own is None else own.data_ptr(),
                out.data_ptr(), m + 2, add,
            )  # fmt: skip
            expected = y.clone()
            product = x[:, :k] @ (w if turned else w.T) + (0 if own is None else own)
            expected[:, :m] = product + (y[:, :m] if add else 0)
            assert torch.allclose(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("numbers", [1, 1000, 2**18])
def test_memory_of_the_next_call(library: Any, numbers: int) -> None:
    assert library.again(numbers) == 1


def test_much_memory_is_given_back(library: Any) -> None:
    assert library.again(2**24) >= 0
    assert library.again(1000) == 1
