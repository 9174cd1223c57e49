"""Products of small matrices, as the C of attention and of paired values multiplies them: in registers, where
a call of BLAS would take longer than the product.
"""

from __future__ import annotations

# Numbers of the longest vector, in single and in double precision.
_WHOLE = 16

TEXT = """\
#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))
#define LANES PRAGMA(omp simd)
#define WHOLE(n) (((n) + 15) / 16 * 16)
#define VECTOR (int64_t)(64 / sizeof(real))
typedef real vector __attribute__((vector_size(64)));

INLINE vector load_(const real *x)
{
    vector found;
    memcpy(&found, x, sizeof found);
    return found;
}

/* A vector of each of some rows: y[r] = (or +=, with `add`) sum over c < k, a[r * ra + c * sa] b[c * sb]. */
INLINE void some_(int64_t rows, int64_t k, const real *a, int64_t ra, int64_t sa, const real *b, int64_t sb,
                  real *y, int64_t ry, int add)
{
    vector sum[6];
    for (int64_t r = 0; r < rows; r++) sum[r] = add ? load_(y + r * ry) : (vector){0};
    for (int64_t c = 0; c < k; c++) {
        const vector of = load_(b + c * sb);
        for (int64_t r = 0; r < rows; r++) sum[r] += a[r * ra + c * sa] * of;
    }
    for (int64_t r = 0; r < rows; r++) memcpy(y + r * ry, &sum[r], sizeof(vector));
}

/* The same of n rows and m columns, a multiple of a vector's. */
INLINE void times_(int64_t n, int64_t k, int64_t m, const real *a, int64_t ra, int64_t sa, const real *b,
                   int64_t sb, real *y, int64_t ry, int add)
{
    for (int64_t r = 0; r < n; r += 6, a += 6 * ra, y += 6 * ry)
        for (int64_t j = 0; j < m; j += VECTOR)
            switch (n - r) {
            case 1: some_(1, k, a, ra, sa, b + j, sb, y + j, ry, add); break;
            case 2: some_(2, k, a, ra, sa, b + j, sb, y + j, ry, add); break;
            case 3: some_(3, k, a, ra, sa, b + j, sb, y + j, ry, add); break;
            case 4: some_(4, k, a, ra, sa, b + j, sb, y + j, ry, add); break;
            case 5: some_(5, k, a, ra, sa, b + j, sb, y + j, ry, add); break;
            default: some_(6, k, a, ra, sa, b + j, sb, y + j, ry, add);
            }
}

/* As many rows of x as a vector has numbers, turned: y[c * sy + r] = by * x[r * sx + c]. n of them are there;
   behind these y has anything. */
#if defined(__AVX512F__) && !defined(__clang__)
typedef __typeof__((vector){0} == (vector){0}) places;
#define EACH PRAGMA(GCC unroll 16)
#define SWAPPED(s) /* between rows that are s apart, numbers that are s apart */ \
    EACH for (int64_t i = 0; i < VECTOR; i++) \
        if (!(i & s)) { \
            const vector a = row[i], b = row[i + s]; \
            places low, high; \
            EACH for (int64_t j = 0; j < VECTOR; j++) \
                low[j] = j & s ? VECTOR + j - s : j, high[j] = j & s ? VECTOR + j : j + s; \
            row[i] = __builtin_shuffle(a, b, low); \
            row[i + s] = __builtin_shuffle(a, b, high); \
        }
static __attribute__((noinline, unused)) void square_(int64_t n, const real *x, int64_t sx, real by, real *y,
                                                      int64_t sy)
{
    vector row[VECTOR];
    EACH for (int64_t r = 0; r < VECTOR; r++) row[r] = load_(x + (r < n ? r : n - 1) * sx) * by;
    SWAPPED(1) SWAPPED(2) SWAPPED(4)
    if (VECTOR > 8) { SWAPPED(8) }
    EACH for (int64_t c = 0; c < VECTOR; c++) memcpy(y + c * sy, row + c, sizeof(vector));
}
#else
INLINE void square_(int64_t n, const real *x, int64_t sx, real by, real *y, int64_t sy)
{
    for (int64_t c = 0; c < VECTOR; c++)
        for (int64_t r = 0; r < VECTOR; r++) y[c * sy + r] = x[(r < n ? r : n - 1) * sx + c] * by;
}
#endif

/* n rows of w numbers times `by`, one after another and filled up with 0 to `wide`. */
INLINE void packed_(int64_t n, int64_t w, int64_t wide, const real *x, int64_t stride, real by, real *y)
{
    for (int64_t r = 0; r < n; r++, x += stride, y += wide) {
        LANES for (int64_t c = 0; c < w; c++) y[c] = x[c] * by;
        for (int64_t c = w; c < wide; c++) y[c] = 0;
    }
}

/* The same turned: w rows of n numbers. */
INLINE void turned_(int64_t n, int64_t w, int64_t wide, const real *x, int64_t stride, real *y)
{
    for (int64_t c = 0; c < w; c++) {
        for (int64_t r = 0; r < n; r++) y[c * wide + r] = x[r * stride + c];
        for (int64_t r = n; r < wide; r++) y[c * wide + r] = 0;
    }
}
"""


def whole(numbers: int) -> int:
    """Return numbers up to whole vectors."""
    return -(-numbers // _WHOLE) * _WHOLE
