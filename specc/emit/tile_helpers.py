"""What the C of a tile calls, of sizes that are known, and its derivative."""

from __future__ import annotations

HELPERS = """\
#include <string.h>
#define LANES PRAGMA(omp simd)
#define SUMMED(x) PRAGMA(omp simd reduction(+:x))
/* Called with sizes that are known, so that a copy for them is made of each. */
#define SIZED static inline __attribute__((always_inline, unused))
#define VECTOR (int64_t)(64 / sizeof(real))
typedef real vector __attribute__((vector_size(64)));

SIZED vector part_(const real *x, int64_t n)
{
    vector found = {0};
    memcpy(&found, x, n * sizeof(real));
    return found;
}

/* The sum of a vector's numbers, by halves: the compiler would add them one after another. */
SIZED real total_(vector x)
{
    real own[VECTOR], found = 0;
    typedef real half __attribute__((vector_size(32)));
    typedef real quarter __attribute__((vector_size(16)));
    half a, b;
    memcpy(&a, &x, sizeof a), memcpy(&b, (const char *)&x + sizeof a, sizeof b);
    a += b;
    quarter c, d;
    memcpy(&c, &a, sizeof c), memcpy(&d, (const char *)&a + sizeof c, sizeof d);
    c += d;
    memcpy(own, &c, sizeof c);
    for (int64_t i = 0; i < VECTOR / 4; i += 2) found += own[i] + own[i + 1];
    return found;
}

/* A matrix of `rows` times `columns` with rows filled up with 0 to multiples of 16. */
SIZED void filled_(int64_t rows, int64_t columns, const real *w, int64_t by_row, int64_t by_column, real *y)
{
    const int64_t wide = (columns + 15) / 16 * 16;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < wide; c++) y[r * wide + c] = c < columns ? w[r * by_row + c * by_column] : 0;
}

/* Some rows of a vector's columns of a product, from column j on; n of these are there. */
SIZED void block_(int64_t rows, int64_t k, int64_t m, int64_t wide, int64_t j, int64_t n, const real *x,
                  const real *w, const real *bias, real *y, int add)
{
    vector sum[6];
    for (int64_t r = 0; r < rows; r++) {
        sum[r] = bias ? part_(bias + j, n) : (vector){0};
        if (add) sum[r] += part_(y + r * m + j, n);
    }
    for (int64_t c = 0; c < k; c++) {
        const vector of = part_(w + c * wide + j, VECTOR);
        for (int64_t r = 0; r < rows; r++) sum[r] += x[r * k + c] * of;
    }
    for (int64_t r = 0; r < rows; r++) memcpy(y + r * m + j, &sum[r], n * sizeof(real));
}

/* y [rows, m] = (or +=, with `add`) x [rows, k] times w [k, m], filled, plus a bias [m], if there is one. */
SIZED void rows_(int64_t rows, int64_t k, int64_t m, const real *x, const real *w, const real *bias, real *y,
                 int add)
{
    const int64_t wide = (m + 15) / 16 * 16;
    if (m == 1) {
        real own[64];
        for (int64_t c = 0; c < k; c++) own[c] = w[c * wide];
        for (int64_t r = 0; r < rows; r++) {
            vector sum = {0};
            int64_t c = 0;
            for (; c + VECTOR <= k; c += VECTOR) sum += part_(x + r * k + c, VECTOR) * part_(own + c, VECTOR);
            if (c < k) sum += part_(x + r * k + c, k - c) * part_(own + c, k - c);
            y[r] = total_(sum) + (bias ? bias[0] : 0) + (add ? y[r] : 0);
        }
        return;
    }
    for (int64_t r = 0; r < rows; r += 6) {
        const real *of = x + r * k;
        real *into = y + r * m;
        int64_t j = 0;
        if (r + 6 <= rows) {
            for (; j + VECTOR <= m; j += VECTOR) block_(6, k, m, wide, j, VECTOR, of, w, bias, into, add);
            if (m % VECTOR) block_(6, k, m, wide, j, m % VECTOR, of, w, bias, into, add);
            continue;
        }
        for (; j + VECTOR <= m; j += VECTOR) block_(rows % 6, k, m, wide, j, VECTOR, of, w, bias, into, add);
        if (m % VECTOR) block_(rows % 6, k, m, wide, j, m % VECTOR, of, w, bias, into, add);
    }
}

/* Of `many` of the outputs, the columns of a vector's, from c on; n of these are there. */
SIZED void columns_(int64_t rows, int64_t k, int64_t m, int64_t many, int64_t c, int64_t n, const real *d,
                    const real *x, real *dw)
{
    vector sum[8];
    for (int64_t j = 0; j < many; j++) sum[j] = part_(dw + j * k + c, n);
    for (int64_t r = 0; r < rows; r++) {
        const vector of = part_(x + r * k + c, n);
        for (int64_t j = 0; j < many; j++) sum[j] += d[r * m + j] * of;
    }
    for (int64_t j = 0; j < many; j++) memcpy(dw + j * k + c, &sum[j], n * sizeof(real));
}

/* dw [m, k] += d [rows, m] turned, times x [rows, k]; db [m], if there is one, += the sum of d. */
SIZED void rows_weights_(int64_t rows, int64_t k, int64_t m, const real *d, const real *x, real *dw, real *db)
{
    for (int64_t j = 0; j < m; j += 8) {
        int64_t c = 0;
        if (j + 8 <= m) {
            for (; c + VECTOR <= k; c += VECTOR) columns_(rows, k, m, 8, c, VECTOR, d + j, x, dw + j * k);
            if (k % VECTOR) columns_(rows, k, m, 8, c, k % VECTOR, d + j, x, dw + j * k);
            continue;
        }
        for (; c + VECTOR <= k; c += VECTOR) columns_(rows, k, m, m % 8, c, VECTOR, d + j, x, dw + j * k);
        if (k % VECTOR) columns_(rows, k, m, m % 8, c, k % VECTOR, d + j, x, dw + j * k);
    }
    if (db)
        for (int64_t r = 0; r < rows; r++)
            LANES for (int64_t j = 0; j < m; j++) db[j] += d[r * m + j];
}

SIZED void pairs_(int64_t outer, int64_t count, int64_t w, const real *x, real *y)
{
    for (int64_t o = 0; o < outer; o++, x += count * w)
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = i + 1; j < count; j++, y += w)
                LANES for (int64_t c = 0; c < w; c++) y[c] = x[i * w + c] * x[j * w + c];
}

SIZED void pairs_back_(int64_t outer, int64_t count, int64_t w, const real *x, const real *y, const real *d,
                       real *dx, int add)
{
    (void)y;
    if (!add) memset(dx, 0, outer * count * w * sizeof(real));
    for (int64_t o = 0; o < outer; o++, x += count * w, dx += count * w)
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = i + 1; j < count; j++, d += w)
                LANES for (int64_t c = 0; c < w; c++) {
                    const real of = d[c], a = x[i * w + c], b = x[j * w + c];
                    dx[i * w + c] += of * b;
                    dx[j * w + c] += of * a;
                }
}

SIZED void along_sum_(int64_t outer, int64_t count, int64_t w, const real *x, real *y)
{
    for (int64_t o = 0; o < outer; o++, x += count * w, y += w) {
        memcpy(y, x, w * sizeof(real));
        for (int64_t j = 1; j < count; j++)
            LANES for (int64_t c = 0; c < w; c++) y[c] += x[j * w + c];
    }
}

SIZED void scaled_back_(int64_t outer, int64_t count, int64_t w, const real *d, real *dx, int add, real by)
{
    for (int64_t o = 0; o < outer; o++, d += w)
        for (int64_t j = 0; j < count; j++, dx += w)
            LANES for (int64_t c = 0; c < w; c++) dx[c] = (add ? dx[c] : 0) + by * d[c];
}

SIZED void along_sum_back_(int64_t outer, int64_t count, int64_t w, const real *x, const real *y,
                           const real *d, real *dx, int add)
{
    (void)x, (void)y;
    scaled_back_(outer, count, w, d, dx, add, 1);
}

SIZED void along_mean_(int64_t outer, int64_t count, int64_t w, const real *x, real *y)
{
    along_sum_(outer, count, w, x, y);
    LANES for (int64_t c = 0; c < outer * w; c++) y[c] /= count;
}

SIZED void along_mean_back_(int64_t outer, int64_t count, int64_t w, const real *x, const real *y,
                            const real *d, real *dx, int add)
{
    (void)x, (void)y;
    scaled_back_(outer, count, w, d, dx, add, (real)1 / count);
}

SIZED void along_softmax_(int64_t outer, int64_t count, int64_t w, const real *x, real *y)
{
    for (int64_t o = 0; o < outer; o++, x += count * w, y += count * w)
        for (int64_t c = 0; c < w; c++) {
            real top = -INFINITY, total = 0;
            PRAGMA(omp simd reduction(max:top))
            for (int64_t j = 0; j < count; j++) top = x[j * w + c] > top ? x[j * w + c] : top;
            LANES for (int64_t j = 0; j < count; j++) y[j * w + c] = exp_(x[j * w + c] - top);
            SUMMED(total) for (int64_t j = 0; j < count; j++) total += y[j * w + c];
            LANES for (int64_t j = 0; j < count; j++) y[j * w + c] /= total;
        }
}

SIZED void along_softmax_back_(int64_t outer, int64_t count, int64_t w, const real *x, const real *y,
                               const real *d, real *dx, int add)
{
    (void)x;
    for (int64_t o = 0; o < outer; o++, y += count * w, d += count * w, dx += count * w)
        for (int64_t c = 0; c < w; c++) {
            real total = 0;
            SUMMED(total) for (int64_t j = 0; j < count; j++) total += y[j * w + c] * d[j * w + c];
            LANES for (int64_t j = 0; j < count; j++)
                dx[j * w + c] = (add ? dx[j * w + c] : 0) + y[j * w + c] * (d[j * w + c] - total);
        }
}
"""
