"""The text that every C file begins with: the precision, and functions that the compiler can vectorise."""

from __future__ import annotations

from collections.abc import Iterable

# exp in single precision to within 2 ulp, of operations that vectorise: 2^n times a polynomial on
# [-ln 2 / 2, ln 2 / 2]. 2^n is multiplied in two halves, because 2^n itself may overflow or underflow.
_SINGLE = """\
typedef float real;

static inline float power(int n)
{
    union { int32_t bits; float value; } of = { (n + 127) << 23 };
    return of.value;
}

static inline float exp_(float x)
{
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    const float shift = 12582912.0f;
    float n = (x * 1.44269504f + shift) - shift;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t whole = (int32_t)n, half = whole >> 1;
    return p * power(half) * power(whole - half);
}
"""
_DOUBLE = """\
typedef double real;
static inline double exp_(double x) { return exp(x); }
"""
_COMMON = """\
static inline real sigmoid_(real x) { return 1 / (1 + exp_(-x)); }
static inline real tanh_(real x) { return 1 - 2 / (1 + exp_(2 * x)); }
static inline real silu_back(real d, real x)
{
    real s = sigmoid_(x);
    return d * s * (1 + x * (1 - s));
}
"""
_START = """\
#include <math.h>
#include <stdint.h>

#define PRAGMA(x) _Pragma(#x)

"""


def file(functions: Iterable[str], single: bool) -> str:
    """Return a whole C file of these functions, in single or in double precision."""
    return "\n".join([_START + (_SINGLE if single else _DOUBLE) + _COMMON, *functions])
